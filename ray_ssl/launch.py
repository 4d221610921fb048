"""Runs trials with Ray Tune, and the workers of one trial with Ray Train; the only room that knows either.

Tune schedules and remembers nothing we need: the ledger does. A trial of one worker trains in the trial's own,
reused process; one of several workers is a Ray Train `TorchTrainer` around the same loop.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple, Protocol

import torch

from ray_ssl import interrupts
from ray_ssl.data.base import Dataset
from ray_ssl.errors import UserError
from ray_ssl.ledger import FAILED, STOPPED, Ledger, Trial, TrialState
from ray_ssl.pretrain import EpochMetrics
from ray_ssl.storage import describe_os_error
from ray_ssl.trial import METRICS, NESTED_DRIVER_CPUS, UNRECORDED, Job, run_trial

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
    "RAY_DEDUP_LOGS": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it answers SIGTERM with a stack trace
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: see sweeps/cli.py
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that fails in its first epoch has no metrics
}
log = logging.getLogger("ray_ssl")

MAX_PROCESS_DEATHS = 3
"""Times a trial whose process died is started again from its newest state."""


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


class TrialSource(Protocol):
    """Says which trial to run next: a grid's list, or a search that learns from what has ended."""

    @property
    def num_trials(self) -> int:
        """How many trials it will give at most."""
        ...

    def next(self) -> Trial | None:
        """Returns the next trial, or None where there is none for now."""
        ...

    def ended(self, key: str, result: EpochMetrics | None) -> None:
        """Hears that a trial ended, with its last metrics where it has any."""
        ...


class Listener(Protocol):
    """Hears of every trial, in the driver's process."""

    def started(self, trial: Trial) -> None: ...
    def epoch(self, trial: Trial, metrics: EpochMetrics) -> None: ...
    def ended(self, trial: Trial) -> None: ...


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
        UserError: The cluster at `options.address` does not answer.
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
        _start(
            address="local",
            num_cpus=options.num_cpus or local_cpus(),
            include_dashboard=nested_train,
            object_store_memory=max(512 << 20, 3 * data_bytes),
            **quiet,
        )
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
    record = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    if not record.is_file():
        return None
    address = record.read_text().strip()
    return address if _answers(address) else None


def _join(address: str, quiet: dict[str, Any]) -> None:
    """Joins a cluster.

    Raises:
        UserError: It does not answer.
    """
    if not _answers(address):
        raise UserError(f"no Ray cluster answers at {address!r}; give the HOST:PORT of `ray start --head`, or local")
    try:
        _start(address=address, runtime_env={"env_vars": QUIET_RAY}, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"no Ray cluster answers at {address!r}: {first}") from None


def _answers(address: str) -> bool:
    """Whether somebody listens at HOST:PORT: Ray itself would try for minutes and then end the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return False
    try:
        with socket.create_connection((host, int(port)), timeout=5):
            return True
    except (OSError, OverflowError):
        return False


@dataclass(frozen=True)
class Capacity:
    """What each trial asks for and how many fit at once."""

    cpus_per_worker: int
    gpus_per_worker: float
    num_concurrent: int


def capacity(options: MachineOptions, num_workers: int, nodes: list[dict[str, float]]) -> Capacity:
    """Returns how many trials run side by side.

    Args:
        options: What a worker asks for.
        num_workers: Workers of a trial.
        nodes: Resources of each node, e.g. {"CPU": 8, "GPU": 1}.

    Raises:
        UserError: A trial can never fit; with the arithmetic.
    """
    has_gpus = any(node.get("GPU", 0) > 0 for node in nodes)
    gpus = options.gpus_per_worker if options.gpus_per_worker is not None else float(has_gpus)
    cpus = options.cpus_per_worker
    slots = sum(
        int(min(node.get("CPU", 0) // cpus, node.get("GPU", 0) // gpus if gpus else float("inf"))) for node in nodes
    )
    if slots < num_workers:
        total = {kind: sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
        asks = f"{num_workers} x {cpus} CPUs" + (f" and {num_workers} x {gpus:g} GPUs" if gpus else "")
        raise UserError(
            f"a trial asks for {asks} (--num-workers x --cpus-per-worker); {len(nodes)} node(s) with "
            f"{total['CPU']:g} CPUs and {total['GPU']:g} GPUs hold {slots} such worker(s)"
        )
    return Capacity(cpus, gpus, slots // num_workers)


def cluster_nodes() -> list[dict[str, float]]:
    """Returns the resources of each living node."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def run_trials(
    source: TrialSource,
    num_workers: int,
    ledger: Ledger,
    dataset: Dataset,
    options: MachineOptions,
    room: Capacity,
    listener: Listener,
    scheduler: Any = None,
) -> None:
    """Runs what `source` gives until it gives no more. How each ended stands in the ledger.

    Args:
        num_workers: Workers of every trial.
        room: See `capacity`.
        scheduler: A Tune scheduler that may stop trials early, or None.
    """
    import ray
    from ray import tune

    _ = dataset.fingerprint, dataset.channel_statistics  # computed once here, travel with the data
    job = Job(ledger.sweep.uri, ray.put(dataset), room.cpus_per_worker, room.gpus_per_worker, options.state_seconds)
    one = {"CPU": room.cpus_per_worker, "GPU": room.gpus_per_worker}
    resources = one if num_workers == 1 else {"CPU": NESTED_DRIVER_CPUS}
    bridge = make_bridge(source, ledger, listener)
    scratch = tempfile.mkdtemp(prefix="ray_ssl_tune_")
    try:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(run_trial, job=job), resources),
            tune_config=tune.TuneConfig(
                search_alg=bridge.searcher,
                scheduler=scheduler,
                num_samples=source.num_trials,
                max_concurrent_trials=room.num_concurrent,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.config["key"],
                trial_dirname_creator=lambda trial: trial.config["key"],
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=MAX_PROCESS_DEATHS),
                callbacks=[bridge.callback],
            ),
        ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Unsaved:
    """Holds what Tune must not pickle into its own records (locks, threads); comes back empty."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __reduce__(self) -> tuple[type[_Unsaved], tuple[()]]:
        return _Unsaved, ()


class Bridge(NamedTuple):
    """Tune's two views of one sweep: where trials come from, and who hears of them."""

    searcher: Any
    callback: Any


def make_bridge(source: TrialSource, ledger: Ledger, listener: Listener) -> Bridge:
    """Returns a Tune searcher and a Tune callback around a source and a listener."""
    from ray.tune import Callback
    from ray.tune.search import Searcher

    held = _Unsaved(_Events(source, ledger, listener))

    class SourceSearcher(Searcher):
        def suggest(self, trial_id: str) -> Any:
            return held.values[0].suggest() or Searcher.FINISHED

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            """The callback below hears more."""

        def save(self, checkpoint_path: str) -> None:
            """The ledger remembers; Tune need not."""

        def restore(self, checkpoint_path: str) -> None:
            """See `save`."""

    class ListenerCallback(Callback):
        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            interrupts.check()

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            held.values[0].started(trial.config["key"])

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            held.values[0].result(trial.config["key"], result)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            held.values[0].complete(trial.config["key"])

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            held.values[0].died(trial.config["key"])

    return Bridge(SourceSearcher(metric="epoch", mode="max"), ListenerCallback())


class _Events:
    """What happens in Tune, said in our own terms."""

    def __init__(self, source: TrialSource, ledger: Ledger, listener: Listener) -> None:
        self.source, self.ledger, self.listener = source, ledger, listener
        self.trials: dict[str, Trial] = {}
        self.last: dict[str, EpochMetrics] = {}
        self.unrecorded: dict[str, str] = {}

    def suggest(self) -> dict[str, str] | None:
        trial = self.source.next()
        if trial is None:
            return None
        self.ledger.write_config(trial)
        self.trials[trial.key] = trial
        return {"key": trial.key, "config": trial.config.to_json()}

    def started(self, key: str) -> None:
        self.listener.started(self.trials[key])

    def result(self, key: str, result: dict[str, Any]) -> None:
        if METRICS in result:  # Tune repeats the last result when a trial ends
            metrics = result[METRICS]
            if UNRECORDED in metrics:
                self.unrecorded[key] = metrics[UNRECORDED]
            elif metrics != self.last.get(key):
                self.last[key] = metrics
                self.listener.epoch(self.trials[key], metrics)

    def complete(self, key: str) -> None:
        if key in self.unrecorded:
            log.error("%s stopped and cannot record it: %s", self.trials[key].name, self.unrecorded[key])
        elif self.ledger.state(key) not in (TrialState.DONE, TrialState.FAILED):
            self.ledger.end(key, STOPPED, {"reason": "stopped early by the scheduler", "last": self.last.get(key, {})})
        self._ended(key)

    def died(self, key: str) -> None:
        reason = f"its process died {MAX_PROCESS_DEATHS + 1} times (killed, or out of memory?)"
        try:
            self.ledger.end(key, FAILED, {"reason": reason})
        except OSError as error:  # the others may still be lucky; this one goes on with the next command
            log.error("%s cannot be recorded: %s", self.trials[key].name, describe_os_error(error))
        self._ended(key)

    def _ended(self, key: str) -> None:
        self.source.ended(key, self.last.get(key))
        self.listener.ended(self.trials[key])
