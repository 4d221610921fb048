"""MLflow gets every point once and one run a trial, whatever was slow, dead or killed. All against the real thing."""

import logging
import math
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, UNAUTHENTICATED

from ray_ssl.errors import UserError
from ray_ssl.mlflow_client import experiment_id, explain
from ray_ssl.tracking import Status, Tracker, TrialRun, local_store, ui_command
from tests.mlflow_server import Server

T0 = 1_700_000_000_000  # the history's own time of step 0
TRIAL = TrialRun("k1", "vicreg seed 0", {"depth": "5"}, {"host": "here"}, {"config.json": '{"depth":5}'})


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """An MLflow database with its tables, to be copied: creating one takes seconds."""
    folder = tmp_path_factory.mktemp("template")
    Tracker(local_store(folder)[0], "template", "template").connect()
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path, template) -> tuple[str, str]:
    shutil.copy(template, tmp_path / "mlflow.db")
    return local_store(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def starting_server(tmp_path_factory, template):
    """Starts while the tests that need no server run: it takes 6 to 13 s."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(template, folder / "mlflow.db")
    server = Server(folder)
    server.launch()
    yield server
    server.kill()


@pytest.fixture
def server(starting_server) -> Server:
    starting_server.wait()
    return starting_server


class Gate:
    """A TCP relay before a server that can be shut, or swallow answers: the request arrives, its answer does not."""

    def __init__(self, port: int):
        self._target, self.mode, self.num_swallowed = port, "open", 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            caller = self._listener.accept()[0]
            if self.mode == "shut":
                caller.close()
                continue
            target = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._relay, args=(caller, target, False), daemon=True).start()
            threading.Thread(target=self._relay, args=(target, caller, True), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.mode == "shut" or (answers and self.mode == "swallow"):
                    self.num_swallowed += answers
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def gate(server) -> Gate:
    return Gate(server.port)


def test_local_sweep_has_a_parent_and_one_described_run_a_trial(store):
    with_tracker(store, lambda tracker: send(tracker, TRIAL, 3, end="FAILED", reason="out of memory"))
    (parent,), (trial,) = parents(store), trials(store)
    assert (parent.info.run_name, parent.info.status) == ("depth", "RUNNING")
    assert (trial.info.run_name, trial.info.status) == ("vicreg seed 0", "FAILED")
    assert trial.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert trial.data.tags["ray_ssl.reason"] == "out of memory"
    assert trial.data.tags["host"] == "here"
    assert trial.data.params == {"depth": "5"}
    assert (Path(store[1]) / trial.info.run_id / "artifacts" / "config.json").read_text() == '{"depth":5}'
    assert history(store, trial, "loss") == {step: (loss(step), T0 + step) for step in range(3)}


def test_sending_everything_again_changes_nothing(store):
    send_all = lambda tracker: [send(tracker, t, 5) for t in (TRIAL, TrialRun("k2", "b"))]  # noqa: E731
    with_tracker(store, send_all)
    before = everything(store)
    with_tracker(store, send_all)
    assert everything(store) == before
    assert len(before) == 2


def test_a_run_that_is_named_otherwise_now_is_found_by_its_key(store):
    with_tracker(store, lambda tracker: send(tracker, TRIAL, 2))
    with_tracker(store, lambda tracker: send(tracker, replace(TRIAL, name="vicreg seed 0 (learning_rate 0.1)"), 4))
    (trial,) = trials(store)
    assert trial.info.run_name == "vicreg seed 0" and list(history(store, trial, "loss")) == [0, 1, 2, 3]


def test_points_go_on_where_an_earlier_process_stopped_even_without_their_time(store):
    def send_now(tracker, num_steps):
        tracker.begin(TRIAL)
        for step in range(num_steps):
            tracker.points("k1", step, {"loss": loss(step)})

    with_tracker(store, lambda tracker: send_now(tracker, 4))
    tracker = connected(store)
    assert tracker.steps_shipped() == {"k1": (3, "KILLED")}, "the first tracker left it RUNNING"
    send_now(tracker, 7)
    assert tracker.close(30) == 0
    assert tracker.steps_shipped() == {"k1": (6, "RUNNING")}
    assert set(history(store, the_trial(store), "loss")) == set(range(7))


def test_an_analysis_beside_a_running_sweep_leaves_statuses_alone(store):
    with_tracker(store, lambda tracker: send(tracker, TRIAL, 2, end=None))
    connected(store, owner=False).close(10)
    assert [run.info.status for run in trials(store) + parents(store)] == ["RUNNING", "RUNNING"]
    connected(store).close(10)
    (trial,) = trials(store)
    assert trial.info.status == "KILLED"
    with_tracker(store, lambda tracker: send(tracker, TRIAL, 3))
    (trial,) = trials(store)
    assert trial.info.status == "FINISHED"
    assert "ray_ssl.reason" not in trial.data.tags, "the reason of the earlier end is gone"


def test_analysis_adds_missing_steps_only(store):
    with_tracker(store, lambda tracker: send(tracker, TRIAL, 1))
    for series in ({0: 0.1, 4: 0.2}, {0: 0.1, 4: 0.2}, {0: 0.1, 4: 0.2, 9: math.nan}):
        tracker = connected(store, owner=False)
        tracker.analysis_points("k1", "ncc_accuracy/fine", series)
        tracker.analysis_points("k1", "ncc_accuracy/fine", series)
        assert tracker.close(20) == 0
    points = history(store, the_trial(store), "ncc_accuracy/fine")
    assert {step: value for step, (value, _) in points.items() if step < 9} == {0: 0.1, 4: 0.2}
    assert math.isnan(points[9][0])


def test_deleted_run_is_logged_anew(store):
    with_tracker(store, lambda tracker: send(tracker, TRIAL, 5))
    tracker = connected(store)  # knows the run
    client(store).delete_run(trials(store)[0].info.run_id)
    send(tracker, TRIAL, 6)
    assert tracker.close(20) == 0
    (trial,) = trials(store)
    assert set(history(store, trial, "loss")) == set(range(6))
    assert trial.data.params == {"depth": "5"}


def test_run_deleted_and_restored_while_logging_warns_once_and_leaves_no_hole(store, caplog):
    tracker = connected(store)
    send(tracker, TRIAL, 3, end=None)
    wait_until(lambda: tracker.pending() == 0)
    run_id = the_trial(store).info.run_id
    client(store).delete_run(run_id)
    with caplog.at_level(logging.WARNING, "ray_ssl"):
        for step in range(3, 9):
            if step == 6:
                client(store).restore_run(run_id)
            tracker.points("k1", step, {"loss": loss(step)}, T0 + step)
            wait_until(lambda: tracker.pending() == 0)
        tracker.end("k1", "FINISHED")
        assert tracker.close(20) == 0
    assert len(caplog.messages) == 1
    assert "k1" in caplog.text and "deleted" in caplog.text
    with_tracker(store, lambda tracker: send(tracker, TRIAL, 9))
    assert set(history(store, the_trial(store), "loss")) == set(range(9))


def test_deleted_parent_is_replaced_and_adopts_the_runs(store):
    with_tracker(store, lambda tracker: send(tracker, TRIAL, 2))
    client(store).delete_run(parents(store)[0].info.run_id)
    with_tracker(store, lambda tracker: send(tracker, TRIAL, 2))
    (parent,), (trial,) = parents(store), trials(store)
    assert trial.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_parent_holds_parameters_figures_and_report(store, tmp_path):
    (tmp_path / "report.html").write_text("<p>ok</p>")
    (tmp_path / "figs").mkdir()
    (tmp_path / "figs" / "a.svg").write_text("<svg/>")

    def send_parent(tracker, num_trials):
        tracker.parent_params({"num_trials": str(num_trials)})
        tracker.parent_artifact(tmp_path / "report.html")
        tracker.parent_artifact(tmp_path / "figs", "figures")
        tracker.parent_end("FINISHED")

    with_tracker(store, lambda tracker: send_parent(tracker, 4))
    with_tracker(store, lambda tracker: send_parent(tracker, 6))
    (parent,) = parents(store)
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"num_trials": "4"}
    assert parent.data.tags["ray_ssl.now.num_trials"] == "6"
    folder = Path(store[1]) / parent.info.run_id / "artifacts"
    assert (folder / "report.html").exists() and (folder / "figures" / "a.svg").exists()


def test_many_metrics_many_params_long_values(store):
    trial = TrialRun("k1", "n" * 400, {f"p{i}": "v" * 50 for i in range(250)} | {"long": "x" * 9000}, {"t": "y" * 9000})

    def burst(tracker):
        tracker.begin(trial)
        tracker.points("k1", 0, {f"m{i}": i for i in range(3000)}, T0)

    with_tracker(store, burst)
    with_tracker(store, burst)
    (run,) = trials(store)
    assert len(run.data.params) == 251
    assert len(run.data.params["long"]) == 6000
    assert run.data.params["long"].endswith("(cut from 9000 characters; whole text in the artifacts)")
    assert num_rows(store) == 3001
    assert history(store, run, "m2999") == {0: (2999, T0)}


def test_step_cut_off_between_two_calls_is_completed(store, monkeypatch):
    """More than 1,000 metrics take several calls; the driver dies after the first."""
    tracker = connected(store)
    tracker.begin(TRIAL)
    wait_until(lambda: tracker.pending() == 0)
    log_batch, num_calls = tracker._store._client.log_batch, 0

    def log_first_batch(*args, **kwargs):
        nonlocal num_calls
        num_calls += 1
        if num_calls > 1:
            raise ConnectionError("cut off")
        log_batch(*args, **kwargs)

    monkeypatch.setattr(tracker._store._client, "log_batch", log_first_batch)
    metrics = {f"m{i}": float(i) for i in range(1500)}
    tracker.points("k1", 0, metrics, T0)
    wait_until(lambda: num_calls > 1)
    assert tracker.close(0.1) == 1
    assert 0 < num_rows(store) < 1501
    tracker = connected(store)
    assert tracker.steps_shipped()["k1"][0] == -1
    tracker.begin(TRIAL)
    tracker.points("k1", 0, metrics, T0)
    assert tracker.close(20) == 0
    assert num_rows(store) == 1501


def test_weird_names(store):
    names = ["a'b", 'a"b', "ünï 数", "", "../up", "/abs", "a//b", "a%b`c;--", "line\nbreak", "x" * 400]
    for i, name in enumerate(names):
        trial = TrialRun(name or "key", name, {name: name}, {name: name})
        for _ in range(2):
            tracker = connected(store, name or "none", sweep=name)
            tracker.begin(trial)
            tracker.points(trial.key, 0, {name: 1.0}, T0)
            tracker.end(trial.key, "FINISHED", name)
            assert tracker.close(20) == 0
        run = the_trial(store, name or "none")
        assert run.data.tags["ray_ssl.trial_key"] == trial.key
        assert list(run.data.params.values()) == [name]
        assert num_rows(store) == 2 * (i + 1), "the metric and the marker"


def test_nan_stays_and_infinity_becomes_nan_with_a_tag(store):
    def diverge(tracker):
        tracker.begin(TRIAL)
        tracker.points("k1", 0, {"loss": math.nan, "norm": 1.0}, T0)
        tracker.points("k1", 1, {"loss": 1.0, "norm": -math.inf}, T0 + 1)

    with_tracker(store, diverge)
    (run,) = trials(store)
    assert math.isnan(history(store, run, "loss")[0][0])
    assert math.isnan(history(store, run, "norm")[1][0])
    assert run.data.tags["ray_ssl.infinite"] == "norm at step 1"


def test_server_gets_the_same_without_a_word(server, capfd):
    for _ in range(2):
        with_tracker((server.uri, None), lambda tracker: send(tracker, TRIAL, 4), experiment="same")
    assert capfd.readouterr() == ("", "")
    (trial,) = trials((server.uri, None), "same")
    assert trial.info.status == "FINISHED"
    assert history((server.uri, None), trial, "loss") == {step: (loss(step), T0 + step) for step in range(4)}
    assert [f.path for f in client((server.uri, None)).list_artifacts(trial.info.run_id)] == ["config.json"]


def test_stopped_server_delays_no_call_and_loses_no_point(server, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    where = (server.uri, None)
    tracker = connected(where, "stopped")
    send(tracker, TRIAL, 2, end=None)
    wait_until(lambda: tracker.pending() == 0)
    server.signal(signal.SIGSTOP)
    slowest = 0.0
    for step in range(2, 40):
        started = time.perf_counter()
        tracker.points("k1", step, {"loss": loss(step)}, T0 + step)
        slowest = max(slowest, time.perf_counter() - started)
        time.sleep(0.05)
    send(tracker, TrialRun("k2", "begun while stopped"), 2)
    tracker.end("k1", "FINISHED")
    time.sleep(2)
    assert tracker.pending() > 0, "the server was not stopped"
    server.signal(signal.SIGCONT)
    assert tracker.close(40) == 0
    assert slowest < 0.5, "a call waited for the dead server, whose time-out is 1 s"
    assert "sent later" in caplog.text
    by_key = {run.data.tags["ray_ssl.trial_key"]: run for run in trials(where, "stopped")}
    assert set(by_key) == {"k1", "k2"} and len(trials(where, "stopped")) == 2
    assert set(history(where, by_key["k1"], "loss")) == set(range(40))
    assert {run.info.status for run in by_key.values()} == {"FINISHED"}


def test_calls_that_arrived_but_were_not_answered_are_not_doubled(server, gate, monkeypatch):
    """Every kind of call loses an answer; points carry no time of their own."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    tracker = connected((gate.uri, None), "unanswered")

    def unanswered(call) -> None:
        gate.mode, before = "swallow", gate.num_swallowed
        call()
        wait_until(lambda: gate.num_swallowed > before)
        gate.mode = "open"
        wait_until(lambda: tracker.pending() == 0)

    unanswered(lambda: tracker.begin(TRIAL))
    unanswered(lambda: [tracker.points("k1", step, {"loss": loss(step)}) for step in range(20)])
    unanswered(lambda: tracker.analysis_points("k1", "profile", {0: 1.0, 1: 2.0}))
    unanswered(lambda: tracker.end("k1", "FINISHED"))
    assert tracker.close(20) == 0
    (trial,) = trials((server.uri, None), "unanswered")
    assert trial.info.status == "FINISHED"
    assert set(history((server.uri, None), trial, "loss")) == set(range(20))
    assert set(history((server.uri, None), trial, "profile")) == {0, 1}


def test_close_gives_up_in_time_and_a_later_tracker_completes(server, gate):
    tracker = connected((gate.uri, None), "later")
    gate.mode = "shut"
    send(tracker, TRIAL, 3)
    started = time.perf_counter()
    assert tracker.close(1.0) == 5, "begin, three points, end"
    assert time.perf_counter() - started < 3
    with_tracker((server.uri, None), lambda tracker: send(tracker, TRIAL, 3), experiment="later")
    (trial,) = trials((server.uri, None), "later")
    assert set(history((server.uri, None), trial, "loss")) == {0, 1, 2}


def test_close_waits_for_a_slow_server_as_long_as_calls_arrive(store, monkeypatch):
    tracker = connected(store)
    end = tracker._store.end

    def slow_end(*args):
        time.sleep(0.3)
        end(*args)

    monkeypatch.setattr(tracker._store, "end", slow_end)
    monkeypatch.setattr("ray_ssl.tracking._PROGRESS_SECONDS", 0.2)
    for i in range(6):
        send(tracker, replace(TRIAL, key=f"k{i}"), 1)
    told: list[int] = []
    started = time.perf_counter()
    assert tracker.close(1.2, told.append) == 0
    assert time.perf_counter() - started > 1.2
    assert told == sorted(told, reverse=True) and len(told) > 3
    assert [run.info.status for run in trials(store)] == ["FINISHED"] * 6


@pytest.mark.parametrize("relative", [False, True])
def test_artifacts_of_a_database_that_is_given_lie_beside_it(tmp_path, template, monkeypatch, relative):
    (tmp_path / "db").mkdir()
    (tmp_path / "here").mkdir()
    shutil.copy(template, tmp_path / "db" / "runs.db")
    monkeypatch.chdir(tmp_path / "here")
    uri = "sqlite:///../db/runs.db" if relative else f"sqlite:///{tmp_path}/db/runs.db"
    with_tracker((uri, None), lambda tracker: send(tracker, TRIAL, 1))
    assert [file.read_text() for file in tmp_path.rglob("config.json")] == ['{"depth":5}']
    assert {path.name for path in (tmp_path / "db").iterdir()} == {"runs.db", "mlflow-artifacts"}
    assert list((tmp_path / "here").iterdir()) == []


def test_killed_while_logging_then_sent_again(server, tmp_path):
    """Also: MLflow is imported late, and its database created without a word and without a draft left behind."""
    local = local_store(tmp_path / "new")
    program = (
        "import sys, ray_ssl.tracking; assert 'mlflow' not in sys.modules\n"
        f"import {__name__} as tests; tests.log_for_ever([{local!r}, {(server.uri, None)!r}])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stdout.readline() == b"shipped\n"
    time.sleep(0.37)
    process.kill()
    assert process.communicate() == (b"", b"")
    left = {path.name for path in (tmp_path / "new").iterdir()}
    assert left - {"mlflow.db-journal"} == {"mlflow.db", "mlflow-artifacts"}
    for where in (local, (server.uri, None)):
        killed = trials(where, "killed")
        assert {run.info.status for run in killed} == {"RUNNING"}
        num_steps = 100 + max(int(run.data.metrics["epoch"]) for run in killed)
        with_tracker(where, lambda tracker, n=num_steps: [send(tracker, t, n) for t in three_trials()], "killed")
        runs = trials(where, "killed")
        assert Counter(run.data.tags["ray_ssl.trial_key"] for run in runs) == {"a": 1, "b": 1, "c": 1}
        for run in runs:
            assert run.info.status == "FINISHED"
            for metric in ("loss", "accuracy", "epoch"):
                assert set(history(where, run, metric)) == set(range(num_steps))


def test_no_server_is_refused_quickly():
    started = time.perf_counter()
    with pytest.raises(UserError, match=r"no MLflow server answers at http://127.0.0.1:1 ") as caught:
        Tracker("http://127.0.0.1:1", "x", "s").connect()
    assert time.perf_counter() - started < 12
    assert "\n" not in str(caught.value)


def test_silent_server_is_refused_within_its_time_out(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    started = time.perf_counter()
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(UserError, match="no MLflow server answers"):
        Tracker(f"http://127.0.0.1:{listener.getsockname()[1]}", "x", "s").connect()
    assert time.perf_counter() - started < 12


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mlruns", "would be right: sqlite:////.*mlruns/mlflow.db"),
        ("file:///data/mlruns", "would be right: sqlite:////data/mlruns/mlflow.db"),
        ("", "would be right: sqlite:///"),
        ("ftp://host/x", "unknown kind of MLflow address"),
        ("http://", "no host"),
        ("http://[::1", "not an MLflow address"),
        ("sqlite://", "needs the path of a file"),
        ("sqlite:///:memory:", "needs the path of a file"),
        ("sqlite:////data/50%/mlflow.db", "free of . and %"),
        ("sqlite:////dev/null/x/mlflow.db", "cannot be used"),
        ("sqlite:////", "cannot be used"),
        ("postgresql://me:secret@127.0.0.1:1/db", r"me:\*\*\*@127.0.0.1:1/db cannot be used: .*refused"),
    ],
)
def test_bad_addresses(uri, message):
    with pytest.raises(UserError, match=message) as caught:
        Tracker(uri, "x", "s").connect()
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_database_that_is_not_ours(store, tmp_path):
    (tmp_path / "text.db").write_text("no database" * 100)
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("CREATE TABLE music (title TEXT)")
    for name, message in (("text.db", "not a database"), ("other.db", "not one of MLflow")):
        with pytest.raises(UserError, match=message):
            Tracker(f"sqlite:///{tmp_path / name}", "x", "s").connect()
    for version, message in (("f" * 12, "newer MLflow"), ("451aebb31d03", "older MLflow.*mlflow db upgrade sqlite:")):
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            database.execute("UPDATE alembic_version SET version_num = ?", [version])
        with pytest.raises(UserError, match=message):
            connected(store)


def test_deleted_experiment_says_how_to_restore_it(store):
    connected(store).close(5)
    client(store).delete_experiment(experiment_of(store))
    with pytest.raises(UserError, match=r"was deleted; restore it .mlflow experiments restore --experiment-id 2"):
        connected(store)


@pytest.mark.parametrize(
    ("login", "status", "message"),
    [
        ("", UNAUTHENTICATED, r"refuses us \(401\): give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD$"),
        ("USERNAME", UNAUTHENTICATED, r"\(401\): give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD$"),
        ("USERNAME PASSWORD", UNAUTHENTICATED, r"\(401\): it does not know the user name with the password that were"),
        ("TOKEN", UNAUTHENTICATED, r"\(401\): it does not take the token that was given; check MLFLOW_TRACKING_TOKEN$"),
        ("USERNAME PASSWORD", PERMISSION_DENIED, r"\(403\): start it with --allowed-hosts for this host name$"),
    ],
)
def test_a_refusal_says_whether_a_login_was_given(tmp_path, monkeypatch, login, status, message):
    from mlflow.exceptions import MlflowException

    monkeypatch.setenv("HOME", str(tmp_path))  # where MLflow looks for a file of credentials
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    for name in login.split():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "wrong")
    assert re.search(message, explain(MlflowException("failed", error_code=status), "http://127.0.0.1:5000"))


def test_rights_that_come_a_moment_after_the_experiment_are_waited_for():
    from mlflow.exceptions import MlflowException

    class Client:
        """Of a server where another driver of the same user has just created the experiment."""

        tracking_uri, num_denied = "http://127.0.0.1:5000", 0

        def get_experiment_by_name(self, name: str):
            if self.num_denied == 2:
                return SimpleNamespace(experiment_id="7", lifecycle_stage="active")
            self.num_denied += 1
            raise MlflowException("failed with error code 403: 'Permission denied'", error_code=PERMISSION_DENIED)

    assert experiment_id(Client(), "ours", None) == "7"  # type: ignore[arg-type]


def test_folder_with_a_weird_name(tmp_path, template):
    folder = tmp_path / "my storage #1 & ü'"
    folder.mkdir()
    shutil.copy(template, folder / "mlflow.db")
    store = local_store(folder)
    with_tracker(store, lambda tracker: send(tracker, TRIAL, 1))
    (trial,) = trials(store)
    assert (folder / "mlflow-artifacts" / trial.info.run_id / "artifacts" / "config.json").exists()
    assert [f.path for f in client(store).list_artifacts(trial.info.run_id)] == ["config.json"]


def test_ui_command():
    assert ui_command("sqlite:////data/mlflow.db") == "mlflow ui --backend-store-uri sqlite:////data/mlflow.db"
    assert ui_command("sqlite:////my data/m.db") == "mlflow ui --backend-store-uri 'sqlite:////my data/m.db'"
    assert ui_command("http://me:secret@host:5000") == "http://me:***@host:5000"


def loss(step: int) -> float:
    return 1 / (3 + step)


def send(tracker: Tracker, trial: TrialRun, num_steps: int, end: Status | None = "FINISHED", reason: str = "") -> None:
    """Sends the whole history of a trial, as a driver does on every start."""
    tracker.begin(trial)
    for step in range(num_steps):
        tracker.points(trial.key, step, {"loss": loss(step), "accuracy": step / 7}, T0 + step)
    if end:
        tracker.end(trial.key, end, reason)


def connected(where, experiment="sweeps", owner=True, sweep="depth") -> Tracker:
    tracker = Tracker(where[0], experiment, sweep, where[1])
    tracker.connect(owner)
    return tracker


def with_tracker(where, use, experiment="sweeps", sweep="depth") -> None:
    tracker = connected(where, experiment, sweep=sweep)
    use(tracker)
    assert tracker.close(60) == 0


def client(where):
    from mlflow.tracking import MlflowClient

    return MlflowClient(where[0])


def runs(where, experiment="sweeps") -> list:
    return list(client(where).search_runs([experiment_of(where, experiment)], max_results=500))


def experiment_of(where, experiment="sweeps") -> str:
    found = client(where).get_experiment_by_name(experiment)
    assert found is not None
    return found.experiment_id


def trials(where, experiment="sweeps") -> list:
    return [run for run in runs(where, experiment) if "ray_ssl.trial_key" in run.data.tags]


def the_trial(where, experiment="sweeps"):
    (run,) = trials(where, experiment)
    return run


def parents(where) -> list:
    return [run for run in runs(where) if "ray_ssl.trial_key" not in run.data.tags]


def history(where, run, metric: str) -> dict[int, tuple[float, int]]:
    """Returns step -> (value, timestamp), having made sure that every step is there once."""
    points = client(where).get_metric_history(run.info.run_id, metric)
    assert len({point.step for point in points}) == len(points), f"{metric} has double points"
    return {point.step: (point.value, point.timestamp) for point in points}


def everything(where) -> dict:
    return {
        run.info.run_id: {m: history(where, run, m) for m in run.data.metrics} | dict(run.data.params)
        for run in trials(where)
    }


def num_rows(where) -> int:
    """Counts the stored points of all runs behind MLflow's back."""
    with sqlite3.connect(where[0].removeprefix("sqlite:///")) as database:
        return database.execute("SELECT count(*) FROM metrics").fetchone()[0]


def wait_until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def three_trials() -> list[TrialRun]:
    return [TrialRun(key, f"trial {key}", {"depth": "5"}, artifacts={"config.json": "{}"}) for key in "abc"]


def log_for_ever(wheres) -> None:
    """What the killed process does: three trials side by side, step by step, until it is killed."""
    trackers = [connected(where, "killed") for where in wheres]
    for tracker in trackers:
        for trial in three_trials():
            tracker.begin(trial)
    for step in range(10**6):
        for tracker in trackers:
            for trial in three_trials():
                tracker.points(trial.key, step, {"loss": loss(step), "accuracy": step / 7}, T0 + step)
        wait_until(lambda: all(tracker.pending() < 30 for tracker in trackers))
        if step == 40:
            print("shipped", flush=True)
