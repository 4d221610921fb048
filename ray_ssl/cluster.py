"""Which Ray is used, how it is started or joined."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import torch

from ray_ssl import interrupts
from ray_ssl.errors import UserError

QUIET_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the only setting that silences Tune's banner
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S": "600",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # One process for each CPU, started and ended in vain: Tune's trials have an environment of their own.
    "RAY_prestart_worker_first_driver": "false",
    # The driver prints what Ray reports of dead processes whatever `log_to_driver` says; this filter drops it.
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it answers SIGTERM with a stack trace
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: see sweeps/cli.py
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that fails in its first epoch has no metrics
}

log = logging.getLogger("ray_ssl")


@dataclass(frozen=True)
class MachineOptions:
    """How trials are laid over the machine; changes no numbers.

    Attributes:
        address: Ray cluster to join; "auto": a running one if there is one, else this machine; "local": this one.
        num_cpus: CPUs of this machine to use where no cluster is joined; None: all.
        cpus_per_worker: CPUs and torch threads of each worker of a trial.
        gpus_per_worker: GPUs of each worker; None: 1 where the cluster has any.
        state_seconds: See `pretrain`.
    """

    address: str = "auto"
    num_cpus: int | None = None
    cpus_per_worker: int = 1
    gpus_per_worker: float | None = None
    state_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Checks what needs no cluster. Raises UserError."""
        if self.address not in ("auto", "local") and _host_and_port(self.address) is None:
            raise UserError(f"--address is auto, local or HOST:PORT, given {self.address!r}")
        gpus = self.gpus_per_worker
        if gpus is not None and not (0 <= gpus <= 1 or (gpus > 1 and gpus % 1 == 0)):
            raise UserError(f"--gpus-per-worker is at least 0 and above 1 a whole number, given {gpus:g}")
        if not self.state_seconds >= 0:
            raise UserError(f"--state-seconds is at least 0, given {self.state_seconds:g}")


def local_cpus() -> int:
    """Returns the number of CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local_node(options: MachineOptions) -> dict[str, float]:
    """Returns the resources of this machine, as Ray would have them."""
    return {"CPU": float(options.num_cpus or local_cpus()), "GPU": float(torch.cuda.device_count())}


def cluster_to_join(options: MachineOptions) -> str | None:
    """Returns the address of the cluster that will be joined, None where Ray is started on this machine."""
    address = started_cluster() if options.address == "auto" else options.address
    return None if address == "local" else address


@contextmanager
def ray_session(options: MachineOptions, data_bytes: int, nested_train: bool) -> Iterator[None]:
    """Joins or starts Ray for the block, and leaves it afterwards; quiet.

    Args:
        options: Which cluster.
        data_bytes: Size of what is put into the object store.
        nested_train: Whether Ray Train runs inside Tune. Its clean-up of placement groups asks the dashboard.

    Raises:
        UserError: The cluster at `options.address` does not answer, or Ray does not start.
    """
    os.environ.update({k: v for k, v in QUIET_RAY.items() if k not in os.environ})
    import ray

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the ledger's words, not Tune's, reach the user
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    address = cluster_to_join(options)
    if address is not None:
        _join(address, quiet)
    else:
        memory = max(512 << 20, 3 * data_bytes)
        try:
            _start(
                address="local",
                num_cpus=options.num_cpus or local_cpus(),
                include_dashboard=nested_train,
                object_store_memory=memory,
                **quiet,
            )
        except Exception as error:  # Ray raises whatever its part raised that failed
            late = isinstance(error, TimeoutError) or "timed out" in str(error)
            again = "if the machine was only busy, run the same command again; " * late
            raise UserError(
                f"Ray does not start on this machine: {_first_line(error)}; {again}it needs {memory / 1e9:.2g} GB for "
                f"its object store and space in {_ray_folder()}, where its logs are: session_latest/logs"
            ) from None
    try:
        yield
    finally:
        with interrupts.held():
            ray.shutdown()


def _start(**options: Any) -> None:
    """`ray.init` in a thread of its own, so that Ctrl-C need not wait for it and Ray cannot take SIGTERM over.

    The thread stays: what Ray starts is killed by the kernel when the thread that started it ends. So an interrupted
    start leaves nothing behind.
    """
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)  # it would warn that it is not in the main thread
    outcome: Queue[BaseException | None] = Queue()

    def work() -> None:
        try:
            ray.init(**options)
        except BaseException as error:
            outcome.put(error)
        else:
            outcome.put(None)
            threading.Event().wait()

    threading.Thread(target=work, name="ray", daemon=True).start()
    error = outcome.get()
    if error is not None:
        raise error


def started_cluster() -> str | None:
    """Returns the address of the cluster that `ray start` started here, or that RAY_ADDRESS names; None without one.

    Ray's own "auto" also joins the private Ray of another sweep on this machine, and dies with it.
    """
    if os.environ.get("RAY_ADDRESS"):
        return os.environ["RAY_ADDRESS"]
    record = _ray_folder() / "ray_current_cluster"
    if not record.is_file():
        return None
    address = record.read_text().strip()
    return address if _answers(address) else None


def _ray_folder() -> Path:
    return Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray"


def _join(address: str, quiet: dict[str, Any]) -> None:
    """Joins a cluster.

    Raises:
        UserError: It does not answer.
    """
    if not _answers(address):
        raise UserError(f"no Ray cluster answers at {address!r}; give the HOST:PORT of `ray start --head`, or local")
    try:
        _start(address=address, runtime_env={"env_vars": QUIET_RAY}, **quiet)
    except Exception as error:
        raise UserError(f"no Ray cluster answers at {address!r}: {_first_line(error)}") from None


def living_nodes() -> list[dict[str, float]]:
    """Returns the resources of each node that has joined, inside a session."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _answers(address: str) -> bool:
    """Whether somebody listens at HOST:PORT: Ray itself would try for minutes and then end the process."""
    place = _host_and_port(address)
    if place is None:
        return False
    try:
        with socket.create_connection(place, timeout=5):
            return True
    except (OSError, OverflowError):
        return False


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16
    return (host, int(port)) if host and is_port else None
