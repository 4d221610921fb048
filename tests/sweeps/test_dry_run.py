"""`--dry-run` shows what would run, with what `--retry-failed` and lost checkpoints add, and changes nothing."""

from pathlib import Path

import pytest

from ray_ssl.data import load_dataset
from ray_ssl.ledger import DONE, FAILED, Ledger, TrialState, make_trials
from ray_ssl.storage import Storage
from sweeps.cli import main, parse
from sweeps.depth_width import SWEEP

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
