"""The cheap look at MLflow agrees with MLflow, and says nothing rather than something wrong.

Its other half, at a server, is tested in tests/sweeps/test_tracking_server.py.
"""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from ray_ssl.mlflow_probe import run_statuses
from ray_ssl.mlflow_store import PARENT, TrialRun
from ray_ssl.tracking import Tracker


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with two sweeps."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('ml')}/ml flow.db"
    for sweep, keys in (("a", ("k1", "k2")), ("b", ("k1",))):
        tracker = Tracker(uri, "experiment 'x'", sweep)
        tracker.connect()
        for key in keys:
            tracker.begin(TrialRun(key, key))
        tracker.end("k1", "FINISHED")
        tracker.parent_end("FAILED")
        assert tracker.close(60) == 0
    return uri


def test_statuses_by_trial(uri: str) -> None:
    assert run_statuses(uri, "experiment 'x'", "a") == {PARENT: "FAILED", "k1": "FINISHED", "k2": "RUNNING"}
    assert run_statuses(uri, "experiment 'x'", "b") == {PARENT: "FAILED", "k1": "FINISHED"}
    assert run_statuses(uri, "experiment 'x'", "c") == {}
    assert run_statuses(uri, "y", "a") == {}


def test_a_deleted_run_is_gone(uri: str) -> None:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("experiment 'x'")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.`ray_ssl.trial_key` = 'k2'")
    client.delete_run(run.info.run_id)
    assert run_statuses(uri, "experiment 'x'", "a") == {PARENT: "FAILED", "k1": "FINISHED"}
    client.restore_run(run.info.run_id)


def test_what_cannot_be_said_cheaply_is_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_statuses(f"sqlite:///{tmp_path}/nowhere.db", "x", "a") is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text.db").write_text("no database")
    assert run_statuses(f"sqlite:///{tmp_path}/text.db", "x", "a") is None
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE runs (x)").connection.close()
    assert run_statuses(f"sqlite:///{tmp_path}/other.db", "x", "a") is None
    assert run_statuses("postgresql://host/db", "x", "a") is None
    assert run_statuses("http://127.0.0.1:9", "x", "a") is None
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    assert run_statuses("http://127.0.0.1:9", "x", "a") is None


def test_twins_are_left_to_mlflow(uri: str, tmp_path: Path) -> None:
    path = tmp_path / "twins.db"
    path.write_bytes(Path(uri.removeprefix("sqlite:///")).read_bytes())
    with sqlite3.connect(path) as database:
        database.execute("UPDATE tags SET value = 'k1' WHERE value = 'k2'")
    database.close()
    assert run_statuses(f"sqlite:///{path}", "experiment 'x'", "a") is None


def test_mlflow_is_not_imported(uri: str) -> None:
    code = f"""
import sys
from ray_ssl.mlflow_probe import run_statuses
assert run_statuses({uri!r}, "experiment 'x'", "a")
assert "mlflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
