"""The sweep in a few numbers: from the last epoch of finished trials, and once each in MLflow."""

from pathlib import Path
from unittest.mock import MagicMock

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from analysis.finetuned_choice import chosen
from analysis.headline import fully_measured, headline, publish_headline
from analysis.publish import publish
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.ledger import DONE, FAILED, STOPPED, Ledger, Trial, make_trials
from ray_ssl.storage import Storage
from ray_ssl.tracking import Tracker
from tests.analysis.finetuned_tables import fine_tuned
from tests.analysis.transfer_tables import transferred

EPOCHS = 4
BASE = PretrainConfig.from_dict({"training": {"epochs": EPOCHS}})
TRIALS = make_trials([replace(BASE, {"seed": seed}) for seed in range(4)], "data")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(Storage.at(tmp_path / "sweep"))
    for trial in TRIALS:
        ledger.write_config(trial)
    return ledger


def rows(trial: Trial, values: dict[int, float], **changes: str) -> list[dict[str, object]]:
    """Linear accuracy of the representation by epoch."""
    same = {"metric": "linear_accuracy", "split": "test", "level": "class", "layer_name": "representation", **changes}
    return [{"trial_key": trial.key, "epoch": epoch, "value": value, **same} for epoch, value in values.items()]


def table_of(*parts: list[dict[str, object]]) -> pd.DataFrame:
    columns = ["trial_key", "epoch", "value", "metric", "split", "level", "layer_name"]
    return pd.DataFrame([row for part in parts for row in part], columns=columns)


def test_the_last_epoch_of_finished_trials_counts(ledger: Ledger) -> None:
    done, stopped, failed, early = TRIALS
    for trial in (done, early):
        ledger.end(trial.key, DONE, {"history": []})
    ledger.end(stopped.key, STOPPED, {"reason": "x", "last": {}})
    ledger.end(failed.key, FAILED, {"reason": "x"})
    table = table_of(
        rows(done, {4: 0.5, 0: 0.9, 1: 0.1}),  # in any order
        rows(done, {4: 0.7}, level="superclass"),
        rows(done, {4: 0.99}, split="train"),
        rows(done, {4: 0.99}, layer_name="block1"),
        rows(done, {4: 0.99}, metric="ncc_accuracy"),
        rows(stopped, {0: 0.1, 2: 0.3}),
        rows(failed, {0: 1.0}),
        rows(early, {1: 1.0}),  # its last checkpoint is not measured yet
    )
    assert fully_measured(ledger, table) == sorted([done.key, stopped.key])
    assert headline(ledger, table) == pytest.approx({
        "linear_accuracy/class/best": 0.5, "linear_accuracy/class/mean": 0.4,
        "linear_accuracy/superclass/best": 0.7, "linear_accuracy/superclass/mean": 0.7,
        "trials/finished": 3, "trials/failed": 1,
    })  # fmt: skip


def test_a_sweep_without_results_says_how_its_trials_ended(ledger: Ledger) -> None:
    ledger.end(TRIALS[0].key, FAILED, {"reason": "x"})
    assert headline(ledger, table_of()) == {"trials/finished": 0, "trials/failed": 1}


def test_every_change_is_one_step_on_every_server(ledger: Ledger, tmp_path: Path) -> None:
    def publish(server: str, table: pd.DataFrame) -> None:
        tracker = Tracker(f"sqlite:///{tmp_path}/{server}.db", "x", "sweep")
        tracker.connect()
        publish_headline(tracker, ledger, table)
        assert tracker.close(60) == 0

    def stored(server: str, metric: str) -> list[tuple[int, float]]:
        client = MlflowClient(f"sqlite:///{tmp_path}/{server}.db")
        experiment = client.get_experiment_by_name("x")
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)]

    ledger.end(TRIALS[0].key, DONE, {"history": []})
    first = table_of(rows(TRIALS[0], {4: 0.5}))
    publish("one", first)
    publish("one", first)  # a resumed command with nothing new
    assert stored("one", "linear_accuracy/class/best") == [(1, 0.5)]
    ledger.end(TRIALS[1].key, DONE, {"history": []})
    both = table_of(rows(TRIALS[0], {4: 0.5}), rows(TRIALS[1], {4: 0.6}))
    publish("one", both)
    publish("two", both)
    for server in ("one", "two"):
        assert stored(server, "linear_accuracy/class/best") == [(1, 0.5), (2, 0.6)]
        assert stored(server, "trials/finished") == [(1, 1.0), (2, 2.0)]


def test_the_runs_of_trials_have_the_numbers_of_transfer_and_fine_tuning() -> None:
    def logged(table: pd.DataFrame) -> set[str]:
        tracker = MagicMock()
        publish(tracker, table)
        return {call.args[1] for call in tracker.analysis_points.call_args_list}

    of_transfer = logged(transferred())
    for head in ("logistic", "pfa2"):
        assert {f"analysis/{domain}_accuracy_{head}/class" for domain in ("source", "target")} <= of_transfer
    assert {f"analysis/{name}/class" for name in ("domain_accuracy", "domain_distance")} <= of_transfer
    tuned = fine_tuned((0,), (10,))
    assert logged(tuned) == {
        *(f"analysis/head_accuracy/{split}" for split in ("validation", "test", "target")),
        *(f"analysis/{kind}feature_distance/{split}" for kind in ("", "relative_") for split in ("test", "target")),
    }


def test_what_fine_tuning_chose_is_on_the_sweep_s_run(monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> None:
    table = fine_tuned(pretrained=(10, 100), settings=("", "frozen BatchNorm"))
    keys = list(table["trial_key"].unique())
    monkeypatch.setattr("analysis.headline.fully_measured", lambda ledger, measurements: keys)
    values = {name: value for name, value in headline(ledger, table).items() if name.startswith("fine_tuning/")}
    found, heads = chosen(table), ("ft", "lp", "lp_ft")
    norms = ("", "frozen_BatchNorm/")
    assert set(values) == {
        *(f"fine_tuning/{norm}{head}/{split}" for norm in norms for head in heads for split in ("test", "target")),
        *(f"fine_tuning/{norm}{head}/relative_feature_distance/{split}"
          for norm in norms for head in ("ft", "lp_ft") for split in ("test", "target")),
    }  # fmt: skip
    of_ft = found[(found["protocol"] == "ft") & (found["setting"] == "") & (found["pretrained_epoch"] == 100)]
    assert values["fine_tuning/ft/target"] == pytest.approx(of_ft["target"].mean())
    del keys[:]  # none has been measured whole
    assert not any(name.startswith("fine_tuning/") for name in headline(ledger, table))
