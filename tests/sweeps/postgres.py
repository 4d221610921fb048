"""A PostgreSQL server of one's own, in a folder and on a loopback port."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.mlflow_server import free_port

PASSWORD = "p05tgres"


def find_programs() -> Path | None:
    """Returns the folder of PostgreSQL's programs (Debian has them outside PATH), None where it is not installed."""
    there = shutil.which("initdb")
    folders = [Path(there).resolve().parent] if there else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


class Postgres:
    """A server with the empty database `mlflow` of the user `mlflow`; `close` ends it. It refuses to run as root.

    Args:
        programs: See `find_programs`.
    """

    def __init__(self, programs: Path) -> None:
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="ray_ssl_pg_", dir="/tmp")), free_port()
        user = "postgres" if os.getuid() == 0 else getpass.getuser()
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        for path in (self.folder, secret):
            shutil.chown(path, user)
        data = self.folder / "data"
        owned = {"user": user, "cwd": self.folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        initdb = [programs / "initdb", "-D", data, "-U", "mlflow", "-A", "scram-sha-256", f"--pwfile={secret}"]
        subprocess.run([*initdb, "--no-sync"], check=True, **owned)
        self.process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(self.port), "-h", "127.0.0.1", "-k", self.folder, "-F"],
            **owned,
        )
        self._create_database()

    def _create_database(self) -> None:
        import psycopg2

        deadline = time.monotonic() + 30
        while True:
            try:
                connection = psycopg2.connect(
                    host="127.0.0.1", port=self.port, user="mlflow", password=PASSWORD, dbname="postgres"
                )
                break
            except psycopg2.OperationalError:
                assert self.process.poll() is None and time.monotonic() < deadline, "PostgreSQL did not start"
                time.sleep(0.1)
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE mlflow")
        connection.close()

    @property
    def uri(self) -> str:
        """The address of the database."""
        return f"postgresql+psycopg2://mlflow:{PASSWORD}@127.0.0.1:{self.port}/mlflow"

    def close(self) -> None:
        """Ends it and deletes all of it."""
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)
