"""Analyses a sweep: checkpoints -> Ray Data actors -> parts of the table. The only room here that knows Ray Data.

Each row is a checkpoint. An actor holds the measured images once, and writes what it measured itself, so that an
interruption loses at most the checkpoints at hand. Memory does not grow with the number of checkpoints.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from analysis import stored, table
from analysis.measure import MeasuredImages, measure_checkpoint, measured_images
from analysis.settings import AnalysisSettings
from analysis.table import MEASUREMENTS as MEASUREMENTS
from analysis.tasks import find_tasks
from ray_ssl.checkpoints import (
    SET_ASIDE,
    Checkpoint,
    DamagedCheckpointError,
    checkpoint_folder,
    load_checkpoint,
    saved_epochs,
    set_aside,
)
from ray_ssl.config import PretrainConfig
from ray_ssl.data.base import Dataset
from ray_ssl.ledger import DONE, Ledger, Trial, TrialState
from ray_ssl.pretrain import checkpoint_epochs
from ray_ssl.storage import Storage, describe_os_error

MAX_ACTOR_DEATHS = 2

log = logging.getLogger("analysis")


@dataclass(frozen=True)
class Work:
    """One checkpoint and the tasks it still lacks."""

    key: str
    epoch: int
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Survey:
    """What the table still lacks.

    Attributes:
        work: Checkpoints that are there.
        lost: Trial key -> ascending epochs of a finished trial whose checkpoint is not there: it was set aside, or
            it is missing and was never measured. (One that was measured and then deleted to save space is no loss.)
    """

    work: list[Work]
    lost: dict[str, list[int]]


@dataclass(frozen=True)
class Outcome:
    """What became of one checkpoint; `error` is empty where all went well.

    Attributes:
        damaged: The checkpoint is damaged and was set aside.
    """

    key: str
    epoch: int
    error: str
    damaged: bool = False


def sweep_name(sweep: Storage) -> str:
    """Returns the name of a sweep, the last part of its folder."""
    return sweep.name


def survey(
    ledger: Ledger,
    trials: Sequence[Trial],
    settings: AnalysisSettings,
    tasks: Sequence[str] | None = None,
    remember: bool = False,
) -> Survey:
    """Returns what is not measured yet, checkpoint by checkpoint.

    Args:
        tasks: See `analysis.tasks`; None: the default ones.
        remember: See `stored.present`.
    """
    wanted = tasks if tasks is not None else find_tasks()
    present = stored.present(ledger.sweep, {task: settings.of(task) for task in wanted}, remember)
    work, gaps = [], {}
    for trial in trials:
        saved = saved_epochs(ledger.trial(trial.key))
        for epoch in sorted({*saved, *checkpoint_epochs(trial.config.training)}):
            lacking = tuple(task for task in wanted if (trial.key, epoch, task) not in present)
            if lacking and epoch in saved:
                work.append(Work(trial.key, epoch, lacking))
            elif lacking:
                gaps.setdefault(trial.key, []).append(epoch)
    return Survey(work, _lost(ledger, gaps))


def _lost(ledger: Ledger, gaps: dict[str, list[int]]) -> dict[str, list[int]]:
    """Of the epochs without a checkpoint by trial, those that a finished trial should have."""
    gaps = {key: epochs for key, epochs in gaps.items() if ledger.record(key, DONE) is not None}
    if not gaps:
        return {}
    measured = {(key, epoch) for key, epoch, _ in stored.present(ledger.sweep)}
    lost = {}
    for key, epochs in gaps.items():
        aside = ledger.trial(key).names(f"{SET_ASIDE}/checkpoints")
        lost[key] = [e for e in epochs if (key, e) not in measured or checkpoint_folder(e).split("/")[1] in aside]
    return {key: epochs for key, epochs in lost.items() if epochs}


def missing_work(
    ledger: Ledger, trials: Sequence[Trial], settings: AnalysisSettings, tasks: Sequence[str] | None = None
) -> list[Work]:
    """Returns the checkpoints that are there and not measured yet, as `survey`."""
    return survey(ledger, trials, settings, tasks).work


def analyse(
    ledger: Ledger, work: Sequence[Work], dataset: Dataset, settings: AnalysisSettings, cpus_per_worker: int = 1
) -> Iterator[Outcome]:
    """Measures what `missing_work` found, inside a Ray session; yields each checkpoint as it is done.

    A damaged checkpoint of a trial that has ended is set aside; the others go on.
    """
    import ray
    import ray.data
    import ray.exceptions

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    images = ray.put(measured_images(dataset, settings, sorted({task for one in work for task in one.tasks})))
    total = int(ray.cluster_resources().get("CPU", 1))
    num_actors = max(1, min(len(work), total // cpus_per_worker))
    # The actors together leave a CPU free for Ray Data's own tasks: a pool that holds all of them hangs.
    share = min(cpus_per_worker, max(1, total - 1) / num_actors) if total > 1 else 0.5
    for attempt in range(MAX_ACTOR_DEATHS + 1):
        done = set()
        try:
            for outcome in _measured(ledger, work, images, cpus_per_worker, num_actors, share):
                done.add((outcome.key, outcome.epoch))
                yield outcome
            return
        except ray.exceptions.RayError as error:
            log.warning("an analysis process died; its checkpoints are measured again")
            work = [w for w in work if (w.key, w.epoch) not in done]
            reason = f"the analysis process died {MAX_ACTOR_DEATHS + 1} times: {str(error).strip().splitlines()[0]}"
            if attempt == MAX_ACTOR_DEATHS:
                yield from (Outcome(w.key, w.epoch, reason) for w in work)


def _measured(
    ledger: Ledger,
    work: Sequence[Work],
    images: Any,
    threads: int,
    num_actors: int,
    num_cpus: float,
) -> Iterator[Outcome]:
    """One Ray Data job. Raises RayError where an actor died: restarting is ours, since Ray's prints warnings."""
    import ray.data

    rows = [{"key": w.key, "epoch": w.epoch, "tasks": list(w.tasks)} for w in work]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # max_restarts has no other way in yet
        measured = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Measurer,  # type: ignore[arg-type]  # Ray Data's type of a class's call is its constructor's
            fn_constructor_args=(ledger.sweep, images, threads),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=num_actors, max_tasks_in_flight_per_actor=1),
            num_cpus=num_cpus,
            max_restarts=0,
        )
    for row in measured.iter_rows():
        yield Outcome(row["key"], int(row["epoch"]), row["error"], bool(row["damaged"]))


class _Measurer:
    """An actor of the pool."""

    def __init__(self, sweep: Storage, images: Any, threads: int) -> None:
        import ray

        torch.set_num_threads(threads)
        self.ledger = Ledger(sweep)
        self.images: MeasuredImages = ray.get(images)
        self.device = torch.device("cuda" if ray.get_gpu_ids() else "cpu")

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        key, epoch = str(row["key"]), int(row["epoch"])
        damaged, error = False, ""
        try:
            try:
                self._measure(key, epoch, list(row["tasks"]))
            except DamagedCheckpointError as damage:
                error = f"damaged checkpoint ({damage})"
                damaged = self._set_aside(key, epoch)
        except OSError as problem:
            error = describe_os_error(problem)
        except Exception as problem:  # one bad checkpoint must not stop the others; it is reported at the end
            error = f"{type(problem).__name__}: {problem}"
        return {"key": key, "epoch": epoch, "error": error, "damaged": damaged}

    def _set_aside(self, key: str, epoch: int) -> bool:
        """Moves a checkpoint out of the way, unless its trial may be writing it at this moment."""
        ended = self.ledger.state(key) in (TrialState.DONE, TrialState.FAILED, TrialState.STOPPED)
        if ended:
            set_aside(self.ledger.trial(key), checkpoint_folder(epoch))
        return ended

    def _measure(self, key: str, epoch: int, tasks: list[str]) -> None:
        trial = self.ledger.trial(key)
        checkpoint = load_checkpoint(trial, checkpoint_folder(epoch))
        earlier: dict[int, Callable[[], Checkpoint]] = {
            other: partial(load_checkpoint, trial, checkpoint_folder(other))
            for other in saved_epochs(trial)
            if other < epoch
        }
        found = measure_checkpoint(checkpoint, self.images, tasks, self.device, earlier)
        sweep = self.ledger.sweep
        about = describe(checkpoint.card, sweep_name(sweep), key, self.images.dataset.name)
        for task, rows in found.items():
            stored.write(sweep, about, task, rows, self.images.settings.of(task))


def describe(card: dict[str, Any], sweep: str, key: str, dataset: str) -> table.Checkpoint:
    """Returns the columns that all rows of a checkpoint share."""
    return columns(PretrainConfig.from_dict(card["config"]), sweep, key, dataset, card["epoch"])


def columns(config: PretrainConfig, sweep: str, key: str, dataset: str, epoch: int) -> table.Checkpoint:
    """Returns the columns that all rows of a trial's epoch share."""
    shape = config.backbone.model_dump()
    return table.Checkpoint(
        sweep=sweep,
        trial_key=key,
        method=method_name(config),
        depth=shape.get("depth", 0),
        width=shape.get("width", 0),
        seed=config.seed,
        dataset=dataset,
        epoch=epoch,
    )


def method_name(config: PretrainConfig) -> str:
    """Returns what the table calls a trial's method: supervised training differs by views and by labels too."""
    return config.method.name + config.variant
