"""The randomness sweep as a user runs it: killed in both parts, again, extended; its targets in another sweep."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from analysis.__main__ import main as analyse
from analysis.table import read_table
from ray_ssl.config import PretrainConfig
from ray_ssl.data import load_dataset
from ray_ssl.errors import EXIT_DONE, EXIT_SOME_FAILED
from ray_ssl.ledger import DONE, Ledger, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from ray_ssl.targets import attach_targets, read_targets
from ray_ssl.teacher_targets import UntrainedTeacherError, make_targets
from sweeps.cli import Request, main
from sweeps.randomness import SWEEP
from tests.sweeps.command import kill, run, start, wait_for
from tests.sweeps.test_nothing_to_do import run_and_list_imports

LINE = [
    "--depth", "1", "--width", "6", "--num-images", "200", "--num-test-images", "60", "--epochs", "3",
    "--teacher-epochs", "12", "--teacher-learning-rate", "0.4", "--no-augment", "--global-batch-size", "20",
    "--num-checkpoints", "3",
    "--projector-width", "16", "--embedding-dim", "8", "--address", "local", "--num-cpus", "1", "--state-seconds", "0",
    "--randomness", "0", "0.5", "1", "--train-on", "0", "--metrics", "ncc", "target_quality",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sweep that was killed while the teacher trained and while the networks did, and what its end printed."""
    folder = tmp_path_factory.mktemp("randomness")
    for pattern in ("results/teacher-*/*/state/step-*/manifest.json", "results/randomness-*/*/state/*/manifest.json"):
        process = start(folder, *LINE, module="sweeps.randomness")
        wait_for(folder, pattern, process, seconds=400)
        kill(process)
    code, out, err = run(folder, *LINE, module="sweeps.randomness")
    assert (code, err) == (0, ""), (out, err)
    return folder, out


def only(folder: Path, name: str) -> Path:
    (found,) = (folder / "results").glob(f"{name}-shapes-*")
    return found


def table_of(folder: Path) -> pd.DataFrame:
    storage = Storage.at(folder)
    return read_table(storage.filesystem, storage.path("measurements"))


def weights(folder: Path) -> dict[str, str]:
    """sha256 of every checkpoint's weights, by trial and epoch."""
    found = {}
    for manifest in folder.glob("*/checkpoints/*/manifest.json"):
        body = json.loads(manifest.read_text().partition("\n")[2])
        found["/".join(manifest.parts[-4:-1])] = body["sha256"]["model.safetensors"]
    return found


def test_it_ends_as_if_nothing_had_happened(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = finished
    torch.set_num_threads(1)
    trials = Ledger(Storage.at(only(folder, "teacher"))).known_trials()
    dataset = load_dataset(trials[0].config.data)
    teaching = Ledger(Storage.at(tmp_path / "teacher"))
    pretrain(trials[0].config, dataset, teaching.trial(trials[0].key), lambda metrics: None)
    teaching.end(trials[0].key, DONE, {"history": []})
    assert weights(tmp_path / "teacher") == weights(only(folder, "teacher"))
    expected = make_targets(teaching, trials[0], dataset, (0.0, 0.5, 1.0), None)
    targets = read_targets(Storage.at(only(folder, "randomness")))
    assert targets is not None and targets.hash == expected.hash
    labelled = attach_targets(dataset, expected)
    for trial in Ledger(Storage.at(only(folder, "randomness"))).known_trials():
        pretrain(trial.config, labelled, Storage.at(tmp_path / "main" / trial.key), lambda metrics: None)
    assert weights(tmp_path / "main") == weights(only(folder, "randomness"))


def test_every_network_is_measured_on_classes_and_targets(finished: tuple[Path, str]) -> None:
    folder, out = finished
    table: Any = table_of(only(folder, "randomness"))
    names = {f"{kind}-{level}" for kind in ("teacher", "noise") for level in ("0.00", "0.50", "1.00")}
    assert set(table.level) == {"class", "superclass", "none", *names}
    assert set(table.method) == {"vicreg", "supervised on teacher-0.00 (no augmentation)"}
    ncc = table[(table.metric == "ncc_accuracy") & (table.layer_name == "representation") & (table.split == "test")]
    assert len(ncc) == 2 * 3 * (2 + len(names))  # networks, checkpoints, levels
    truth = ncc[ncc.level == "noise-0.00"].value.to_numpy()
    assert (truth == ncc[ncc.level == "class"].value.to_numpy()).all()
    randomness = table[(table.metric == "target_randomness") & (table.layer_name == "stem")]
    by_level = dict(zip(randomness.level, randomness.value, strict=True))
    assert (by_level["teacher-1.00"], by_level["teacher-0.00"], by_level["noise-0.50"]) == (1, 0, 0.5)
    assert set(table[table.metric == "target_agreement"].level) == names
    assert "teacher-0.50" in out and "entropy (nats)" in out
    assert any((only(folder, "randomness") / "figures").glob("*.png"))


def test_the_same_line_again_has_nothing_to_do(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    code, out, heavy = run_and_list_imports(folder, *LINE, sweep="randomness")
    assert code == 0 and "nothing to do: every trial is trained and measured\n" in out
    assert "labelling" not in out and "trials: 2 done" in out
    assert heavy == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_only_a_key_of_a_network_on_a_target_holds_its_labels(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    trials = Ledger(Storage.at(only(folder, "randomness"))).known_trials()
    on_target = next(trial for trial in trials if trial.config.method.name == "supervised")
    plain = next(trial for trial in trials if trial.config.method.name == "vicreg")
    targets = read_targets(Storage.at(only(folder, "randomness")))
    assert targets is not None
    digest = hashlib.sha256(targets.sets["teacher-0.00"].labels["train"].tobytes()).hexdigest()[:16]
    assert f'"teacher-0.00@{digest}"' in on_target.config.to_json()
    assert "teacher" not in plain.config.to_json()


def test_another_sweep_takes_the_targets_over(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    teacher, source = str(only(folder, "teacher")), str(only(folder, "randomness"))
    line = [teacher, "--metrics", "ncc", "--levels", "targets", "--targets", source]
    code, out, err = run(folder, *line, "--address", "local", module="analysis")
    assert (code, err) == (0, ""), (out, err)
    table = table_of(Path(teacher))
    last = table[(table.epoch == 12) & (table.layer_name == "representation") & (table.metric == "ncc_accuracy")]
    assert {"class", "teacher-0.00", "noise-1.00"} <= set(last.level)


def test_what_cannot_be_is_one_line(
    finished: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = finished
    config = PretrainConfig.from_dict({"data": {"num_images": 200, "num_test_images": 60}})
    ledger = Ledger(Storage.at(tmp_path / "plain"))
    ledger.write_config(make_trials([config], "other images")[0])
    plain, uri = str(tmp_path / "plain"), f"sqlite:///{tmp_path}/mlflow.db"
    source = str(only(folder, "randomness"))
    before = sorted(tmp_path.rglob("*"))
    for arguments, message in (
        (["--levels", "targets"], "this sweep has no targets of graded randomness: sweeps/randomness.py makes them"),
        (["--levels", "targets", "--targets", plain], "has no targets of graded randomness to copy"),
        (["--levels", "targets", "--targets", source], "are labels of other images than those of"),
    ):
        assert analyse([plain, "--tracking-uri", uri, *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    storage = ["--storage", str(tmp_path / "results")]
    for line, message in (
        (["--randomness", "0", "1.5"], "--randomness is 0 to 1 with at most two decimals, given 1.5"),
        (["--randomness", "0.125"], "--randomness is 0 to 1 with at most two decimals, given 0.125"),
        (["--randomness", "0", "--train-on", "0.25"], "--train-on 0.25 has no target: --randomness is 0"),
        (["--teacher-epochs", "0"], "--teacher-epochs takes a whole number of at least 1, given 0"),
        (["--seeds", "0", "1", "--teacher-seed", "1"], "--teacher-seed 1 is a network's seed, too"),
        (["--levels", "sample", "--num-images", "100"], "level sample takes 500 training images, shapes has 100"),
        (["--search", "optuna", "--num-trials", "2"], "takes no --search"),
    ):
        assert main(SWEEP, [*line, *storage]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_another_teacher_is_another_study(finished: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = finished
    place = ["--storage", str(folder / "results"), "--name", only(folder, "randomness").name]
    assert main(SWEEP, [*LINE, *place, "--teacher-seed", "1"]) == 2
    assert "was made with teacher.seed = 1000, now 1; give another --name" in capsys.readouterr().err
    assert len(list((folder / "results").glob("teacher-*"))) == 1


def test_what_needs_no_teacher_is_trained_although_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Request] = []

    def run_all_but_the_teacher(request: Request) -> int:
        ran.append(request)
        return EXIT_SOME_FAILED if request.sweep.name == "teacher" else EXIT_DONE

    monkeypatch.setattr("sweeps.run.run", run_all_but_the_teacher)
    assert main(SWEEP, [*LINE, "--storage", str(tmp_path)]) == EXIT_SOME_FAILED
    teacher, rest = ran
    assert [config.method.name for config in teacher.grid.configs()] == ["supervised"]
    assert [config.method.name for config in rest.grid.configs()] == ["vicreg"]
    assert rest.tasks == ("ncc",), "targets that are not there cannot be measured"
    captured = capsys.readouterr()
    assert captured.err.endswith("wait for one: the teacher failed (see above)\n") and captured.err.count("\n") == 1
    assert "1 supervised network(s)" in captured.err and captured.out.endswith(" --retry-failed\n")


def test_a_teacher_that_learned_nothing_stops_only_what_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Request] = []

    def run(request: Request) -> int:
        ran.append(request)
        return EXIT_DONE

    def label(*_: object) -> None:
        raise UntrainedTeacherError("the teacher learned nothing: give more --teacher-epochs")

    monkeypatch.setattr("sweeps.run.run", run)
    monkeypatch.setattr("sweeps.labelling.label", label)
    assert main(SWEEP, [*LINE, "--storage", str(tmp_path)]) == EXIT_SOME_FAILED
    assert [config.method.name for config in ran[1].grid.configs()] == ["vicreg"]
    captured = capsys.readouterr()
    assert captured.err.endswith("the teacher learned nothing: give more --teacher-epochs\n")
    assert captured.err.count("\n") == 1 and "--retry-failed" not in captured.out
