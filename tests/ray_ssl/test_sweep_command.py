"""`python -m ray_ssl.sweep`: what it tells of every state, and that what it deletes is read by nobody."""

import os
import time
from pathlib import Path

import pytest

from ray_ssl.checkpoints import checkpoint_folder, load_newest_state, saved_epochs, set_aside
from ray_ssl.config import replace
from ray_ssl.errors import EXIT_BAD_INPUT, EXIT_DONE
from ray_ssl.lease import Lease
from ray_ssl.ledger import CONFIG, DONE, FAILED, NO_SWEEP, STOPPED, SWEEP, Ledger, Trial, TrialState, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from ray_ssl.sweep.__main__ import main
from ray_ssl.sweep.continuing import continue_line
from ray_ssl.trial import ERROR_LOG
from tests.ray_ssl.test_export import DATASET
from tests.ray_ssl.test_warnings import CONFIG as SMALL
from tests.ray_ssl.test_warnings import KilledError

LINE = "python sweeps/depth_width.py --epochs 3 --scheduler asha"


def train(ledger: Ledger, trial: Trial, num_epochs: int) -> None:
    """Trains a trial as a driver does that is killed after so many epochs."""

    def report(metrics: dict[str, float]) -> None:
        if metrics["epoch"] == num_epochs < 3:
            raise KilledError

    ledger.write_config(trial)
    try:
        trained = pretrain(trial.config, DATASET, ledger.trial(trial.key), report, state_seconds=0)
    except KilledError:
        return
    ledger.end(trial.key, DONE, {"history": trained.history, "collapsed": False})


@pytest.fixture
def study(tmp_path: Path) -> tuple[Ledger, dict[str, Trial]]:
    """A sweep with a trial in every state; the done one was killed before it deleted its training state."""
    ledger = Ledger(Storage.at(tmp_path / "results/study"))
    ledger.open("How?\nMore words.", {"training.epochs": 3})
    ledger.remember_command(LINE, "/home/me")
    names = ["done", "failed", "stopped", "resumable", "new"]
    trials = make_trials([replace(SMALL, {"seed": seed}) for seed in range(5)], DATASET.fingerprint)
    found: dict[str, Trial] = dict(zip(names, trials, strict=True))
    for name, num_epochs in (("done", 3), ("failed", 1), ("stopped", 2), ("resumable", 2)):
        train(ledger, found[name], num_epochs)
    ledger.write_config(found["new"])
    ledger.end(found["failed"].key, FAILED, {"reason": "the loss became nan at epoch 2, step 1"})
    ledger.trial(found["failed"].key).write(ERROR_LOG, b"first\n" + b"line\n" * 20 + b"NonFiniteLossError: nan\n")
    ledger.end(found["stopped"].key, STOPPED, {"reason": "stopped early by the scheduler", "last": {"epoch": 2.0}})
    return ledger, found


def said(capsys: pytest.CaptureFixture[str], ledger: Ledger, *arguments: str, code: int = EXIT_DONE) -> str:
    storage = ["--storage", ledger.sweep.ancestor(1).uri]
    try:
        assert main([*arguments, *storage]) == code
    except SystemExit as exit_:
        assert exit_.code == code  # noqa: PT017
    out, err = capsys.readouterr()
    assert (err if code == EXIT_DONE else out) == ""
    return out + err


def goes_on(ledger: Ledger, line: str) -> str:
    return f"cd /home/me && {line} --storage {ledger.sweep.ancestor(1).uri}"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_line_for_every_sweep_and_trial(
    study: tuple[Ledger, dict[str, Trial]], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, trials = study
    (ledger.sweep.local_path.parent / "encoders").mkdir()
    before = contents(ledger.sweep.local_path)
    head, line = said(capsys, ledger, "list").splitlines()
    assert head.split() == ["sweep", "trials", "driver", "size", "asks"]
    assert line.split("  ")[:2] == ["study", "1 done, 1 failed, 1 new, 1 stopped early, 1 to resume"]
    assert line.endswith("How?")
    lines = said(capsys, ledger, "show", "study").splitlines()
    for name, words in (
        ("done", "done           3 of 3"),
        ("failed", "failed         1 of 3  the loss became nan at epoch 2, step 1"),
        ("stopped", "stopped early  2 of 3  stopped early by the scheduler"),
        ("resumable", "to resume      2 of 3"),
        ("new", "new            0 of 3"),
    ):
        (found,) = [line for line in lines if trials[name].key in line]
        assert found.endswith(f"{trials[name].name}  {words}")
    assert lines[-2:] == ["to go on:", f"  {goes_on(ledger, LINE)} --retry-failed"]
    assert contents(ledger.sweep.local_path) == before


def test_why_a_trial_stands_where_it_does(
    study: tuple[Ledger, dict[str, Trial]], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, trials = study
    failed = said(capsys, ledger, "explain", trials["failed"].key[:12])
    assert "why         the loss became nan at epoch 2, step 1\n" in failed
    assert "  NonFiniteLossError: nan\n" in failed and "first" not in failed
    assert f"{goes_on(ledger, LINE)} --retry-failed\n" in failed
    stopped = said(capsys, ledger, "explain", trials["stopped"].key)
    assert f"{goes_on(ledger, 'python sweeps/depth_width.py --epochs 3')}\n" in stopped
    waiting = said(capsys, ledger, "explain", trials["resumable"].key)
    assert "no driver is at work on the sweep: it was interrupted or killed" in waiting
    assert "trained     epoch 2 of 3, saved " in waiting and "ago in state/step-0000000004" in waiting
    assert "checkpoints of epochs 0, 1, 2; not there: 3\n" in waiting
    assert "  epoch 2  loss " in waiting
    assert waiting.endswith(f"to go on:\n  {goes_on(ledger, LINE)}\n")
    with Lease(ledger.sweep):
        assert f"a driver is at work, process {os.getpid()} on " in said(capsys, ledger, "explain", trials["new"].key)
        assert "to go on" not in said(capsys, ledger, "show")
    done = ledger.trial(trials["done"].key)
    done.write(DONE, done.read(DONE)[:-1])
    assert "why         its done.json is torn or altered; it trains again; no driver" in said(
        capsys, ledger, "explain", trials["done"].key
    )


def test_measurements_without_a_sweep_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results/look/measurements").mkdir(parents=True)
    (tmp_path / "results/other").mkdir()
    ledger = Ledger(Storage.at(tmp_path / "results/study"))
    alone = said(capsys, ledger, "list").splitlines()
    assert len(alone) == 2 and alone[1].startswith("look ") and alone[1].endswith(NO_SWEEP)
    refused = said(capsys, ledger, "show", "look", code=EXIT_BAD_INPUT)
    assert f"look' holds {NO_SWEEP}; python -m analysis report" in refused
    ledger.open("How?", {})
    assert [line.split()[0] for line in said(capsys, ledger, "list").splitlines()] == ["sweep", "study", "look"]


@pytest.mark.parametrize("option", ["--storage here", "--storage=here"])
def test_a_storage_that_was_typed_stays(tmp_path: Path, option: str) -> None:
    ledger = Ledger(Storage.at(tmp_path / "study"))
    line = f"python sweeps/depth_width.py {option} --seeds 0"
    ledger.remember_command(line, "/home/me")
    assert continue_line(ledger, {TrialState.NEW}) == f"cd /home/me && {line}"


def test_the_default_storage_is_the_one_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Ledger(Storage.at(tmp_path / "study")).open("How?", {})
    monkeypatch.setenv("RAY_SSL_STORAGE", str(tmp_path))
    assert main(["list"]) == EXIT_DONE
    assert "study" in capsys.readouterr().out


def test_a_sweep_of_an_old_version_that_does_not_say_what_it_asks_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(Storage.at(tmp_path / "study"))
    ledger.sweep.write_sealed(SWEEP, {"shared": {}})
    assert said(capsys, ledger, "list").splitlines()[1].split("  ")[0] == "study"


def test_torn_records_are_told_and_the_command_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(Storage.at(tmp_path / "study"))
    ledger.open("How?", {})
    ledger.remember_command(LINE, "/home/me")
    assert said(capsys, ledger, "show").splitlines() == [
        "study: no trial has begun", "to go on:", f"  {goes_on(ledger, LINE)}",
    ]  # fmt: skip
    (trial,) = make_trials([SMALL], "data")
    ledger.write_config(trial)
    ledger.end(trial.key, DONE, {"history": [{"epoch": 3.0}], "collapsed": False})
    assert "to go on" not in said(capsys, ledger, "show")
    for name in (SWEEP, f"{trial.key}/{CONFIG}"):
        ledger.sweep.write(name, ledger.sweep.read(name)[:-1])
    line = said(capsys, ledger, "list").splitlines()[1]
    assert line.split("  ")[:2] == ["study", "1 unreadable"] and line.endswith("its sweep.json is torn or altered; the "
                                                                              "command writes it again")  # fmt: skip
    title, *told = said(capsys, ledger, "show").splitlines()
    assert title == "study: 1 unreadable"
    assert told == [
        "its sweep.json is torn or altered; the command writes it again",
        f"{trial.key}: its config.json is torn or altered; the command writes it again",
        "to go on:", f"  {goes_on(ledger, LINE)}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "the following arguments are required: WHAT"),
        ("lst", "invalid choice: 'lst'; did you mean 'list'?"),
        ("show stduy", "there is no sweep 'stduy' in"),
        ("explain", "the following arguments are required: TRIAL"),
        ("explain zz", "there is no trial 'zz' in"),
        ("gc --delete --dry-run", "not allowed with argument"),
        ("gc --delet", "did you mean '--delete'?"),
        ("list --storage /no/where", "there is no folder '/no/where'"),
        ("explain zz --storage results/../results", "show --storage {folder}/results/../results lists them"),
        ("list --storage gopher://x", "give a local folder"),
        ("list --storage s3://", "cannot use storage 's3://': it names no bucket or folder; give"),
        ("list --storage file:///?a=b", "cannot use storage 'file:///?a=b': it names no bucket or folder; give"),
        ("list --storage .", "there is no sweep in "),
        ("list --storage results/study", "is a sweep's own folder"),
    ],
)
def test_bad_input_is_one_line(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(Storage.at(tmp_path / "results/study"))
    ledger.open("How?", {})
    for path in ledger.sweep.local_path.glob(".*"):
        path.unlink()
    try:
        code: object = main(line.split())
    except SystemExit as exit_:
        code = exit_.code
    out, err = capsys.readouterr()
    assert (code, out) == (EXIT_BAD_INPUT, "")
    assert message.format(folder=tmp_path) in err and err.count("\n") == 1


def test_what_is_deleted_is_read_by_nobody(
    study: tuple[Ledger, dict[str, Trial]], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, trials = study
    folder = ledger.sweep.local_path
    done, resumable, failed = (ledger.trial(trials[name].key) for name in ("done", "resumable", "failed"))
    kept = contents(folder)
    garbage = [f"{done.name}/state/{name}" for name in done.names("state")]
    for name in (f".lease.json.{'0' * 32}", "lease-claim-torn.json", f"{done.name}/{ERROR_LOG}"):
        ledger.sweep.write(name, b"x")
        os.utime(folder / name, (time.time() - 7200, time.time() - 7200))
        garbage.append(name)
    ledger.sweep.write(f".lease.json.{'1' * 32}", b"of a command that is starting")
    kept[f".lease.json.{'1' * 32}"] = b"of a command that is starting"
    for epoch in (0, 1):  # the one is back, of the other it must be remembered that it is lost
        files = [(name, done.read(f"{checkpoint_folder(epoch)}/{name}")) for name in ("card.json", "manifest.json")]
        set_aside(done, checkpoint_folder(epoch))
        for name, content in files if epoch else ():
            done.write(f"{checkpoint_folder(epoch)}/{name}", content)
    aside = f"{done.name}/damaged/checkpoints/"
    model = f"{checkpoint_folder(1)}/model.safetensors"
    done.write(model, done.read(f"damaged/{model}"))
    garbage.append(f"{aside}epoch-000001")
    moved = {
        name: content for name, content in kept.items() if name.startswith(f"{done.name}/checkpoints/epoch-000000")
    }
    kept = {name: content for name, content in kept.items() if name not in moved}
    kept |= {name.replace("/checkpoints/", "/damaged/checkpoints/"): content for name, content in moved.items()}
    for name in ("state/step-0000000006", "checkpoints/epoch-000003"):
        resumable.write(f"{name}/model.safetensors", b"killed")
        garbage.append(f"{resumable.name}/{name}")
    failed.write("damaged/state/step-0000000001/card.json", b"damaged")
    garbage.append(f"{failed.name}/damaged/state/step-0000000001")
    ledger.sweep.write(f"{'a' * 16}/{CONFIG}", b"torn")
    garbage.append("a" * 16)
    kept = {name: content for name, content in kept.items() if not name.startswith(f"{done.name}/state/")}

    before = contents(folder)
    for arguments in (["gc"], ["gc", "--dry-run"], ["gc", "study"]):
        listed = said(capsys, ledger, *arguments)
        assert sorted(line.split()[0] for line in listed.splitlines()[1:]) == sorted(garbage)
        assert f" in {len(garbage)} place(s) could be deleted" in listed
        assert contents(folder) == before
    with Lease(ledger.sweep):
        assert "left alone, a driver is at work" in said(capsys, ledger, "gc", "--delete")
    assert contents(folder) == before
    assert f" in {len(garbage)} place(s) deleted" in said(capsys, ledger, "gc", "--delete")
    assert contents(folder) == kept
    assert said(capsys, ledger, "gc") == "study: nothing to delete\n"
    assert saved_epochs(done) == [1, 2, 3]
    state = load_newest_state(resumable, pytest.fail)
    assert state is not None and state.card["epoch"] == 2
    assert ledger.state(failed.name) is TrialState.FAILED
