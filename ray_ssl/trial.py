"""One trial, in the process that Ray Tune gives it: trains, and records in the ledger how it ended."""

from __future__ import annotations

import json
import logging
import platform
import socket
import threading
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch

from ray_ssl.config import PretrainConfig
from ray_ssl.data.base import Dataset
from ray_ssl.distributed import world
from ray_ssl.errors import UserError
from ray_ssl.ledger import DONE, FAILED, Ledger, read_config
from ray_ssl.pretrain import PreemptedError, Report, pretrain
from ray_ssl.ray_reader import ray_reader
from ray_ssl.storage import Storage, describe_os_error
from ray_ssl.trainer import NonFiniteLossError
from ray_ssl.trial_config import TrialConfig

METRICS = "metrics"
"""Key under which an epoch's metrics travel through Tune, apart from Tune's own."""

UNRECORDED = "unrecorded"
"""Takes the place of metrics where a trial failed and could not even write that down; holds the reason."""

WARNING = "warning"
"""Takes the place of metrics where a trial has something to tell the user: what it prints or logs itself is not
shown."""

MOVED = "moved"
"""Takes the place of metrics where a trial has saved its state and leaves a node that is being drained."""

DRAIN_POLL_SECONDS = 2.0
"""Between two questions whether a node is being drained; a cloud tells at least 30 s before it takes a node."""

ERROR_LOG = "error.txt"

NESTED_DRIVER_CPUS = 0.005
"""What Tune reserves for a trial whose workers a nested trainer starts; a Tune trial cannot ask for none. The workers
ask for a little less than whole CPUs, so that together they fit on a machine that they fill."""


@dataclass(frozen=True)
class Lent:
    """What a trial's process lends to the loop that trains it.

    Attributes:
        job: What all trials share.
        device: Where to train.
        report: See `pretrain`, as the others.
    """

    job: Job
    device: torch.device
    report: Report
    warn: Callable[[str], None]
    preempted: Callable[[], bool]


Loop = Callable[[Any, Any, Storage, Lent], dict[str, Any]]
"""Trains one trial: of its configuration, on the data, in its folder, going on from the newest valid state there.

Returns what done.json is to hold: "history", one entry for each "epoch", with the "time" of its end, and more. Raises
as `pretrain`.
"""


def pretraining(config: PretrainConfig, dataset: Dataset, trial: Storage, lent: Lent) -> dict[str, Any]:
    """The loop of trials of pretraining."""
    reader = ray_reader(lent.job.dataset, lent.job.cpus_per_worker)
    trained = pretrain(
        config, dataset, trial, lent.report, lent.device, lent.job.state_seconds, lent.warn, reader, lent.preempted
    )
    return {"history": trained.history, "precision": trained.precision, "collapsed": trained.collapsed}


@dataclass(frozen=True)
class Job:
    """What all trials of a sweep share; travels to their processes.

    Attributes:
        sweep: The sweep's folder, written only while the driver holds its lease.
        dataset: Ray's reference to the `Dataset`, or to what else the loop takes; stored once a node, mapped by all its
            trials.
        loop: What trains a trial.
    """

    sweep: Storage
    dataset: Any
    cpus_per_worker: int
    gpus_per_worker: float
    state_seconds: float
    loop: Loop = pretraining


def run_trial(params: dict[str, str], job: Job) -> None:
    """Tune's function trainable: trains the trial `params["key"]` in as many processes as it asks for."""
    from ray import tune

    config = read_config(json.loads(params["config"]))

    def report(metrics: dict[str, float]) -> None:
        # "epoch" and the objectives at the top level are for Tune's schedulers.
        tune.report({**{f"{METRICS}/{k}": v for k, v in metrics.items()}, **metrics, METRICS: metrics})

    with DrainWatch() as drain:
        if isinstance(config, PretrainConfig) and config.num_workers > 1:
            _train_with_workers(params["key"], config, job, report, drain)
        else:
            train_and_record(params["key"], config, job, _device(job.gpus_per_worker), report, drain)


class DrainWatch:
    """Whether a node is being drained: its cloud or the autoscaler takes it away soon. A thread asks Ray.

    Tune tells its trials nothing of it, and Ray Train tells its workers in a call that all of them must make together.

    Args:
        nodes: Ids of nodes besides this process's own.
    """

    def __init__(self, nodes: Collection[str] = ()) -> None:
        import ray

        self.nodes = {ray.get_runtime_context().get_node_id(), *nodes}
        self._drained, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._ask, name="drain", daemon=True)

    def __enter__(self) -> DrainWatch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()

    def __call__(self) -> bool:
        """Returns whether one of the nodes is being drained; asks nobody."""
        return self._drained.is_set()

    def _ask(self) -> None:
        from ray._private.state import state

        while not self.nodes & state.get_draining_nodes().keys():
            if self._stop.wait(DRAIN_POLL_SECONDS):
                return
        self._drained.set()


def train_and_record(
    key: str,
    config: TrialConfig,
    job: Job,
    device: torch.device,
    report: Report,
    preempted: Callable[[], bool] = lambda: False,
) -> None:
    """Trains one trial in this process (or this worker's share of it) and writes done.json or failed.json.

    An error of the trial itself ends up in failed.json, not in an exception: only the death of the process is
    worth another try.

    Args:
        preempted: See `pretrain`.

    Raises:
        PreemptedError: It is to go on elsewhere; its state is saved.
    """
    import ray

    torch.set_num_threads(job.cpus_per_worker)
    ledger = Ledger(job.sweep)
    trial = ledger.trial(key)
    dataset = ray.get(job.dataset)
    first = world().rank == 0

    def warn(text: str) -> None:
        report({WARNING: text})  # type: ignore[dict-item]

    if world().size > 1 and ledger.record(key, FAILED) is not None:
        return  # one of the workers failed and said why; the others were begun again with it
    try:
        ending = job.loop(config, dataset, trial, Lent(job, device, report, warn, preempted))
    except PreemptedError:
        if first:
            report({MOVED: 1.0})
        raise
    except Exception as error:
        bad_input = isinstance(error, UserError)
        if (first or bad_input) and ledger.record(key, FAILED) is None:
            _record_failure(ledger, key, error, report)
        if bad_input and world().size > 1:
            raise  # a bad image is met by one worker alone, and the others wait for it
        return
    if first:
        ledger.end(key, DONE, ending | {"environment": environment(device)})
        trial.delete_folder("state")


def _record_failure(ledger: Ledger, key: str, error: Exception, report: Report) -> None:
    expected = isinstance(error, (NonFiniteLossError, UserError))
    first_line = str(error).strip().partition("\n")[0]
    if isinstance(error, OSError):
        reason = describe_os_error(error)
    else:
        reason = first_line if expected else f"{type(error).__name__}: {first_line}"
    try:
        ledger.end(key, FAILED, {"reason": reason, "bad_input": isinstance(error, UserError)})
        ledger.trial(key).write(ERROR_LOG, "".join(traceback.format_exception(error)).encode())
    except OSError:  # a full disk: the driver tells, and the trial goes on with the next command
        report({UNRECORDED: reason})  # type: ignore[dict-item]


def environment(device: torch.device) -> dict[str, Any]:
    """Returns where a trial ran, for its record."""
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "workers": world().size,
    }


def _device(gpus: float) -> torch.device:
    return torch.device("cuda", 0) if gpus else torch.device("cpu")


def _train_with_workers(key: str, config: PretrainConfig, job: Job, report: Report, drain: DrainWatch) -> None:
    """Runs a `TorchTrainer` of `config.num_workers` workers and passes on what the first of them reports.

    Raises:
        PreemptedError: This process's own node is being drained; else the trainer itself moves the workers.
    """
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.util.queue import Empty, Queue

    queue = Queue(actor_options={"num_cpus": 0})
    resources = {"CPU": job.cpus_per_worker - 2 * NESTED_DRIVER_CPUS}
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "key": key,
            "config": config.to_json(),
            "job": job,
            "queue": queue,
            "nodes": drain.nodes,
        },
        scaling_config=train.ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=job.gpus_per_worker > 0,
            resources_per_worker=resources | ({"GPU": job.gpus_per_worker} if job.gpus_per_worker else {}),
        ),
        torch_config=TorchConfig(backend="nccl" if job.gpus_per_worker else "gloo"),
        run_config=train.RunConfig(name=key, failure_config=train.FailureConfig(max_failures=3)),
    )
    failure: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:  # passed on to the trial's main thread below
            failure.append(error)

    thread = threading.Thread(target=fit, name="trainer", daemon=True)
    thread.start()
    while True:
        finished = not thread.is_alive()
        try:
            while True:
                message = queue.get(timeout=0.5)
                report(message)
                if MOVED in message and drain():
                    raise PreemptedError
        except Empty:
            if finished:
                break
    queue.shutdown()
    if failure:
        raise failure[0]


def _worker(params: dict[str, Any]) -> None:
    """One worker of a nested trainer."""
    from ray.train.torch import get_device

    logging.getLogger("ray.train").setLevel(logging.ERROR)
    config = PretrainConfig.from_json(params["config"])
    with DrainWatch(params["nodes"]) as drain:
        train_and_record(params["key"], config, params["job"], get_device(), params["queue"].put, drain)
