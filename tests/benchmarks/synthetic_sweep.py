"""A sweep folder of many trials: one that was trained and measured, and copies of it with their own keys."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from analysis import stored
from analysis.curves import add_curves
from analysis.images import measured_images
from analysis.measure import measure_checkpoint
from analysis.pipeline import describe
from analysis.table import KIND, read_table
from ray_ssl.checkpoints import checkpoint_folder, load_checkpoint, saved_epochs
from ray_ssl.checksum import with_digest
from ray_ssl.data import Dataset
from ray_ssl.ledger import DONE, Ledger, Trial
from ray_ssl.pretrain import pretrain
from ray_ssl.trial import environment
from sweeps.cli import Request


def make_sweep(request: Request, ledger: Ledger, trials: list[Trial], dataset: Dataset, num_unfinished: int) -> None:
    """Makes the folder of a sweep whose trials are done and measured, but for the last ones: these have a state.

    Args:
        request: Its command; epochs and checkpoints are as it says.
        trials: All of them.
    """
    torch.set_num_threads(1)
    first = ledger.trial(trials[0].key)
    trained = pretrain(trials[0].config, dataset, first, lambda metrics: None, state_seconds=0)
    ledger.write_config(trials[0])
    about = {"history": trained.history, "precision": trained.precision, "collapsed": trained.collapsed}
    ledger.end(trials[0].key, DONE, about | {"environment": environment(torch.device("cpu"))})
    images = measured_images(dataset, request.settings, request.tasks)
    for epoch in saved_epochs(first):
        checkpoint = load_checkpoint(first, checkpoint_folder(epoch))
        columns = describe(checkpoint.card, ledger.sweep.name, trials[0].key, dataset.name)
        for task, rows in measure_checkpoint(checkpoint, images, request.tasks, torch.device("cpu"), {}).items():
            stored.write(ledger.sweep, columns, task, rows, request.settings.of(task))
    add_curves(ledger, read_table(ledger.sweep.filesystem, ledger.sweep.path(KIND.name)))
    unfinished = {trial.key for trial in trials[len(trials) - num_unfinished :]}
    for trial in trials[1:]:
        ledger.write_config(trial)
        _copy(first.local_path, ledger.trial(trial.key).local_path, trial.key in unfinished)
    first.delete_folder("state")
    _copy_parts(ledger.sweep.local_path / KIND.name, trials)


def _copy(source: Path, target: Path, unfinished: bool) -> None:
    """Links every file: contents do not matter, their number and names do."""
    for folder, _, names in os.walk(source):
        inside = Path(folder).relative_to(source)
        if not unfinished and inside.parts[:1] == ("state",):
            continue
        (target / inside).mkdir(parents=True, exist_ok=True)
        for name in names:
            if name != "config.json" and not (unfinished and name == DONE):
                os.link(Path(folder, name), target / inside / name)


def _copy_parts(folder: Path, trials: list[Trial]) -> None:
    """Puts the other trials' keys, which are of one length, and the right checksum into copies of the first's parts."""
    old = trials[0].key
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        assert content.count(old.encode()) > 0, path
        for trial in trials[1:]:
            copy = with_digest(content.replace(old.encode(), trial.key.encode()))
            (folder / path.name.replace(old, trial.key)).write_bytes(copy)
