"""The images that advice is made of: labelled ones of the source, and ones of the target without their labels."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ray_ssl.data.base import SOURCE, TARGET, Dataset, ImageSet
from ray_ssl.data.load import hold_out
from ray_ssl.errors import UserError

HELD_OUT: Final = 0.1
"""Share of the source's training images that heads are judged on, where the data holds none out."""


class Domains(NamedTuple):
    """Training images of source and target.

    Attributes:
        train: uint8 [N, H, W, 3] of the source, heads learn from them.
        labels: int64 [N].
        validation: uint8 [V, H, W, 3] of the source, heads are judged on them.
        validation_labels: int64 [V].
        target: uint8 [T, H, W, 3]; their labels stop here.
        num_classes: That occur among `labels`.
    """

    train: NDArray[np.uint8]
    labels: Tensor
    validation: NDArray[np.uint8]
    validation_labels: Tensor
    target: NDArray[np.uint8]
    num_classes: int


def domains_of(dataset: Dataset, level: str, seed: int) -> Domains:
    """Returns the images of a data set with a shift.

    Args:
        dataset: With or without validation images.
        level: "class" or "superclass": which labels of the source are learned.
        seed: Of the validation images where it has none.

    Raises:
        UserError: No domains, no such labels, or too few images of the source.
    """
    if not isinstance(dataset.train, ImageSet) or dataset.train.domain is None:
        raise UserError("advice is on a source and a target: give a --shift, e.g. --shift to:folder:PATH, no --stream")
    if dataset.validation is None:
        dataset = hold_out(dataset, HELD_OUT, seed)
    train, validation = dataset.train, dataset.validation
    assert isinstance(train, ImageSet) and train.domain is not None and validation is not None
    source = train.take(np.flatnonzero(train.domain == SOURCE))
    labels, validation_labels = _labels(source, level), _labels(validation, level)
    num_classes = len(np.unique(labels))
    if num_classes < 2 or len(validation) < 2:
        raise UserError(
            f"{dataset.name}: advice needs training images of 2 classes and 2 validation images of the source, there "
            f"are {num_classes} and {len(validation)}"
        )
    target = train.images[train.domain == TARGET]
    if len(target) < 2:
        raise UserError(f"{dataset.name}: advice needs 2 training images of the target, there are {len(target)}")
    known, compact = np.unique(labels, return_inverse=True)
    # A class without training images can be predicted by no head: its validation images are wrong ones.
    there = np.searchsorted(known, validation_labels).clip(0, len(known) - 1)
    validation_labels = np.where(known[there] == validation_labels, there, -1)
    return Domains(
        source.images, torch.tensor(compact), validation.images, torch.tensor(validation_labels), target, num_classes
    )


def _labels(images: ImageSet, level: str) -> NDArray[np.int64]:
    found = {"class": images.fine, "superclass": images.coarse}.get(level)
    if found is None:
        raise UserError(f"--level {level}: the images have labels of classes alone")
    return found
