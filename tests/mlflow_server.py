"""A real MLflow server on a loopback port of its own, which can be stopped, killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


class Server:
    """An MLflow server, over an SQLite database where nothing else is asked for.

    Args:
        folder: Its working folder.
        arguments: Of `mlflow server` but for the port.
        environment: Besides this process's.
        host: Where it is reached.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.port = free_port()
        self.uri, self.folder = f"http://{host}:{self.port}", folder
        self.arguments = list(arguments) or [
            "--host", host, "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1",
            "--artifacts-destination", str(folder / "artifacts"),
        ]  # fmt: skip
        self.environment = environment or {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Starts it without waiting: it takes 6 to 13 s."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *self.arguments, "--port", str(self.port)], cwd=self.folder,
                env=os.environ | self.environment, start_new_session=True, stdout=log, stderr=log,
            )  # fmt: skip

    def wait(self) -> None:
        """Waits until it answers."""
        deadline = time.monotonic() + 90
        while True:
            try:
                return urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
            except OSError:
                is_running = self.process is not None and self.process.poll() is None
                assert is_running and time.monotonic() < deadline, self.log.read_text()[-3000:]
                time.sleep(0.1)

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.launch()
        self.wait()

    def signal(self, number: int) -> None:
        """Sends a signal to it and its workers."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """kill -9, with its workers."""
        if self.process is not None:
            with suppress(ProcessLookupError):  # it ended by itself
                self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


def free_port() -> int:
    """Returns a TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
