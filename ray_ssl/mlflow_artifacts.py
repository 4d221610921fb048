"""Where the files of MLflow's runs lie when the runs are in an SQLite database: in a folder beside it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

ARTIFACTS: Final = "mlflow-artifacts"
_WAIT_SECONDS: Final = 10
"""For a database that another process writes."""


def beside_database(uri: str) -> Path | None:
    """The artifact root of an sqlite database that was given; MLflow's own would be in the current folder."""
    is_file = urlsplit(uri).scheme.partition("+")[0] == "sqlite"
    return Path(uri.partition("://")[2].removeprefix("/")).parent / ARTIFACTS if is_file else None


def find_artifacts(uri: str) -> None:
    """Lets a database that was moved or copied with its artifacts look for them beside it; MLflow keeps whole paths.

    Else a copy of a results folder would write its files among those of the original.
    """
    root = beside_database(uri)
    if root is None:
        return
    here = root.resolve().as_uri()
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"), timeout=_WAIT_SECONDS)) as database, database:
        rows = database.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        for (there,) in rows:
            if there == here or not str(there).startswith("file://") or not there.endswith(f"/{ARTIFACTS}"):
                continue
            if not root.exists() and Path(unquote(urlsplit(there).path)).exists():
                continue  # the database alone was copied
            database.execute("UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (here, there))
            database.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE substr(artifact_uri, 1, ?) = ?",
                (here, len(there) + 1, len(there) + 1, f"{there}/"),
            )
