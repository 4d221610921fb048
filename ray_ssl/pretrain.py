"""Trains one trial, checkpoint by checkpoint. Knows no Ray, Tune or MLflow; what it has to say goes to `report`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch

from ray_ssl.batches import Reader, read_here
from ray_ssl.checkpoints import (
    Checkpoint,
    checkpoint_folder,
    load_newest_state,
    save_checkpoint,
    save_state,
)
from ray_ssl.config import PretrainConfig, TrainingConfig
from ray_ssl.data.base import Dataset
from ray_ssl.distributed import AnyWorker, barrier
from ray_ssl.finetune import start_of
from ray_ssl.health import is_collapsed
from ray_ssl.optim import optimiser_tensors
from ray_ssl.save_clock import SaveClock
from ray_ssl.storage import Storage
from ray_ssl.trainer import BegunEpoch, EpochMetrics, Trainer

Report = Callable[[EpochMetrics], None]

log = logging.getLogger("ray_ssl")


class PreemptedError(Exception):
    """The trial is to go on elsewhere; its state is saved."""


@dataclass(frozen=True)
class TrainedTrial:
    """What a finished trial leaves besides its checkpoints.

    Attributes:
        history: One entry an epoch: "epoch", the terms' means, learning rate, images/s, health, and "time" of
            its end in seconds since 1970.
        precision: The arithmetic that was used.
        collapsed: Whether two evaluations in a row showed collapse.
    """

    history: list[EpochMetrics]
    precision: str
    collapsed: bool


def checkpoint_epochs(training: TrainingConfig) -> list[int]:
    """Returns the epochs whose weights are kept: 0, log-spaced ones, and the last; ascending."""
    epochs = [0, 1]
    while epochs[-1] < training.epochs:
        remaining = training.num_checkpoints - len(epochs)
        ratio = (training.epochs / epochs[-1]) ** (1 / max(1, remaining))
        epochs.append(min(training.epochs, max(epochs[-1] + 1, round(epochs[-1] * ratio))))
    return epochs if training.num_checkpoints > 2 else [0, training.epochs]


def pretrain(
    config: PretrainConfig,
    dataset: Dataset,
    trial: Storage,
    report: Report,
    device: torch.device | str = "cpu",
    state_seconds: float = 60.0,
    warn: Callable[[str], None] = log.warning,
    reader: Reader = read_here,
    preempted: Callable[[], bool] = lambda: False,
) -> TrainedTrial:
    """Trains one trial, going on from its newest valid state; called once in every worker of the trial.

    Args:
        config: What to train.
        dataset: Its images.
        trial: The trial's folder; with several workers, one that all of them see. What it starts from, if not from
            random weights, lies beside it.
        report: Called by the first worker after every epoch; when going on, first with every epoch that was done.
        device: Where to train.
        state_seconds: Time between two saves of the training state; one is also saved with every checkpoint.
            Between epochs it is shorter where the saves still take no more than a hundredth of the time; within an
            epoch it is longer where they would take more. 0 saves after every epoch and never within one.
        warn: Called by the first worker where a training state was damaged.
        reader: Decodes streamed images.
        preempted: Asked by every worker after every step, whether the trial should save its state and leave.

    Raises:
        PreemptedError: A worker was told so by `preempted`.
        NonFiniteLossError: Training diverged.
        UserError: A streamed image cannot be decoded, or the trial's start is not there.
        OSError: The trial's folder cannot be written.
    """
    trainer = Trainer(config, dataset, torch.device(device), reader, start_of(config, trial.ancestor(1)))
    first = trainer.world.rank == 0
    done, begun, history = _begin(trainer, trial, warn)
    kept = checkpoint_epochs(config.training)
    for past in history if first else []:
        report(past)  # whoever listens may have missed them; a listener keeps each epoch once
    saver = _StateSaver(trial, trainer, state_seconds)
    any_worker = AnyWorker(trainer.device)

    def leave_if_preempted(epoch: int, begun: BegunEpoch | None = None) -> None:
        if any_worker(preempted()):
            if first:
                saver.save(epoch, history, begun)
            barrier()  # the first worker to leave ends the others
            raise PreemptedError

    def after_step(epoch: int, begun: BegunEpoch) -> None:
        leave_if_preempted(epoch - 1, begun)
        if first:
            saver.save_within(epoch, history, begun)

    for epoch in range(done + 1, config.training.epochs + 1):
        metrics = trainer.train_epoch(epoch, begun, partial(after_step, epoch))
        begun = None
        if first:
            if epoch % config.training.knn_every == 0 or epoch == config.training.epochs:
                metrics |= trainer.health()
            history.append(metrics)
            if epoch in kept:
                model = Checkpoint(trainer.card(epoch), trainer.method.state_dict())
                save_checkpoint(trial, checkpoint_folder(epoch), model)
            if epoch < config.training.epochs and (epoch in kept or saver.clock.is_due):
                saver.save(epoch, history)
            report(metrics)
        if epoch < config.training.epochs:
            leave_if_preempted(epoch)
    return TrainedTrial(history, trainer.precision, has_collapsed(history))


class _Begun(NamedTuple):
    """Where training stands: epochs done, what is begun of the next one, and the history."""

    done: int
    begun: BegunEpoch | None
    history: list[EpochMetrics]


def _begin(trainer: Trainer, trial: Storage, warn: Callable[[str], None]) -> _Begun:
    """Goes to the newest valid state; where there is none, keeps the initial weights."""
    first = trainer.world.rank == 0
    # The first worker looks first: it may set a damaged state aside.
    state = load_newest_state(trial, warn) if first else None
    barrier()
    state = state if first else load_newest_state(trial, warn)
    if state is None:
        if first:
            save_checkpoint(trial, checkpoint_folder(0), Checkpoint(trainer.card(0), trainer.method.state_dict()))
        return _Begun(0, None, [])
    trainer.restore(state)
    begun = state.card.get("begun")
    begun = BegunEpoch.from_dict(begun, trainer.device) if begun else None
    return _Begun(state.card["epoch"], begun, state.card["history"])


class _StateSaver:
    """Saves the training state of one trial, and knows when it is time to."""

    def __init__(self, trial: Storage, trainer: Trainer, longest: float) -> None:
        """`longest`: seconds between two saves at most, see `pretrain`."""
        self.trial, self.trainer, self.clock = trial, trainer, SaveClock(longest)

    def save_within(self, epoch: int, history: list[EpochMetrics], begun: BegunEpoch) -> None:
        """Saves after a part of an epoch, where the last save was long ago."""
        # A loss that is not finite ends the trial at the next step.
        if self.clock.is_due_within and begun.is_finite:
            self.save(epoch - 1, history, begun)

    def save(self, epoch: int, history: list[EpochMetrics], begun: BegunEpoch | None = None) -> None:
        """Saves weights, buffers, optimiser and history after an epoch, and what is begun of the next."""
        method = self.trainer.method
        with self.clock.timed():
            step = epoch * self.trainer.steps_per_epoch + (begun.num_steps if begun else 0)
            card = self.trainer.card(epoch, history=history, begun=begun.to_dict() if begun else None)
            tensors = optimiser_tensors(self.trainer.optimiser, method)
            save_state(self.trial, step, Checkpoint(card, method.state_dict(), tensors))


def has_collapsed(history: list[EpochMetrics]) -> bool:
    """Returns whether any two evaluations in a row showed collapse."""
    flags = [is_collapsed(m) for m in history if "embedding_rank" in m]
    return any(a and b for a, b in pairwise(flags))
