"""Starts of fine-tuning: pretrained checkpoints, each with the linear probe that is best on validation images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ray_ssl.errors import UserError

if TYPE_CHECKING:
    from ray_ssl.checkpoints import Checkpoint
    from ray_ssl.data import Dataset
    from ray_ssl.ledger import Ledger, Trial
    from sweeps.cli import Request

Origin = tuple[str, int]
"""Key of a pretrained trial, and the epoch."""


def make_starts(
    request: Request, ledger: Ledger, pretrained: Sequence[tuple[Trial, int]]
) -> tuple[list[str], tuple[str, ...]]:
    """Returns the option `start` of each, made where it is not there yet, and those of a dry run, which makes none.

    Raises:
        UserError: The images do not allow fine-tuning or what it measures, or a checkpoint is damaged.
    """
    from analysis.finetuned import measured_sets
    from ray_ssl import interrupts
    from ray_ssl.finetune import read_starts, start_option, write_start
    from ray_ssl.lease import Lease
    from ray_ssl.trainer import check_fits
    from sweeps.data_card import DataCard
    from sweeps.room import load_once

    card = DataCard.recall(ledger.sweep, request.base.data)
    fingerprint = load_once(request.base.data).fingerprint if card is None else card.fingerprint
    known = {_origin(start): start_option(start) for start in read_starts(ledger.sweep) if _is_on(start, fingerprint)}
    unmade: tuple[str, ...] = ()
    lacking = [one for one in pretrained if (one[0].key, one[1]) not in known]
    if lacking:
        dataset = load_once(request.base.data)
        measured_sets(dataset)
        check_fits(request.base, dataset)
        for trial, epoch in lacking:
            _checkpoint(request, trial, epoch)  # a damaged one is to be found before the probes of others are made
        if request.dry_run:
            made = _foretold(lacking)
            known, unmade = known | made, tuple(made.values())
        else:
            ledger.open(request.sweep.question.strip(), request.shared)
            with interrupts.orderly(), Lease(ledger.sweep) as lease:
                for trial, epoch in lacking:
                    start = _probed(request, trial, epoch, dataset)
                    write_start(lease.storage, start)
                    known[trial.key, epoch] = start_option(start)
                    probe = start.card["probe"]
                    print(
                        f"linear probe of {start_option(start)}: C {probe['c']:.2g}, validation accuracy "
                        f"{probe['validation_accuracy']:.1%}", flush=True,
                    )  # fmt: skip
    options = [known[trial.key, epoch] for trial, epoch in pretrained]
    for line in same_names(options):
        print(line, flush=True)
    return options, unmade


def _foretold(lacking: Sequence[tuple[Trial, int]]) -> dict[Origin, str]:
    """Prints which starts a dry run does not make; returns options that stand for them, with numbers for hashes."""
    from ray_ssl.finetune import start_name

    names = [start_name(trial.config, epoch) for trial, epoch in lacking]
    width = max(map(len, names))
    print(f"{len(lacking)} checkpoint(s) to probe first; trials from them wait for their probe, and their keys (below "
          f"{'-' * 16}) are known after it:")  # fmt: skip
    for name, (trial, epoch) in zip(names, lacking, strict=True):
        print(f"  {name:{width}}  {trial.name}, trial {trial.key}, epoch {epoch}", flush=True)
    return {(trial.key, epoch): f"{name}@{number:016x}"
            for number, (name, (trial, epoch)) in enumerate(zip(names, lacking, strict=True))}  # fmt: skip


def same_names(options: Sequence[str]) -> list[str]:
    """Returns a warning for every name that several starts have: the table holds their names alone."""
    counts = Counter(option.partition("@")[0] for option in options)
    return [
        f"warning: {count} checkpoints are called {name}, and differ in what the table does not say: figures, claims "
        "and the report leave them out; choose one by --from-trials"
        for name, count in counts.items()
        if count > 1
    ]


def _origin(start: Checkpoint) -> Origin:
    return start.card["probe"]["trial_key"], start.card["epoch"]


def _is_on(start: Checkpoint, fingerprint: str) -> bool:
    return start.card["probe"]["data_fingerprint"] == fingerprint


def _checkpoint(request: Request, trial: Trial, epoch: int) -> Checkpoint:
    """Returns a pretrained checkpoint.

    Raises:
        UserError: It is damaged.
    """
    from ray_ssl.checkpoints import DamagedCheckpointError, checkpoint_folder, load_checkpoint
    from ray_ssl.storage import Storage

    folder = Storage.at(request.given["from"]).child(trial.key)
    try:
        return load_checkpoint(folder, checkpoint_folder(epoch))
    except DamagedCheckpointError as error:
        raise UserError(
            f"--from: checkpoint of epoch {epoch} of {trial.name} ({trial.key}): {error}; choose others by "
            "--from-epochs or --from-trials, or give the line that pretrained again"
        ) from None


def _probed(request: Request, trial: Trial, epoch: int, dataset: Dataset) -> Checkpoint:
    """Returns a start with the linear probe that is best on the validation images.

    Raises:
        UserError: The checkpoint is damaged, or the images do not allow a probe.
    """
    import torch

    from analysis.finetuned import VALIDATION, features_of_sets, labels_of, measured_sets
    from analysis.probe_path import probe_path
    from analysis.threads import limit_threads
    from ray_ssl.finetune import make_start
    from ray_ssl.targets import labels_to_learn, rows_to_train

    limit_threads(request.machine.cpus_per_worker)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = _checkpoint(request, trial, epoch)
    rows = rows_to_train(request.base, dataset)
    train: Any = dataset.train if rows is None else dataset.train.take(rows)
    sets = {"train": train, VALIDATION: measured_sets(dataset)[VALIDATION]}
    features = {name: layers[-1] for name, layers in features_of_sets(checkpoint, sets, device).items()}
    labels = {name: labels_of(images, request.base) for name, images in sets.items()}
    num_classes = labels_to_learn(request.base, dataset)[1]
    probe = probe_path(
        (features["train"], labels["train"]), (features[VALIDATION], labels[VALIDATION]), num_classes
    )  # fmt: skip
    best = max(one["validation_accuracy"] for one in probe.path)
    about = {"c": probe.c, "path": probe.path, "validation_accuracy": best,
             "trial_key": trial.key, "data_fingerprint": dataset.fingerprint}  # fmt: skip
    return make_start(checkpoint, probe.head, about)
