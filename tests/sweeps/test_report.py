"""The demonstration is called one only where it is, and what is suggested next fits what was run."""

from pathlib import Path

import pytest

from analysis.tracked import Tracking
from ray_ssl.ledger import DONE, Ledger, make_trials
from ray_ssl.search import GridSource
from ray_ssl.storage import Storage
from sweeps import depth_width, method
from sweeps.cli import Sweep, parse
from sweeps.data_card import DataCard
from sweeps.report import LINE_LENGTH, MOST_LISTED, is_demonstration, next_steps, print_plan, print_results, print_torn


@pytest.mark.parametrize("sweep", [depth_width.SWEEP, method.SWEEP])
def test_the_demonstration_is_the_sweep_without_options(sweep: Sweep) -> None:
    for line in ("", "--storage elsewhere --num-cpus 1 --tracking-uri http://x --name y"):
        request = parse(sweep, line.split())
        assert is_demonstration(request)
        assert next_steps(request) == [f"python sweeps/{sweep.name}.py {sweep.example}"]
    for line in ("--epochs 3", "--seeds 0 1", "--num-images 300", "--dataset shapes", "--dataset cifar10", "--hue 0"):
        assert not is_demonstration(parse(sweep, line.split()))


@pytest.mark.parametrize(
    ("line", "steps"),
    [
        ("--depths 1", ["--dataset cifar100: real images", "--seeds 0 1 2: how much of it is chance"]),
        ("--depths 1 --seeds 4", ["--dataset cifar100: real images", "--seeds 4 5 6: how much of it is chance"]),
        ("--epochs 2 --seeds 0 1", ["--dataset cifar100: real images"]),
        ("--shapes-domain sketch", ["--seeds 0 1 2: how much of it is chance"]),
        ("--dataset cifar10", ["--seeds 0 1 2: how much of it is chance"]),
        ("--dataset cifar10 --seeds 0 1 2", []),
        ("--dataset cifar10 --search optuna --num-trials 8", ["--num-trials 16: more suggestions"]),
    ],
)
def test_what_is_suggested_next(line: str, steps: list[str]) -> None:
    request = parse(depth_width.SWEEP, line.split())
    assert next_steps(request) == [f"the same line with {step}" for step in steps]


def test_trials_that_were_stopped_early_can_be_finished() -> None:
    line = "--dataset cifar10 --seeds 0 1 --scheduler asha"
    request = parse(depth_width.SWEEP, line.split())
    assert next_steps(request) == ["the same line without --scheduler: trains what was stopped early to its last epoch"]


def test_a_swept_option_has_one_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(method.SWEEP, ["--method", "simclr"])
    assert "did you mean '--methods'?" in capsys.readouterr().err


def test_printed_commands_can_be_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = parse(depth_width.SWEEP, ["--storage", f"{tmp_path}/a b"])
    storage = Storage.at(request.storage)
    ledger = Ledger(storage.child("it's"))
    print_results(request, ledger, Tracking.named(storage, ledger, None, "x"), 0)
    lines = capsys.readouterr().out.splitlines()
    assert f"  mlflow ui --backend-store-uri 'sqlite:///{tmp_path}/a b/mlflow.db'" in lines
    assert f"""  python -m analysis claims '{tmp_path}/a b/it'"'"'s'""" in lines


@pytest.mark.parametrize("num_superclasses", [2, MOST_LISTED, 300])
def test_the_classes_of_source_and_target_can_be_read(
    num_superclasses: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = [f"superclass{number}: {', '.join(['a_class'] * 20)} | other" for number in range(num_superclasses)]
    card = DataCard("x", "toys-subpopulations", 60, 20, 6, num_superclasses, "\n".join(("source | target", *listed)))
    request = parse(depth_width.SWEEP, ["--num-images", "60"])
    print_plan(request, Ledger(Storage.at(tmp_path)), GridSource([], []), card, {})
    lines = capsys.readouterr().out.splitlines()
    of_shift = lines[lines.index("shift: source | target") :]
    assert max(map(len, of_shift)) <= LINE_LENGTH
    whole = [number for number in range(num_superclasses) if f"  superclass{number}: a_class," in "\n".join(of_shift)]
    more = [line for line in of_shift if line.startswith("  ... and ")]
    if num_superclasses <= MOST_LISTED:
        assert len(whole) == num_superclasses and not more
    else:
        assert len(whole) == MOST_LISTED - 1 and more == [f"  ... and {300 - len(whole)} more, in {tmp_path}/data.json"]


def test_a_torn_record_is_why_a_trial_runs_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = parse(depth_width.SWEEP, ["--depths", "1", "--widths", "4", "6", "8"])
    ledger = Ledger(Storage.at(tmp_path))
    torn, done, new = make_trials(request.grid.configs(), "data")
    for trial in (torn, done):
        ledger.end(trial.key, DONE, {"history": []})
    content = (tmp_path / torn.key / DONE).read_bytes()
    (tmp_path / torn.key / DONE).write_bytes(content[:-1])
    print_torn(request, ledger, [torn, done, new])
    said = capsys.readouterr().out
    assert said == f"{torn.name} ({torn.key}): its done.json is torn or altered; it trains again\n"
