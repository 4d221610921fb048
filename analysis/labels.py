"""Label levels: what a representation is asked to tell apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ray_ssl.data.base import Dataset


@dataclass(frozen=True)
class LabelLevel:
    """One set of labels of the measured images.

    Attributes:
        name: "class", "superclass" ...
        train: int64 [N] labels of the training images, 0 .. num_classes - 1.
        test: int64 [M] labels of the test images.
        num_classes: Number of labels; some may have no image.
    """

    name: str
    train: Tensor
    test: Tensor
    num_classes: int


def data_levels(dataset: Dataset) -> list[LabelLevel]:
    """Returns the levels the data itself has: class, and superclass where it has any."""
    train, test = dataset.train, dataset.test
    levels = [LabelLevel("class", torch.tensor(train.fine), torch.tensor(test.fine), len(train.fine_names))]
    if train.coarse is not None and test.coarse is not None:
        coarse = torch.tensor(train.coarse), torch.tensor(test.coarse)
        levels.append(LabelLevel("superclass", *coarse, len(train.coarse_names)))
    return levels
