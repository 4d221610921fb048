"""The stage that measures fine-tuning trials: one row a trial, since every epoch is compared with its epoch 0."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from analysis import stored
from analysis.actors import Actor
from analysis.finetuned import FINETUNING, measure_epochs
from analysis.pipeline import Outcome, over_trials
from analysis.settings import AnalysisSettings
from analysis.survey import describe, sweep_name
from ray_ssl.checkpoints import Checkpoint, checkpoint_folder, load_checkpoint, saved_epochs
from ray_ssl.data.base import Dataset
from ray_ssl.ledger import Ledger
from ray_ssl.storage import Storage


def lacking_epochs(ledger: Ledger) -> dict[str, list[int]]:
    """Returns the epochs of fine-tuning trials that have a checkpoint and are not measured yet, by trial key."""
    present = {(key, epoch) for key, epoch, task in stored.present(ledger.sweep) if task == FINETUNING}
    found = {}
    for trial in ledger.known_trials():
        if getattr(trial.config.method, "start", ""):
            saved = saved_epochs(ledger.trial(trial.key))
            if 0 in saved and (epochs := [epoch for epoch in saved if (trial.key, epoch) not in present]):
                found[trial.key] = epochs
    return found


def measure_finetuning(
    ledger: Ledger, dataset: Dataset, settings: AnalysisSettings, cpus_per_worker: int = 1
) -> Iterator[Outcome]:
    """Measures what `lacking_epochs` finds, inside a Ray session; yields each trial as it is done."""
    rows = [{"key": key, "epoch": epochs[-1], "epochs": epochs} for key, epochs in lacking_epochs(ledger).items()]
    if rows:
        yield from over_trials(ledger, _Measurer, rows, dataset, settings, cpus_per_worker)


class _Measurer(Actor):
    """Measures the epochs of one trial, and writes each as it is done."""

    def _answer(self, key: str, epoch: int, row: dict[str, Any]) -> None:
        measure_trial(self.ledger, key, [int(e) for e in row["epochs"]], self.images.dataset, self.device)

    def _set_aside(self, key: str, epoch: int) -> bool:
        return False  # which of the epochs is damaged the ordinary analysis finds out


def measure_trial(ledger: Ledger, key: str, epochs: list[int], dataset: Dataset, device: Any = "cpu") -> None:
    """Measures these epochs of a trial, and writes a part of the table for each.

    Raises:
        DamagedCheckpointError: A checkpoint is torn or altered.
    """
    load = partial(_load, ledger.trial(key))
    for checkpoint, rows in measure_epochs(load, epochs, dataset, device):
        about = describe(checkpoint.card, sweep_name(ledger.sweep), key, dataset.name)
        stored.write(ledger.sweep, about, FINETUNING, rows, {})


def _load(trial: Storage, epoch: int) -> Checkpoint:
    return load_checkpoint(trial, checkpoint_folder(epoch))
