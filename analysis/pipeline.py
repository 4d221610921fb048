"""Analyses a sweep: checkpoints -> Ray Data actors -> parts of the table. The only room here that knows Ray Data.

Each row is a checkpoint. An actor holds the measured images once, and writes what it measured itself, so that an
interruption loses at most the checkpoints at hand. Memory does not grow with the number of checkpoints.

Where the features of one checkpoint outgrow an actor, each row is a block of its images instead (see `blocks`): actors
return sums, merged here in the order of the blocks, so that the numbers do not depend on which actor was faster.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from analysis import stored
from analysis.actors import Actor, ActorsDiedError, Pool, describe_problem
from analysis.blocks import Block, Merged, NetworkSums, measure_by_block, sums_of_block
from analysis.connectivity.compared import compared_with
from analysis.features import load_backbone
from analysis.images import MeasuredImages, measured_images
from analysis.measure import Rows, measure_checkpoint
from analysis.settings import AnalysisSettings
from analysis.survey import Work, describe, sweep_name
from analysis.table import MEASUREMENTS as MEASUREMENTS
from analysis.warned import by_kind
from ray_ssl.backbones.base import Backbone
from ray_ssl.checkpoints import (
    Checkpoint,
    DamagedCheckpointError,
    checkpoint_folder,
    load_checkpoint,
    saved_epochs,
)
from ray_ssl.data.base import Dataset
from ray_ssl.ledger import Ledger
from ray_ssl.storage import Storage


@dataclass(frozen=True)
class Outcome:
    """What became of one checkpoint; `error` is empty where all went well.

    Attributes:
        damaged: The checkpoint is damaged and was set aside.
        earlier: Damaged ones of the same trial, which it was not compared with.
        warned: What was not as it should be, and is measured all the same.
    """

    key: str
    epoch: int
    error: str
    damaged: bool = False
    earlier: tuple[Outcome, ...] = ()
    warned: tuple[str, ...] = ()


def warning_lines(outcomes: Iterable[Outcome], names: Mapping[str, str]) -> list[str]:
    """Returns a line for each kind of warning: its first, and of how many checkpoints there is one.

    Args:
        outcomes: Of all checkpoints.
        names: Of trials, by key.
    """
    return by_kind(
        (f"{names.get(outcome.key, '?')} ({outcome.key}), epoch {outcome.epoch}", warning)
        for outcome in outcomes
        for warning in outcome.warned
    )


def analyse(
    ledger: Ledger,
    work: Sequence[Work],
    dataset: Dataset,
    settings: AnalysisSettings,
    cpus_per_worker: int = 1,
    images_per_block: int = 0,
) -> Iterator[Outcome]:
    """Measures what `missing_work` found, inside a Ray session; yields each checkpoint as it is done.

    A damaged checkpoint of a trial that has ended is set aside; the others go on.

    Args:
        cpus_per_worker: CPUs and threads of each actor.
        images_per_block: Of one checkpoint that an actor holds features of; 0: all (see `blocks`).
    """
    import ray
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # An actor at work counts as 1, and the default of 1.75 would never start a second one.
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 0.9
    context.execution_no_progress_timeout_s = -1  # a checkpoint of a large network may take hours
    context.execution_options.preserve_order = images_per_block > 0
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # a lost node is one line of ours, not pages of traces
    tasks = sorted({task for one in work for task in one.tasks})
    images = measured_images(dataset, settings, tasks, compared_with(ledger.sweep, tasks))
    pool = Pool(ledger, ray.put(images), cpus_per_worker)
    if images_per_block:
        yield from (_measure_by_block(pool, one, images, images_per_block) for one in work)
        return
    rows = {(w.key, w.epoch): {"key": w.key, "epoch": w.epoch, "tasks": list(w.tasks)} for w in work}
    try:
        for row in pool.map(_Measurer, list(rows.values())):
            del rows[row["key"], row["epoch"]]
            earlier = tuple(Outcome(row["key"], *one) for one in json.loads(row["found"] or "[]"))
            yield Outcome(row["key"], row["epoch"], row["error"], row["damaged"], earlier, _warned(row))
    except ActorsDiedError as error:
        yield from (Outcome(*one, str(error)) for one in rows)


def over_trials(
    ledger: Ledger,
    actor: type,
    rows: list[dict[str, Any]],
    dataset: Dataset,
    settings: AnalysisSettings,
    cpus_per_worker: int = 1,
) -> Iterator[Outcome]:
    """Runs a stage with one row a trial, inside a Ray session; yields each as it is done.

    Args:
        actor: A kind of `Actor`; what it measured it has written itself.
        rows: With "key" and "epoch", which name the row in its outcome.
        dataset: Whose images it looks at.
        settings: As `analyse`.
        cpus_per_worker: As `analyse`.
    """
    import ray

    pool = Pool(ledger, ray.put(MeasuredImages(dataset, np.empty((0, 1, 1, 3), np.uint8), settings)), cpus_per_worker)
    left = {(row["key"], row["epoch"]) for row in rows}
    try:
        for row in pool.map(actor, rows):
            left.discard((row["key"], row["epoch"]))
            yield Outcome(row["key"], row["epoch"], row["error"], row["damaged"], warned=_warned(row))
    except ActorsDiedError as error:
        yield from (Outcome(*one, str(error)) for one in sorted(left))


def _warned(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(json.loads(row["warned"]))


def _measure_by_block(pool: Pool, work: Work, images: MeasuredImages, images_per_block: int) -> Outcome:
    """Measures one checkpoint by all actors together."""
    card: dict[str, Any] = {}

    def take(blocks: list[Block], known: Merged) -> Iterator[NetworkSums]:
        rows = [{"key": work.key, "epoch": work.epoch, "tasks": list(work.tasks), "block": list(b)} for b in blocks]
        for row in pool.map(_Summer, rows, known):
            if row["error"]:
                raise _BlockFailedError(row)
            found = row["found"]
            card.update(found.card)
            yield found.sums

    try:
        found = measure_by_block(images, work.tasks, images_per_block, take)
        _write(pool.ledger, card, work.key, images, found)
    except _BlockFailedError as failure:
        return Outcome(work.key, work.epoch, failure.row["error"], failure.row["damaged"])
    except ActorsDiedError as error:
        return Outcome(work.key, work.epoch, str(error))
    except Exception as problem:  # as in an actor: one bad checkpoint must not stop the others
        return Outcome(work.key, work.epoch, describe_problem(problem))
    return Outcome(work.key, work.epoch, "")


class _BlockFailedError(Exception):
    """An actor reported an error; `row` is what it returned."""

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__(row["error"])
        self.row = row


class _Measurer(Actor):
    """Measures whole checkpoints, and writes what it found."""

    def _answer(self, key: str, epoch: int, row: dict[str, Any]) -> str:
        """Returns epoch, error and `damaged` of the damaged checkpoints it was not compared with, as JSON."""
        trial = self.ledger.trial(key)
        checkpoint = load_checkpoint(trial, checkpoint_folder(epoch))
        damaged: list[tuple[int, str, bool]] = []

        def load(other: int) -> Checkpoint | None:
            folder = checkpoint_folder(other)
            try:
                return load_checkpoint(trial, folder)
            except DamagedCheckpointError as damage:
                if trial.names(folder):  # else another actor has set it aside, and reports it
                    error = f"damaged checkpoint ({damage}), left out of what epoch {epoch} is compared with"
                    damaged.append((other, error, self._set_aside(key, other)))
                return None

        earlier = {other: partial(load, other) for other in saved_epochs(trial) if other < epoch}
        found = measure_checkpoint(checkpoint, self.images, list(row["tasks"]), self.device, earlier)
        _write(self.ledger, checkpoint.card, key, self.images, found)
        return json.dumps(damaged)


class _Summer(Actor):
    """Takes the sums of blocks."""

    def __init__(self, sweep: Storage, images: Any, threads: int, known: Any) -> None:
        import ray

        super().__init__(sweep, images, threads)
        self.known: Merged = ray.get(known)
        self.loaded: dict[tuple[str, int], tuple[Backbone, dict[str, Any]]] = {}  # what all rows of a job are of

    def _answer(self, key: str, epoch: int, row: dict[str, Any]) -> _BlockSums:
        if (key, epoch) not in self.loaded:
            checkpoint = load_checkpoint(self.ledger.trial(key), checkpoint_folder(epoch))
            self.loaded = {(key, epoch): (load_backbone(checkpoint), checkpoint.card)}
        backbone, card = self.loaded[key, epoch]
        group, split, start, stop = row["block"]
        block = Block(group, split, int(start), int(stop))
        sums = sums_of_block(backbone, card, self.images, list(row["tasks"]), block, self.known, self.device)
        return _BlockSums(card, sums)


@dataclass(frozen=True)
class _BlockSums:
    """What an actor found of one block, and its checkpoint's card."""

    card: dict[str, Any]
    sums: NetworkSums


def _write(ledger: Ledger, card: dict[str, Any], key: str, images: MeasuredImages, found: Rows) -> None:
    about = describe(card, sweep_name(ledger.sweep), key, images.dataset.name)
    for task, rows in found.items():
        stored.write(ledger.sweep, about, task, rows, images.settings.of(task))
