"""`--dry-run` shows what would run, with what `--retry-failed` and lost checkpoints add, and changes nothing."""

from pathlib import Path

import pytest

from ray_ssl.data import load_dataset
from ray_ssl.ledger import DONE, FAILED, Ledger, TrialState, make_trials
from ray_ssl.storage import Storage
from sweeps.cli import main, parse
from sweeps.data_card import DataCard
from sweeps.depth_width import SWEEP
from sweeps.method import SWEEP as METHOD_SWEEP
from sweeps.report import print_data

LINE = "--method vicreg --depths 1 --widths 4 --seeds 0 1 2 --num-images 300 --epochs 2 --projector-width 8 --name x"


def test_it_counts_what_would_run_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = parse(SWEEP, LINE.split())
    ledger = Ledger(Storage.at(tmp_path / "results" / "x"))
    failed, done, new = make_trials(request.grid.configs(), load_dataset(request.base.data).fingerprint)
    for trial in (failed, done):
        ledger.write_config(trial)
    ledger.end(failed.key, FAILED, {"reason": "x"})
    ledger.end(done.key, DONE, {"history": []})
    for epoch in (0, 1, 2):
        ledger.trial(done.key).write(f"checkpoints/epoch-{epoch:06d}/manifest.json", b"")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    def to_run(*more: str) -> str:
        assert main(SWEEP, [*LINE.split(), "--dry-run", *more]) == 0
        return capsys.readouterr().out

    assert "3 trial(s), 1 to run" in to_run()
    assert "3 trial(s), 2 to run" in to_run("--retry-failed")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert ledger.state(failed.key) is TrialState.FAILED

    (tmp_path / "results" / "x" / done.key / "checkpoints" / "epoch-000001" / "manifest.json").unlink()
    assert "3 trial(s), 2 to run" in to_run()
    assert ledger.state(done.key) is TrialState.DONE
    assert ledger.state(new.key) is TrialState.NEW


def test_every_trial_on_a_shift_is_checked_before_one_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = "--methods vicreg supervised --depth 1 --width 4 --epochs 2 --num-images 80 --num-test-images 80"
    words = [*line.split(), "--image-size", "8", "--global-batch-size", "16", "--shift", "domains:star5,disc"]
    assert main(METHOD_SWEEP, [*words, "--dry-run"]) == 2
    assert "supervised learns the label of every image" in capsys.readouterr().err
    assert main(METHOD_SWEEP, [*words, "--train-domains", "source", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "2 trial(s), 2 to run" in out
    with_shift = parse(METHOD_SWEEP, [*words, "--train-domains", "source"]).base.data
    print_data(DataCard.of(load_dataset(with_shift)))
    assert capsys.readouterr().out in out
    assert main(METHOD_SWEEP, [*line.split(), "--train-domains", "source", "--dry-run"]) == 2
    assert "--train-domains has no effect without --shift" in capsys.readouterr().err


def test_options_that_came_later_identify_no_study_at_their_defaults() -> None:
    shared = parse(SWEEP, LINE.split()).shared
    assert not {"data.shift", "data.num_extra", "training.train_domains"} & set(shared)
    shared = parse(SWEEP, [*LINE.split(), "--shift", "domains", "--train-domains", "source"]).shared
    assert (shared["data.shift"], shared["training.train_domains"]) == ("domains", "source")
