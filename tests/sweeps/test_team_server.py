"""The README's tracking server: PostgreSQL, artifacts through it, passwords, eight writers at once."""

import multiprocessing
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import psutil
import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from moto.server import ThreadedMotoServer

from ray_ssl.errors import UserError
from ray_ssl.tracking import Tracker, TrialRun
from tests.mlflow_server import Server
from tests.sweeps.command import ROOT
from tests.sweeps.postgres import Postgres, find_programs

WRITERS, TRIALS, STEPS = 8, 2, 12
EXPERIMENT = "team"
BUCKET = "team"  # moto's servers of one process share their buckets
HOST = "127.0.0.2"
ADMIN_PASSWORD, PASSWORD = "a-password-of-admin", "a-password-of-users"
T0 = 1_700_000_000_000
S3_KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


class Team(NamedTuple):
    """A running server and the S3 server behind it."""

    server: Server
    s3: str


def readme_block(mark: str) -> str:
    """The code block of the README with this text in it."""
    (block,) = [b for b in re.findall(r"```\w*\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL) if mark in b]
    return block


def readme_command() -> tuple[dict[str, str], list[str]]:
    """The environment and the arguments of the README's `mlflow server`."""
    line = readme_block("mlflow server --app-name").replace("\\\n", " ").splitlines()[-1]
    words = shlex.split(line)
    start = words.index("mlflow")
    assert words[start : start + 2] == ["mlflow", "server"]
    return dict(word.split("=", 1) for word in words[:start]), words[start + 2 :]


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    programs = find_programs()
    if programs is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("team")
    postgres = Postgres(programs)
    s3 = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    s3.start()
    endpoint = "http://{}:{}".format(*s3.get_host_and_port())
    environment, arguments = readme_command()
    server = Server(folder, host=HOST)
    ours = {
        "postgresql+psycopg2://USER:PASSWORD@DB_HOST/mlflow": postgres.uri, "ADMIN_PASSWORD": ADMIN_PASSWORD,
        "SECRET_KEY": "secret", "BUCKET": BUCKET, "SERVER_HOST:5000": f"{HOST}:{server.port}",
    }  # fmt: skip

    def fill_in(text: str) -> str:
        for placeholder, value in ours.items():
            text = text.replace(placeholder, value)
        return text

    (folder / "mlflow_auth.ini").write_text(fill_in(readme_block("default_permission")))
    port = arguments.index("--port")
    server.arguments = [fill_in(word) for word in arguments[:port] + arguments[port + 2 :]]
    server.environment = {name: fill_in(value) for name, value in environment.items()}
    server.environment |= S3_KEYS | {"MLFLOW_S3_ENDPOINT_URL": endpoint}
    try:
        bucket(endpoint).create()
        server.start()
        for name in ("researcher", "stranger"):
            user = {"username": name, "password": PASSWORD}
            answer = requests.post(
                f"{server.uri}/api/2.0/mlflow/users/create", json=user, auth=("admin", ADMIN_PASSWORD), timeout=30
            )
            assert answer.ok, answer.text
        yield Team(server, endpoint)
    finally:
        server.kill()
        s3.stop()
        postgres.close()


def bucket(endpoint: str) -> Any:
    """The server's bucket, seen from behind."""
    session: Any = boto3.Session("testing", "testing", region_name="us-east-1")
    return session.resource("s3", endpoint_url=endpoint).Bucket(BUCKET)


@pytest.fixture
def researcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process and those it starts have a researcher's password, and no key of the bucket."""
    log_in(monkeypatch, "researcher", PASSWORD)
    for name in S3_KEYS:
        monkeypatch.delenv(name, raising=False)


def log_in(monkeypatch: pytest.MonkeyPatch, name: str, password: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)


def loss(writer: int, trial: int, step: int) -> float:
    return 100.0 * writer + 10.0 * trial + step / STEPS


def write(uri: str, writer: int, figure: Path, together: Barrier | None = None) -> None:
    """The driver of one sweep."""
    assert not S3_KEYS.keys() & os.environ.keys()
    tracker = Tracker(uri, EXPERIMENT, f"sweep {writer}")
    if together is not None:
        together.wait(60)
    tracker.connect()
    for step in range(STEPS):
        for trial in range(TRIALS):
            if step == 0:
                tracker.begin(TrialRun(f"{trial}", f"{writer}-{trial}", artifacts={"config.json": "{}"}))
            tracker.points(f"{trial}", step, {"loss": loss(writer, trial, step), "accuracy": 0.5}, T0 + step)
    for trial in range(TRIALS):
        tracker.end(f"{trial}", "FINISHED")
    tracker.parent_artifact(figure, "figures")
    tracker.parent_end("FINISHED")
    assert tracker.close(60) == 0


def stored_points(uri: str) -> Counter[tuple[str, str, int, float]]:
    """How often each point is stored, by run, metric, step and value."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert all(run.info.status == "FINISHED" for run in runs)
    assert Counter(run.info.run_name for run in runs) == Counter(
        [f"sweep {w}" for w in range(WRITERS)] + [f"{w}-{t}" for w in range(WRITERS) for t in range(TRIALS)]
    )
    return Counter(
        (run.info.run_name or "", metric, point.step, point.value)
        for run in runs
        for metric in ("loss", "accuracy")
        for point in client.get_metric_history(run.info.run_id, metric)
    )


@pytest.mark.usefixtures("researcher")
def test_eight_writers_at_once_lose_and_double_nothing(team: Team, tmp_path: Path) -> None:
    figure = tmp_path / "figure.png"
    figure.write_bytes(bytes(range(256)) * 1000)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow.tracking", "boto3", "tests.sweeps.test_team_server"])
    together = context.Barrier(WRITERS)
    writers = [
        context.Process(target=write, args=(team.server.uri, writer, figure, together)) for writer in range(WRITERS)
    ]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0] * WRITERS
    points = stored_points(team.server.uri)
    wanted = {
        (f"{w}-{t}", metric, step, value)
        for w in range(WRITERS)
        for t in range(TRIALS)
        for step in range(STEPS)
        for metric, value in (("loss", loss(w, t, step)), ("accuracy", 0.5))
    }
    assert set(points) == wanted
    assert set(points.values()) == {1}

    write(team.server.uri, 0, figure)  # the same command again
    assert stored_points(team.server.uri) == points

    client = MlflowClient(team.server.uri)
    (parent,) = client.search_runs(["1"], "tags.`mlflow.runName` = 'sweep 3'")
    assert (parent.info.artifact_uri or "").startswith("mlflow-artifacts:/")
    path = client.download_artifacts(parent.info.run_id, "figures/figure.png", str(tmp_path))
    assert Path(path).read_bytes() == figure.read_bytes()
    keys = [item.key for item in bucket(team.s3).objects.all()]
    assert sum(key.endswith("figure.png") for key in keys) == WRITERS
    assert all(key.startswith("mlflow/") for key in keys)


@pytest.mark.parametrize(
    "path",
    [
        "api/2.0/mlflow/experiments/search?max_results=5",
        "api/2.0/mlflow-artifacts/artifacts?path=",
        "ajax-api/2.0/mlflow/experiments/search?max_results=5",
        "signup",
        "",
    ],
)
def test_nobody_comes_in_without_a_password(team: Team, path: str) -> None:
    url = f"{team.server.uri}/{path}"
    assert requests.get(url, timeout=30).status_code == 401
    assert requests.get(url, auth=("researcher", "a-wrong-password"), timeout=30).status_code == 401
    assert requests.get(url, auth=("admin", "password1234"), timeout=30).status_code == 401


def test_without_a_password_a_sweep_says_what_is_missing(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    with pytest.raises(UserError, match="refuses us \\(401\\): give MLFLOW_TRACKING_USERNAME"):
        Tracker(team.server.uri, EXPERIMENT, "sweep").connect()


def test_users_see_their_own_experiments_alone(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch, "researcher", PASSWORD)
    experiment = MlflowClient(team.server.uri).create_experiment("private")
    log_in(monkeypatch, "stranger", PASSWORD)
    client = MlflowClient(team.server.uri)
    with pytest.raises(MlflowException, match=r"(?i)permission"):
        client.get_experiment(experiment)
    assert "private" not in [e.name for e in client.search_experiments()]
    with pytest.raises(UserError, match="is another user's"):
        Tracker(team.server.uri, "private", "sweep").connect()


def test_another_host_name_is_refused(team: Team) -> None:
    answer = requests.get(
        f"{team.server.uri}/", headers={"Host": "evil.example"}, auth=("researcher", PASSWORD), timeout=30
    )
    assert answer.status_code == 403


def test_it_runs_no_jobs(team: Team) -> None:
    assert team.server.process is not None
    commands = [" ".join(p.cmdline()) for p in psutil.Process(team.server.process.pid).children(recursive=True)]
    assert commands and not [command for command in commands if "job" in command or "huey" in command]
