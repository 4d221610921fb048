"""The sweep over trainings on an exact graph, as a user runs it: interrupted, failing, retried; its rows, its runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from analysis.__main__ import main as analysis
from analysis.graph.contrastive import marks
from analysis.table import MEASUREMENTS, read_table
from ray_ssl.errors import EXIT_INTERRUPTED
from ray_ssl.ledger import Ledger, TrialState
from ray_ssl.storage import Storage
from ray_ssl.sweep.explain import explain
from sweeps.graph import SWEEP
from sweeps.graph_cli import main
from tests.analysis.graph.trained import IMAGES, train_all
from tests.sweeps.command import run, start, wait_for
from tests.sweeps.test_sweep import runs_of

STEPS = 400
LINE = [*IMAGES, "--resolution", "2", "--k", "3", "--sizes", "3", "5", "--steps", str(STEPS), "--seeds", "7",
        "--address", "local", "--num-cpus", "1", "--state-seconds", "0", "--name", "study",
        "--kinds", "network", "table"]  # fmt: skip


def rows_of(folder: Path) -> pd.DataFrame:
    storage = Storage.at(folder)
    table = read_table(storage.filesystem, storage.path(MEASUREMENTS)).drop(columns="sweep")
    return table.sort_values(["trial_key", "epoch", "level", "split", "metric"], ignore_index=True)


def statuses(folder: Path) -> dict[str, str]:
    return {child.info.run_name or "": child.info.status for child in runs_of(folder, "graph")[2]}


def test_interrupted_failed_and_retried_it_ends_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, sweep = train_all(tmp_path / "whole", LINE), tmp_path / "results" / "study"
    ledger, (network, table) = Ledger(Storage.at(sweep)), expected.trials
    obstacle = sweep / network.key / "state"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("no folder")
    process = start(tmp_path, *LINE, module="sweeps.graph")
    wait_for(tmp_path, f"results/study/measurements/{table.key}-000032-*.parquet", process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=200)
    said = err.splitlines()
    assert process.returncode == EXIT_INTERRUPTED and len(said) == 2, err
    assert said[0] == "interrupted; nothing that was finished is lost. To go on:" and " ".join(LINE) in said[1]
    assert f"{network.name} ({network.key}): failed: Not a directory" in out
    assert statuses(tmp_path) == {network.name: "FAILED", table.name: "KILLED"}
    assert ledger.state(table.key) is TrialState.RESUMABLE and ledger.state(network.key) is TrialState.FAILED

    obstacle.unlink()
    code, out, err = run(tmp_path, *LINE, "--retry-failed", module="sweeps.graph")
    assert (code, err) == (0, "") and "trials: 1 failed, 1 to resume" in out and "goes on after step" in out
    assert f"{network.name}: eigenvector_alignment" in out
    pd.testing.assert_frame_equal(rows_of(sweep), rows_of(tmp_path / "whole"))
    client, (parent,), children = runs_of(tmp_path, "graph")
    assert parent.info.status == "FINISHED" and parent.data.params["num_steps"] == str(STEPS)
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert files == {"figures", "measurements.parquet", "report.html"}
    assert statuses(tmp_path) == {table.name: "FINISHED", network.name: "FINISHED"}
    last = rows_of(sweep).query(f"epoch == {STEPS} and level == 'none'").set_index(["method", "metric"])["value"]
    for child in children:
        method = f"spectral {child.data.params['kind']}"
        assert (child.data.params["k"], child.data.params["seed"]) == ("3", "7")
        for name, metric in (("loss", "spectral_loss"), ("eigenvector_alignment", "eigenvector_alignment")):
            points = client.get_metric_history(child.info.run_id, name)
            assert [point.step for point in points] == marks(STEPS)
            assert points[-1].value == last[method, metric]
        assert child.data.metrics["analysis/linear_accuracy/class"] >= 0
    figures = {path.stem for path in (sweep / "figures").glob("*.png")}
    assert {"eigenvector_angles", "spectral_loss", "probe_by_purity"} <= figures

    assert f"python -m analysis claims {sweep}" in out and f"python -m analysis {sweep}" not in out
    assert explain([(ledger, table)]).endswith(f"what holds of it:\n  python -m analysis claims {sweep}")
    monkeypatch.chdir(tmp_path)
    assert analysis([str(sweep)]) == 0
    assert "nothing to measure: trainings on an exact graph" in capsys.readouterr().out
    for line in ([str(sweep), "--metrics", "rank"], ["connectivity", str(sweep)]):
        assert analysis(line) == 2
        assert (
            "is of trainings on an exact graph (sweeps/graph.py), which have no checkpoints" in capsys.readouterr().err
        )
    before = {path: path.stat().st_mtime_ns for path in sweep.rglob("*") if path.name != "lease.json"}
    assert main(SWEEP, [*LINE, "--dry-run"]) == 0
    assert "2 trial(s), 0 to run" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}
    next((sweep / MEASUREMENTS).glob(f"{table.key}-{STEPS:06d}-*.parquet")).unlink()
    assert main(SWEEP, [*LINE, "--dry-run", "--seeds", "7", "8"]) == 0
    out = capsys.readouterr().out
    assert "4 trial(s), 3 to run" in out and "spectral network k 3 seed 8" in out and "M parameters  about" in out
    assert main(SWEEP, [*LINE, "--steps", "5"]) == 2
    assert "was made with --steps 400, now 5; give another --name" in capsys.readouterr().err
