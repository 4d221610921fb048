"""A tracking server that is killed in the middle of a sweep: training goes on, and the same command sends the rest."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from ray_ssl.mlflow_probe import run_statuses
from ray_ssl.mlflow_store import PARENT
from tests.mlflow_server import Server
from tests.sweeps.command import QUICK, run, start, wait_for

EPOCHS = 12
COMMAND = [*QUICK, "--widths", "4", "6", "5", "--epochs", str(EPOCHS), "--name", "swept"]
EXPERIMENT = "depth_width"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


def points(uri: str) -> Counter[tuple[str, str, int]]:
    """How often each point is stored, by name of the run, metric and step."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert all(r.info.status == "FINISHED" for r in runs)
    return Counter(
        (r.info.run_name or "", metric, point.step)
        for r in runs
        for metric in r.data.metrics
        for point in client.get_metric_history(r.info.run_id, metric)
    )


def test_a_killed_server_loses_nothing(server: Server, tmp_path: Path) -> None:
    command = [*COMMAND, "--tracking-uri", server.uri]
    process = start(tmp_path, *command)
    wait_for(tmp_path, "results/swept/*/done.json", process)  # the first of three trials
    server.kill()
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert len(list(tmp_path.glob("results/swept/*/done.json"))) == 3
    assert "measured 9/9" in out
    assert "does not take what is sent: it is kept, and sent later" in err
    waiting = re.search(r"does not answer: nothing is lost, (\d+) call\(s\) can be made again", err)
    assert waiting and int(waiting[1]) > 0
    assert "Traceback" not in out + err

    code, out, err = run(tmp_path, *command)  # still dead: said in one line
    assert code == 2
    assert "no MLflow server answers at" in err
    assert len(err.splitlines()) == 1

    server.start()
    code, out, err = run(tmp_path, *command)
    assert (code, err) == (0, "")
    assert "nothing to do" in out
    stored = points(server.uri)
    assert set(stored.values()) == {1}
    for width in (4, 5, 6):
        for metric in ("loss", "invariance", "knn_accuracy"):
            steps = [step for run, name, step in stored if (run, name) == (f"vicreg 1-{width} seed 0", metric)]
            assert sorted(steps) == list(range(1, EPOCHS + 1))
        assert stored[f"vicreg 1-{width} seed 0", "analysis/linear_accuracy/class", EPOCHS] == 1
    assert stored["swept", "linear_accuracy/class/best", 1] == 1
    assert stored["swept", "trials/finished", 1] == 1

    code, out, err = run(tmp_path, *command)  # and nothing twice
    assert (code, err) == (0, "")
    assert points(server.uri) == stored
    statuses = run_statuses(server.uri, EXPERIMENT, "swept")
    assert statuses is not None
    assert statuses.pop(PARENT) == "FINISHED"
    assert len(statuses) == 3 and set(statuses.values()) == {"FINISHED"}
