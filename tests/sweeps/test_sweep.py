"""The whole job, as a user runs it: train, measure, log, draw; again; killed; interrupted; failing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from analysis.table import KEY, read_table
from ray_ssl.storage import Storage
from tests.sweeps.command import QUICK, TINY, kill, run, start, wait_for


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


def runs_of(folder: Path, experiment_name: str = "depth_width") -> tuple[MlflowClient, list[Run], list[Run]]:
    """The client, parent runs and child runs."""
    client = MlflowClient(f"sqlite:///{folder}/results/mlflow.db")
    experiment = client.get_experiment_by_name(experiment_name)
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
    whole: Any = table_of(folder)
    curves, table = whole[whole.layer == -1], whole[whole.layer >= 0]
    assert {*curves.epoch} == {1, 2, 3, 4} and {"loss", "invariance", "regularisation"} <= {*curves.metric}
    assert set(table.epoch) == {0, 1, 4}
    assert set(table.layer_name) == {"stem", "block1", "representation"}
    assert set(table.level) == {"class", "superclass", "none"}
    assert {"linear_accuracy", "ncc_accuracy", "cdnv", "class_variance", "effective_rank"} <= set(table.metric)
    assert sorted(set(table.width)) == [4, 6]
    block = table[table.layer_name == "block1"].value.to_numpy()
    np.testing.assert_array_equal(block, table[table.layer_name == "representation"].value.to_numpy())  # NaN is NaN
    figures = {p.name for p in (sweep_folder(folder) / "figures").iterdir()}
    for name in ("accuracy_by_epoch", "fig5_left", "fig5_middle", "fig5_right", "fig2_middle", "depth_width_heatmap"):
        assert {f"{name}.png", f"{name}.svg", f"{name}.csv"} <= figures
    assert_every_point_once(folder, 4, 2)
    client, parents, children = runs_of(folder)
    assert {a.path for a in client.list_artifacts(parents[0].info.run_id)} == {
        "figures",
        "measurements.parquet",
        "report.html",
    }
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
    line = [*QUICK, "--widths", *widths, "--objective", "embedding_rank"]
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


def test_a_search_trains_nothing_that_a_grid_has_trained(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    before = final_weights(folder)
    for known in ("6 to be suggested", "2 done"):
        code, out, err = run(folder, *TINY, "--search", "optuna", "--num-trials", "6")
        assert (code, err) == (0, "")
        assert f"trials: {known}\nnothing to do" in out
        assert "best knn_accuracy: trial" in out
    assert final_weights(folder) == before
