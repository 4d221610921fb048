"""Opening MLflow: which addresses are taken, creating the database once, and what an error means."""

import logging
import os
import re
import shlex
import socket
import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ray_ssl.errors import UserError
from ray_ssl.mlflow_artifacts import ARTIFACTS, beside_database
from ray_ssl.storage import Storage

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

_TRAINING: Final = {"mlflow.experimentKind": "custom_model_development"}  # the UI opens on training runs
ANSWER_SECONDS: Final = 10
_DATABASE_PORTS: Final = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_RIGHTS_SECONDS: Final = 5.0
_PASSING_STATUS: Final = (401, 403, 408, 425, 429)  # access and load change, a bad request does not


def local_store(folder: Path) -> tuple[str, str]:
    """Returns the default address of MLflow under a storage folder, and the artifact root beside it."""
    return f"sqlite:///{folder.resolve() / 'mlflow.db'}", str(folder.resolve() / ARTIFACTS)


def default_store(storage: Storage) -> tuple[str, str]:
    """Returns `local_store` of a sweep's storage; under ./results where that is on an object store."""
    return local_store(storage.local_path if storage.is_local else Path("results").absolute())


def ui_command(uri: str, artifact_root: str | None = None) -> str:
    """Returns what a user types to look at the results; for a server, its own address.

    Args:
        uri: As given to `Tracker`.
        artifact_root: Not needed by the UI (each experiment knows its own), accepted beside the address.
    """
    if urlsplit(uri).scheme in ("http", "https"):
        return shown(uri)
    return f"mlflow ui --backend-store-uri {shlex.quote(shown(checked_address(uri)))}"


def shown(uri: str) -> str:
    """Returns an address fit for a message: without its password."""
    return re.sub(r"://([^:/@]*):[^@/]*@", r"://\1:***@", uri)


def open_client(uri: str) -> "MlflowClient":
    """Returns a client whose server or database has answered; creates the sqlite database where there is none.

    Raises:
        UserError: An address that is not taken, or a database that cannot be used.
    """
    uri = checked_address(uri)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(ANSWER_SECONDS))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # we retry ourselves; its default blocks 247 s
    from mlflow.tracking import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # tracebacks of what we retry
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme == "sqlite":
        _prepare_sqlite(uri)
    elif scheme in _DATABASE_PORTS:
        _check_database(uri, _DATABASE_PORTS[scheme])
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def experiment_id(client: "MlflowClient", name: str, artifact_root: str | None) -> str:
    """Returns the id of an experiment, created where there is none.

    Args:
        artifact_root: Folder for its artifacts; None leaves it to a server, and is beside the file of a database.

    Raises:
        UserError: It was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = _find_experiment(client, name)
    if found is None:
        root = artifact_root or beside_database(client.tracking_uri)
        location = None if root is None else Path(root).resolve().as_uri()
        try:
            return client.create_experiment(name, artifact_location=location, tags=_TRAINING)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another driver was faster
                raise
            found = _find_experiment(client, name)
    assert found is not None
    if found.lifecycle_stage != "active":
        raise UserError(
            f"the MLflow experiment {name!r} was deleted; restore it (mlflow experiments restore "
            f"--experiment-id {found.experiment_id}) or choose another name"
        )
    return found.experiment_id


def _find_experiment(client: "MlflowClient", name: str) -> "Experiment | None":
    """Returns an experiment, None where there is none.

    A server with users gives the creator his rights a moment after the experiment, and denies it to him until then.
    """
    from mlflow.exceptions import MlflowException

    deadline = time.monotonic() + _RIGHTS_SECONDS
    while True:
        try:
            return client.get_experiment_by_name(name)
        except MlflowException as error:
            if not _is_denied(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def _is_denied(error: "MlflowException") -> bool:
    """Whether the server knows the user, but gives him no right to this."""
    return error.get_http_status_code() == 403 and "Permission denied" in str(error)


def is_final(error: Exception, uri: str) -> bool:
    """Returns whether trying again is useless: refused for its content, not for want of a server or access."""
    from mlflow.exceptions import MlflowException, RestException
    from requests import HTTPError, RequestException

    if isinstance(error, MlflowException):
        # a proxy in front of a dead server answers 404 too, but not in MLflow's words
        own_words = isinstance(error, RestException) or error.error_code == "INVALID_PARAMETER_VALUE"
        if uri.startswith("http") and not own_words:
            return False
        return 400 <= error.get_http_status_code() < 500 and error.get_http_status_code() not in _PASSING_STATUS
    if isinstance(error, HTTPError) and error.response is not None:
        return 400 <= error.response.status_code < 500 and error.response.status_code not in _PASSING_STATUS
    if isinstance(error, RequestException):
        return False
    if isinstance(error, OSError):
        return isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError))
    return True


def explain(error: Exception, uri: str) -> str:
    """Returns one line on why MLflow could not be opened."""
    from mlflow.exceptions import MlflowException, RestException

    text = first_line(error)
    if isinstance(error, ModuleNotFoundError):
        return f"MLflow at {shown(uri)} needs the Python package {error.name!r}"
    if uri.startswith("http") and isinstance(error, MlflowException):
        status = error.get_http_status_code()
        if _is_denied(error):
            return (
                f"the experiment on the MLflow server at {shown(uri)} is another user's: ask for the permission EDIT, "
                "or choose another --experiment"
            )
        if status in (401, 403):
            way = _login_advice(uri) if status == 401 else "start it with --allowed-hosts for this host name"
            return f"the MLflow server at {shown(uri)} refuses us ({status}): {way}"
        if not isinstance(error, RestException) and "failed with error code" in text:
            return f"no MLflow server at {shown(uri)}: something else answers there ({text[:150]})"
        if not isinstance(error, RestException):
            return (
                f"no MLflow server answers at {shown(uri)} within {ANSWER_SECONDS} s; start it there, or use a "
                "database file: sqlite:////FOLDER/mlflow.db"
            )
    return f"MLflow at {shown(uri)} cannot be used: {text[:300]}"


def _login_advice(uri: str) -> str:
    """What to do about a server that does not know us: MLflow takes a login from variables, a file or the address."""
    from mlflow.utils.credentials import get_default_host_creds

    login = get_default_host_creds(uri)
    if (login.username and login.password) or urlsplit(uri).password:
        return (
            "it does not know the user name with the password that were given; check MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD"
        )
    if login.token:
        return "it does not take the token that was given; check MLFLOW_TRACKING_TOKEN"
    return "give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


def first_line(error: Exception) -> str:
    """Returns the first line of an error's text, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def checked_address(uri: str) -> str:
    """Returns an address, the path of a sqlite file made absolute; asks nobody.

    Raises:
        UserError: It is not taken; with what would be right.
    """
    try:
        scheme = urlsplit(uri).scheme.partition("+")[0]
    except ValueError as error:
        raise UserError(f"not an MLflow address, given {shown(uri)!r}: {error}") from None
    if scheme in ("", "file") or len(scheme) == 1:  # C:/path
        path = Path(uri.removeprefix("file://").removeprefix("file:") or ".").resolve()
        path = path if path.suffix == ".db" else path / "mlflow.db"
        raise UserError(f"MLflow no longer writes plain folders, given {uri!r}; would be right: sqlite:///{path}")
    if scheme == "sqlite":
        path = uri.partition("://")[2].removeprefix("/")
        if path in ("", ":memory:") or not uri.partition("://")[2].startswith("/"):
            raise UserError(f"the MLflow database needs the path of a file, given {uri!r}: sqlite:////FOLDER/mlflow.db")
        if "?" in path or "%" in path:  # MLflow and SQLAlchemy read them differently
            raise UserError(f"the path of the MLflow database must be free of ? and %, given {uri!r}")
        return f"sqlite:///{Path(path).resolve()}"
    if scheme in ("http", "https"):
        if not urlsplit(uri).hostname:
            raise UserError(f"the MLflow server's address has no host, given {uri!r}: http://HOST:5000")
        return uri.rstrip("/")
    if scheme in _DATABASE_PORTS:
        return uri
    raise UserError(
        f"unknown kind of MLflow address {shown(uri)!r}; known: sqlite:////FOLDER/mlflow.db, http://HOST:5000, "
        "https://..., postgresql://..., mysql://..., mssql://..."
    )


def _prepare_sqlite(uri: str) -> None:
    """Creates the database, or finds out quickly why it cannot be used (MLflow tries for 100 s)."""
    path = Path(uri.removeprefix("sqlite:///"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return _create_sqlite(path)
        with closing(sqlite3.connect(path, timeout=ANSWER_SECONDS / 2)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            database.execute("BEGIN IMMEDIATE")  # is it writable, is it free?
            database.rollback()
            versions = []
            if "alembic_version" in tables:
                versions = [name for (name,) in database.execute("SELECT version_num FROM alembic_version")]
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"the MLflow database {path} cannot be used: {first_line(error)}") from None
    if tables and not versions:
        raise UserError(f"{path} is a database, but not one of MLflow; give MLflow a file of its own")
    if versions:
        _check_schema(uri, versions[0])


def _check_schema(uri: str, version: str) -> None:
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError
    from mlflow import __version__
    from mlflow.store.db.utils import _get_alembic_config

    script = ScriptDirectory.from_config(_get_alembic_config(db_url=""))
    try:
        if script.get_revision(version).revision == script.get_current_head():
            return
    except CommandError:
        raise UserError(
            f"the MLflow database {shown(uri)} was written by a newer MLflow than {__version__}: update mlflow, "
            "or give another file"
        ) from None
    raise UserError(
        f"the MLflow database {shown(uri)} was written by an older MLflow: copy it as a backup, then run "
        f"mlflow db upgrade {shlex.quote(shown(uri))}"
    )


def _create_sqlite(path: Path) -> None:
    """Creates MLflow's tables in memory (its own migrations: half the time of a disk) and puts the file in place.

    The file appears whole or not at all, so neither a kill nor a second driver leaves half a schema.
    """
    import sqlalchemy
    from mlflow.store.db.utils import _initialize_tables

    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
    _initialize_tables(engine)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mlflow-") as folder:
        draft = Path(folder) / "mlflow.db"
        with closing(sqlite3.connect(draft)) as database:
            memory = engine.raw_connection().driver_connection
            assert isinstance(memory, sqlite3.Connection)
            memory.backup(database)
        draft.chmod(0o644)
        with suppress(FileExistsError):  # another driver was faster
            os.link(draft, path)
    engine.dispose()


def _check_database(uri: str, port: int) -> None:
    """Finds out quickly whether a database server answers and lets us in (MLflow tries for 100 s)."""
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    address = urlsplit(uri)
    try:
        if address.hostname:
            socket.create_connection((address.hostname, address.port or port), ANSWER_SECONDS / 2).close()
        engine = sqlalchemy.create_engine(uri)
        engine.connect().close()
        engine.dispose()
    except (OSError, SQLAlchemyError) as error:
        raise UserError(f"the MLflow database {shown(uri)} cannot be used: {first_line(error)}") from None
