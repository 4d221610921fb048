"""The whole job, as a user runs it: train, measure, log, draw; again; killed; interrupted; failing."""

import json
import signal
from pathlib import Path

import pandas as pd
import psutil
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from analysis.table import KEY, read_table
from ray_ssl.storage import Storage
from tests.sweeps.command import TINY, kill, run, start, wait_for


def sweep_folder(folder: Path) -> Path:
    return next((folder / "results").glob("depth_width-*"))


def table_of(folder: Path) -> pd.DataFrame:
    storage = Storage.at(sweep_folder(folder))
    table = read_table(storage.filesystem, storage.path("measurements"))
    return table.drop(columns="sweep").sort_values([k for k in KEY if k != "sweep"]).reset_index(drop=True)


def final_weights(folder: Path) -> dict[str, str]:
    """sha256 of every checkpoint's weights, by trial and epoch."""
    found = {}
    for manifest in sweep_folder(folder).glob("*/checkpoints/*/manifest.json"):
        body = json.loads(manifest.read_text().partition("\n")[2])
        found["/".join(manifest.parts[-4:-1])] = body["sha256"]["model.safetensors"]
    return found


def runs_of(folder: Path) -> tuple[MlflowClient, list[Run], list[Run]]:
    """The client, parent runs and child runs."""
    client = MlflowClient(f"sqlite:///{folder}/results/mlflow.db")
    experiment = client.get_experiment_by_name("depth_width")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = [r for r in runs if MLFLOW_PARENT_RUN_ID in r.data.tags]
    return client, [r for r in runs if r not in children], children


def assert_every_point_once(folder: Path, num_epochs: int, num_trials: int) -> None:
    client, parents, children = runs_of(folder)
    assert [p.info.status for p in parents] == ["FINISHED"]
    assert sorted(c.info.status for c in children) == ["FINISHED"] * num_trials
    for child in children:
        for metric in ("loss", "invariance", "regularisation", "learning_rate", "knn_accuracy"):
            steps = [point.step for point in client.get_metric_history(child.info.run_id, metric)]
            assert steps == list(range(1, num_epochs + 1)), (metric, steps)
        profile = client.get_metric_history(child.info.run_id, "layers/linear_accuracy/class")
        assert [point.step for point in profile] == [0, 1, 2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished sweep and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    code, out, err = run(folder, *TINY)
    assert code == 0, err
    assert err == ""
    return folder, out


def test_a_sweep_leaves_checkpoints_table_figures_and_runs(finished: tuple[Path, str]) -> None:
    folder, out = finished
    table = table_of(folder)
    assert set(table.epoch) == {0, 1, 4}
    assert set(table.layer_name) == {"stem", "block1", "representation"}
    assert set(table.level) == {"class", "superclass", "none"}
    assert {"linear_accuracy", "ncc_accuracy", "cdnv", "class_variance", "effective_rank"} <= set(table.metric)
    assert sorted(set(table.width)) == [4, 6]
    block = table[table.layer_name == "block1"].value.to_numpy()
    assert (block == table[table.layer_name == "representation"].value.to_numpy()).all()
    figures = {p.name for p in (sweep_folder(folder) / "figures").iterdir()}
    for name in ("accuracy_by_epoch", "accuracy_by_layer", "superclass_class_ratio", "ncc_linear_ratio",
                 "depth_width_heatmap"):  # fmt: skip
        assert {f"{name}.png", f"{name}.svg", f"{name}.csv"} <= figures
    assert_every_point_once(folder, 4, 2)
    client, parents, children = runs_of(folder)
    assert {a.path for a in client.list_artifacts(parents[0].info.run_id)} == {"figures", "measurements.parquet"}
    assert {a.path for a in client.list_artifacts(children[0].info.run_id)} == {"config.json", "environment.json"}
    for line in (
        "results  ",
        "table  ",
        "figures  ",
        "MLflow  ",
        "  mlflow ui --backend-store-uri sqlite:///",
        "next:",
    ):
        assert line in out


def test_the_same_line_again_has_nothing_to_do_and_a_wider_grid_trains_what_is_new(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    before = final_weights(folder)
    code, out, err = run(folder, *TINY)
    assert (code, err) == (0, "")
    assert "nothing to do" in out
    assert final_weights(folder) == before
    assert_every_point_once(folder, 4, 2)
    wider = ["4", "6", "5"] if (at := TINY.index("--widths")) else []
    code, out, err = run(folder, *TINY[: at + 1], *wider, *TINY[at + 3 :])
    assert (code, err) == (0, "")
    assert "trials: 2 done, 1 new" in out
    after = final_weights(folder)
    assert before.items() <= after.items()
    assert len(after) == 9
    assert_every_point_once(folder, 4, 3)


def test_killed_twice_and_run_again_ends_as_if_nothing_had_happened(finished: tuple[Path, str], tmp_path: Path) -> None:
    for pattern in ("results/*/*/state/step-*/manifest.json", "results/*/*/checkpoints/epoch-000004/card.json"):
        process = start(tmp_path, *TINY)
        wait_for(tmp_path, pattern, process)
        kill(process)
    code, _, err = run(tmp_path, *TINY)
    assert (code, err) == (0, "")
    whole = final_weights(finished[0])
    assert final_weights(tmp_path) == {name: whole[name] for name in final_weights(tmp_path)}
    assert len(final_weights(tmp_path)) == 6
    assert_every_point_once(tmp_path, 4, 2)
    table = table_of(tmp_path)
    reference = table_of(finished[0])
    of_both = reference.trial_key.isin(table.trial_key)
    pd.testing.assert_frame_equal(table, pd.DataFrame(reference[of_both]).reset_index(drop=True))


def test_what_asha_stopped_goes_on_without_it_to_the_same_weights(finished: tuple[Path, str], tmp_path: Path) -> None:
    # One after the other, the one of lower rank last: it is stopped after epoch 1.
    ranks = {}
    for path in sweep_folder(finished[0]).glob("*/done.json"):
        done, config = (
            json.loads((path.parent / n).read_text().partition("\n")[2]) for n in (path.name, "config.json")
        )
        ranks[str(config["config"]["backbone"]["width"])] = done["history"][0]["embedding_rank"]
    widths = sorted(("4", "6"), key=lambda width: -ranks[width])  # the other tests may have added more
    line = [*TINY, "--widths", *widths, "--num-cpus", "1", "--objective", "embedding_rank"]
    code, out, err = run(tmp_path, *line, "--scheduler", "asha")
    assert (code, err) == (0, "")
    assert [": done after" in out, ": stopped early after" in out] == [True, True]
    assert sorted(r.info.status for r in runs_of(tmp_path)[2]) == ["FINISHED", "KILLED"]
    code, out, err = run(tmp_path, *line)
    assert (code, err) == (0, "")
    assert "1 of them, stopped early by a scheduler, now go to their last epoch" in out
    weights = final_weights(tmp_path)
    assert len(weights) == 6
    assert weights.items() <= final_weights(finished[0]).items()
    assert_every_point_once(tmp_path, 4, 2)
    assert not [p for name in ("state", "stopped.json") for p in sweep_folder(tmp_path).glob(f"*/{name}")]


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = start(tmp_path, *TINY, "--epochs", "500", "--name", "depth_width-long")
    wait_for(tmp_path, "results/*/*/state/step-*/manifest.json", process)
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
    arguments = [*TINY, "--learning-rate", "1e30", "--warmup-fraction", "0"]
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
    process = start(tmp_path, *TINY, "--widths", "4", "--epochs", "40")
    wait_for(tmp_path, "results/*/*/state/step-*/manifest.json", process)
    children = psutil.Process(process.pid).children(recursive=True)
    next(child for child in children if "ray::ImplicitFunc" in " ".join(child.cmdline())).kill()
    out, err = process.communicate(timeout=200)
    assert (process.returncode, err) == (0, "")
    assert "): its process died; it goes on from its newest state\n" in out
    assert "raylet" not in out


def test_an_optuna_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    search = [*TINY, "--search", "optuna", "--vary", "learning-rate=0.001:0.1", "--epochs", "2"]
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


def test_a_search_trains_nothing_that_a_grid_has_trained(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    before = final_weights(folder)
    for known in ("6 to be suggested", "2 done"):
        code, out, err = run(folder, *TINY, "--search", "optuna", "--num-trials", "6")
        assert (code, err) == (0, "")
        assert f"trials: {known}\nnothing to do" in out
        assert "best knn_accuracy: trial" in out
    assert final_weights(folder) == before


def test_two_workers_of_a_trial_train_what_one_does(tmp_path: Path) -> None:
    # A low rate: rounding differs between one and two workers, and 16 steps at a high one would blow that up.
    arguments = [*TINY, "--widths", "4", "--learning-rate", "0.0005", "--precision", "fp32"]
    tables = []
    for workers in ("1", "2"):
        folder = tmp_path / workers
        folder.mkdir()
        code, _, err = run(folder, *arguments, "--num-workers", workers)
        assert (code, err) == (0, "")
        tables.append(table_of(folder))
    one, two = tables
    assert len(one) == len(two)
    moments = one.metric.isin(["class_variance", "class_mean_distance", "effective_rank"])
    assert two.value[moments].to_numpy() == pytest.approx(one.value[moments].to_numpy(), rel=1e-3)
    assert_every_point_once(tmp_path / "2", 4, 1)
