"""Runs trials with Ray Tune; with `trial.py` and `cluster.py` the only rooms that know Ray Tune and Ray Train.

Tune schedules and remembers nothing we need: the ledger does. A trial of one worker trains in the trial's own,
reused process; one of several workers is a Ray Train `TorchTrainer` around the same loop.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from typing import Any, NamedTuple, Protocol

from ray_ssl import interrupts
from ray_ssl.capacity import Capacity
from ray_ssl.cluster import MachineOptions
from ray_ssl.data.base import Dataset
from ray_ssl.ledger import FAILED, STOPPED, AnyTrial, Ledger, TrialState
from ray_ssl.storage import describe_os_error
from ray_ssl.trainer import EpochMetrics
from ray_ssl.trial import METRICS, MOVED, NESTED_DRIVER_CPUS, UNRECORDED, WARNING, Job, Loop, pretraining, run_trial

log = logging.getLogger("ray_ssl")

MAX_PROCESS_DEATHS = 3
"""Times a trial whose process died is started again from its newest state, without a new epoch in between."""


class TrialSource(Protocol):
    """Says which trial to run next: a grid's list, or a search that learns from what has ended."""

    @property
    def num_trials(self) -> int:
        """How many trials it will give at most."""
        ...

    def next(self) -> AnyTrial | None:
        """Returns the next trial, or None where there is none for now."""
        ...

    def ended(self, key: str, result: EpochMetrics | None) -> None:
        """Hears that a trial ended, with its last metrics where it has any."""
        ...


class Listener(Protocol):
    """Hears of every trial, in the driver's process."""

    def started(self, trial: AnyTrial) -> None: ...
    def epoch(self, trial: AnyTrial, metrics: EpochMetrics) -> None: ...
    def warned(self, trial: AnyTrial, text: str) -> None: ...
    def moved(self, trial: AnyTrial) -> None: ...
    def ended(self, trial: AnyTrial) -> None: ...


def run_trials(
    source: TrialSource,
    num_workers: int,
    ledger: Ledger,
    dataset: Any,
    options: MachineOptions,
    room: Capacity,
    listener: Listener,
    scheduler: Any = None,
    loop: Loop = pretraining,
) -> None:
    """Runs what `source` gives until it gives no more. How each ended stands in the ledger.

    Args:
        num_workers: Workers of every trial.
        dataset: The `Dataset`, or what else the loop takes.
        room: See `capacity`.
        scheduler: A Tune scheduler that may stop trials early, or None.
        loop: What trains a trial.
    """
    import ray
    from ray import tune

    if isinstance(dataset, Dataset):  # computed or read once here, travel with the data
        _ = dataset.fingerprint, dataset.channel_statistics, dataset.train.sample, dataset.test.sample
    job = Job(ledger.sweep, ray.put(dataset), room.cpus_per_worker, room.gpus_per_worker, options.state_seconds, loop)
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
                callbacks=[bridge.callback, _silence()],
            ),
        ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def make_asha(objective: str, epochs: int) -> Any:
    """Returns Tune's ASHA (arXiv 1810.05934), which stops weak trials early, the first after an eighth of the epochs.

    Args:
        objective: The metric it maximises.
        epochs: Of a trial.
    """
    from ray.tune.schedulers import ASHAScheduler

    class Scheduler(ASHAScheduler):
        """A stop kills the trial's process: one that reaches its last epoch ends by itself, so that it can say so."""

        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            action = super().on_trial_result(tune_controller, trial, result)
            last = json.loads(trial.config["config"])["training"]["epochs"]
            return self.CONTINUE if result.get("epoch", 0) >= last else action

    first = max(1, epochs // 8)
    return Scheduler("epoch", objective, "max", max_t=epochs, grace_period=first, stop_last_trials=False)


def _silence() -> Any:
    """Returns a stand-in for Tune's own progress lines: some of them are printed whatever `verbose` says."""
    from ray.tune.progress_reporter import TrialProgressCallback

    class Silence(TrialProgressCallback):
        def on_trial_result(self, *args: Any, **info: Any) -> None:
            """Says nothing."""

        def on_trial_error(self, *args: Any, **info: Any) -> None:
            """Says nothing."""

        def on_trial_complete(self, *args: Any, **info: Any) -> None:
            """Says nothing."""

    return Silence()


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
            if held.values[0].result(trial.config["key"], result):
                trial.run_metadata.num_failures = 0  # a long trial on spot nodes loses many of them

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            held.values[0].complete(trial.config["key"])

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            held.values[0].died(trial.config["key"])

    return Bridge(SourceSearcher(metric="epoch", mode="max"), ListenerCallback())


class _Events:
    """What happens in Tune, said in our own terms."""

    def __init__(self, source: TrialSource, ledger: Ledger, listener: Listener) -> None:
        self.source, self.ledger, self.listener = source, ledger, listener
        self.trials: dict[str, AnyTrial] = {}
        self.last: dict[str, EpochMetrics] = {}
        self.furthest: dict[str, float] = {}
        self.unrecorded: dict[str, str] = {}
        self.warnings: set[tuple[str, str]] = set()

    def suggest(self) -> dict[str, str] | None:
        trial = self.source.next()
        if trial is None:
            return None
        self.ledger.write_config(trial)
        self.trials[trial.key] = trial
        return {"key": trial.key, "config": trial.config.to_json()}

    def started(self, key: str) -> None:
        self.listener.started(self.trials[key])

    def result(self, key: str, result: dict[str, Any]) -> bool:
        """Returns whether the trial is further than it ever was, or only moves to another node."""
        if METRICS in result:  # Tune repeats the last result when a trial ends
            metrics = result[METRICS]
            if UNRECORDED in metrics:
                self.unrecorded[key] = metrics[UNRECORDED]
            elif MOVED in metrics:
                self.listener.moved(self.trials[key])
                return True
            elif WARNING in metrics:
                if (key, metrics[WARNING]) not in self.warnings:
                    self.warnings.add((key, metrics[WARNING]))
                    self.listener.warned(self.trials[key], metrics[WARNING])
            elif metrics != self.last.get(key):
                self.last[key] = metrics
                self.listener.epoch(self.trials[key], metrics)
                if metrics["epoch"] > self.furthest.get(key, 0):
                    self.furthest[key] = metrics["epoch"]
                    return True
        return False

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
