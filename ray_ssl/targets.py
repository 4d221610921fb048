"""Targets of graded randomness: other labels of the same images, kept beside a sweep.

    SWEEP/targets.safetensors    int64 labels: "NAME/train" [N] and "NAME/test" [M]
    SWEEP/targets.json           sealed: of which images, how random each is, the sha256 of the file above

The record is written last and is the commit. `ray_ssl.teacher_targets` makes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ray_ssl.config import PretrainConfig
from ray_ssl.data.base import EXTRA, SOURCE, UNLABELLED, Dataset
from ray_ssl.errors import UserError
from ray_ssl.storage import Storage

LABELS: Final = "targets.safetensors"
RECORD: Final = "targets.json"
SPLITS: Final = ("train", "test")

FEW_LABELS: Final = 2
LARGE_SHARE: Final = 0.95
"""A target with fewer labels, or with more than this share of training images on one, is hardly a question."""

Labels = NDArray[np.int64]


class SplitFacts(NamedTuple):
    """The labels of one split in a few numbers.

    Attributes:
        agreement: Share of images whose label is their class, 0..1.
        entropy: Of the labels' shares, in nats.
        num_used: Labels that occur.
        largest_share: Share of images with the most frequent label, 0..1.
    """

    agreement: float
    entropy: float
    num_used: int
    largest_share: float


@dataclass(frozen=True)
class TargetSet:
    """One target.

    Attributes:
        labels: Split -> int64 [N].
        facts: Split -> numbers about them.
        randomness: Measured, 0 (semantic) to 1 (random); see `ray_ssl.teacher_targets`.
        epoch: Of the teacher's checkpoint; -1 for noise.
    """

    labels: Mapping[str, Labels]
    facts: Mapping[str, SplitFacts]
    randomness: float
    epoch: int


@dataclass(frozen=True)
class Targets:
    """All targets of a sweep.

    Attributes:
        data_fingerprint: Of the images they are labels of, see `Dataset.fingerprint`.
        sets: By name, e.g. "teacher-0.25".
    """

    data_fingerprint: str
    sets: Mapping[str, TargetSet]

    @cached_property
    def content(self) -> bytes:
        """The file of the labels."""
        return save({f"{name}/{split}": one.labels[split] for name, one in self.sets.items() for split in SPLITS})

    @property
    def hash(self) -> str:
        """16 hex digits that identify names and labels."""
        return hashlib.sha256(self.content).hexdigest()[:16]

    def option(self, name: str) -> str:
        """Returns the method's option `target` that trains on one of them, NAME@HASH."""
        return f"{name}@{labels_hash(self.sets[name].labels['train'])}"


def labels_hash(labels: Labels) -> str:
    """Returns 16 hex digits that identify labels int64 [N]."""
    return hashlib.sha256(np.ascontiguousarray(labels).view(np.uint8).data).hexdigest()[:16]


def write_targets(sweep: Storage, targets: Targets) -> None:
    """Writes them into a sweep's folder; those that were there are replaced."""
    about = {
        name: {"facts": {s: f._asdict() for s, f in one.facts.items()}, "randomness": one.randomness,
               "epoch": one.epoch}
        for name, one in targets.sets.items()
    }  # fmt: skip
    sweep.write(LABELS, targets.content)
    digest = hashlib.sha256(targets.content).hexdigest()
    sweep.write_sealed(RECORD, {"sha256": digest, "data_fingerprint": targets.data_fingerprint, "sets": about})


def read_targets(sweep: Storage) -> Targets | None:
    """Returns the targets in a sweep's folder, or None where there are none, or torn or altered ones."""
    record = sweep.read_sealed(RECORD)
    content = sweep.read(LABELS) if record is not None and sweep.exists(LABELS) else None
    if record is None or content is None or hashlib.sha256(content).hexdigest() != record["sha256"]:
        return None
    try:
        labels = load(content)
    except SafetensorError:  # though the sum is right
        return None
    sets = {
        name: TargetSet(
            {split: labels[f"{name}/{split}"] for split in SPLITS},
            {split: SplitFacts(**facts) for split, facts in about["facts"].items()},
            about["randomness"],
            about["epoch"],
        )
        for name, about in record["sets"].items()
    }
    return Targets(record["data_fingerprint"], dict(sorted(sets.items())))


def whole_targets(sweep: Storage) -> Targets | None:
    """Returns the targets in a sweep's folder, or None where there are none.

    Raises:
        UserError: They are torn or altered.
    """
    targets = read_targets(sweep)
    if targets is None and sweep.exists(RECORD):
        name = LABELS if sweep.read_sealed(RECORD) else RECORD
        raise UserError(
            f"{sweep.address(name)} is torn or altered: the sweep's command (sweeps/randomness.py, "
            "sweeps/reverse_engineering.py) makes the targets anew, python -m analysis SWEEP --targets FOLDER copies "
            "again those that were copied"
        )
    return targets


def attach_targets(dataset: Dataset, targets: Targets | None) -> Dataset:
    """Returns the images with these targets; without any where there are none.

    Raises:
        UserError: They are labels of other images.
    """
    if targets is None:
        return dataset
    if targets.data_fingerprint != dataset.fingerprint:
        raise UserError(
            f"the targets of this sweep are labels of other images than {dataset.name} holds now: give the images "
            f"that they were made of, or delete {RECORD} in the sweep's folder"
        )
    train, test = ({name: one.labels[split] for name, one in targets.sets.items()} for split in SPLITS)
    return replace(
        dataset,
        train=replace(dataset.train, targets=train),
        test=replace(dataset.test, targets=test),
        target_randomness={name: one.randomness for name, one in targets.sets.items()},
    )


def rows_to_train(config: PretrainConfig, dataset: Dataset) -> Labels | None:
    """Returns the training images that a trial trains on, int64 [n], or None for all of them."""
    domain, domains = dataset.train.domain, config.training.train_domains
    if domain is None or domains == "all":
        return None
    return np.flatnonzero(domain == SOURCE if domains == "source" else domain < EXTRA)


def check_domains(config: PretrainConfig, dataset: Dataset) -> None:
    """Refuses a method that learns from labels that it cannot have, or from domains where there is one.

    Raises:
        UserError: With what would do.
    """
    name, learns, domain = config.method.name, config.method.LEARNS_FROM, dataset.train.domain
    if learns == "images":
        return
    rows = rows_to_train(config, dataset)
    is_one = domain is None or bool((domain[rows if rows is not None else slice(None)] == SOURCE).all())
    if learns == "labels" and domain is not None and not is_one:
        raise UserError(
            f"{name} learns the label of every image, and those of the target are hidden: give --train-domains source"
        )
    if learns == "domains" and domain is None:
        raise UserError(f"{name} learns from a source and a target, {dataset.name} is one domain: give a --shift")
    if learns == "domains" and is_one:
        raise UserError(
            f"{name} learns from a source and a target, but is to be trained on the source: "
            "give --train-domains all or both (sweeps/transfer.py does so of its --baselines)"
        )
    if config.method.TELLS_DOMAINS and domain is not None and rows is None and (domain == EXTRA).any():
        raise UserError(
            f"{name} takes images without a label for the target's, and extra images are of both domains: give "
            "--train-domains both"
        )


def labels_to_learn(config: PretrainConfig, dataset: Dataset) -> tuple[Labels, int]:
    """Returns the training labels that a trial's method may learn from, int64 [N], and how many there are.

    Where the set has domains, images outside the source have `UNLABELLED`.

    Raises:
        UserError: The images do not have them, or have others under this name.
    """
    labels, num_labels = _labels_by_name(config, dataset)
    domain = dataset.train.domain
    return labels if domain is None else np.where(domain == SOURCE, labels, UNLABELLED), num_labels


def _labels_by_name(config: PretrainConfig, dataset: Dataset) -> tuple[Labels, int]:
    train, name = dataset.train, config.trained_on
    if name == "class":
        return train.fine, len(train.fine_names)
    if name == "superclass":
        if train.coarse is None:
            raise UserError(f"{dataset.name} has no superclasses to train on")
        return train.coarse, len(train.coarse_names)
    method: Any = config.method  # one with an option `target`
    known = ", ".join(f"{other}@{labels_hash(labels)}" for other, labels in train.targets.items())
    if name not in train.targets or method.target != f"{name}@{labels_hash(train.targets[name])}":
        raise UserError(
            f"the images here have no target {method.target}: "
            + (f"there are {known}" if known else "sweeps/randomness.py makes targets")
        )
    return train.targets[name], len(train.fine_names)
