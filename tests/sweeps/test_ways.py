"""Ways through the job besides the straight one: interrupted, failing, searched, with several workers."""

import signal
from pathlib import Path

import psutil
import pytest

from tests.sweeps.command import QUICK, TINY, run, start, wait_for
from tests.sweeps.test_sweep import (
    assert_every_point_once,
    runs_of,
    sweep_folder,
    table_of,
)

RANK = ["--metrics", "rank"]
"""One figure instead of six; where MLflow is looked at, it is at what QUICK measures."""


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = start(tmp_path, *QUICK, "--num-cpus", "2", "--epochs", "500", "--name", "depth_width-long")
    wait_for(tmp_path, "results/*/*/state/step-*/manifest.json", process, count=2)  # a trial has a run once it starts
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 75, (out, err)
    assert "interrupted; nothing that was finished is lost. To go on:\n  " in err
    assert "--epochs 500 --name depth_width-long" in err
    assert "Traceback" not in out + err
    _, parents, children = runs_of(tmp_path)
    assert [r.info.status for r in [*parents, *children]] == ["KILLED"] * 3
    assert not (sweep_folder(tmp_path) / "lease.json").exists()


def test_a_failing_trial_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    # With this batch an epoch is one step of SGD at a rate that overflows; untrained checkpoints are measured still.
    arguments = [*QUICK, *RANK, "--learning-rate", "1e30", "--warmup-fraction", "0"]
    code, out, err = run(tmp_path, *arguments)
    assert code == 1
    assert "Last result" not in out  # Tune's words
    lines = err.strip().splitlines()
    assert len(lines) == 2
    assert all("failed: vicreg 1-" in line and "the loss became" in line and "error.txt" in line for line in lines)
    _, parents, children = runs_of(tmp_path)
    assert [r.info.status for r in [*parents, *children]] == ["FAILED"] * 3
    assert set(table_of(tmp_path).epoch) == {0}
    code, out, _ = run(tmp_path, *arguments)
    assert code == 1
    assert "trials: 2 failed" in out
    code, out, _ = run(tmp_path, *arguments, "--retry-failed")
    assert code == 1
    assert "training: 2 trial(s)" in out


def test_a_trial_whose_process_is_killed_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path, *QUICK, *RANK, "--widths", "4", "--epochs", "40")
    wait_for(tmp_path, "results/*/*/state/step-*/manifest.json", process)
    children = psutil.Process(process.pid).children(recursive=True)
    next(child for child in children if "ray::ImplicitFunc" in " ".join(child.cmdline())).kill()
    out, err = process.communicate(timeout=200)
    assert (process.returncode, err) == (0, "")
    assert "): its process died; it goes on from its newest state\n" in out
    assert "raylet" not in out


def test_an_optuna_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    search = [*QUICK, *RANK, "--search", "optuna", "--vary", "learning-rate=0.001:0.1", "--epochs", "2"]
    code, out, err = run(tmp_path, *search, "--num-trials", "2")
    assert (code, err) == (0, "")
    assert "best knn_accuracy: trial" in out
    code, out, err = run(tmp_path, *search, "--num-trials", "3", "--scheduler", "asha")
    assert (code, err) == (0, "")
    assert "training: 1 trial(s)" in out
    assert len(table_of(tmp_path).trial_key.unique()) == 3
    code, out, err = run(tmp_path, *search, "--num-trials", "3", "--vary", "momentum=0.5:0.95")
    assert (code, err) == (0, "")
    assert "nothing to do" in out  # 0.9, which they had, lies between
    at = search.index("learning-rate=0.001:0.1")
    code, out, err = run(tmp_path, *search[:at], "learning-rate=1e-4:9e-4", *search[at + 1 :], "--num-trials", "1")
    assert (code, err) == (0, "")
    assert "3 earlier trial(s) of this search lie outside what is varied now and are left out" in out
    assert "training: 1 trial(s)" in out


def test_two_workers_of_a_trial_train_what_one_does(tmp_path: Path) -> None:
    # A low rate: rounding differs between one and two workers, and 16 steps at a high one would blow that up.
    metrics = ["--metrics", "linear_probe", "cdnv", "rank"]
    arguments = [*TINY, "--widths", "4", "--learning-rate", "0.0005", "--precision", "fp32", *metrics]
    tables = []
    for workers in ("1", "2"):
        folder = tmp_path / workers
        folder.mkdir()
        code, _, err = run(folder, *arguments, "--num-workers", workers, "--num-cpus", workers)
        assert (code, err) == (0, "")
        tables.append(table_of(folder))
    one, two = tables
    assert len(one) == len(two)
    moments = one.metric.isin(["class_variance", "class_mean_distance", "effective_rank"])
    assert two.value[moments].to_numpy() == pytest.approx(one.value[moments].to_numpy(), rel=1e-3)
    assert_every_point_once(tmp_path / "2", 4, 1)
