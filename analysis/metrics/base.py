"""What a metric yields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel

Split = Literal["train", "test"]

UNLABELLED = "none"
"""Level of a measurement that looks at no labels."""


class Measurement(NamedTuple):
    """One number of one layer."""

    level: str
    split: Split
    metric: str
    value: float


class Point(NamedTuple):
    """Where one picture is put in the plane; what a metric yields that projects instead of measuring.

    Attributes:
        level: Name of the label level.
        label: The picture's label there.
        label_name: Its name, "" where it has none.
        point: Row of the picture among the training or the test ones.
        x, y: Coordinates.
    """

    level: str
    label: int
    label_name: str
    point: int
    x: float
    y: float


class MetricSpec(NamedTuple):
    """What a measured number means.

    Attributes:
        name: As it stands in the table.
        low: Smallest possible value.
        high: Largest possible value.
        direction: "up" where larger means better separated, "down" where smaller does, "" where neither.
        labelled: Measured at every label level, else once (level "none").
    """

    name: str
    low: float
    high: float
    direction: Literal["up", "down", ""]
    labelled: bool = True


def split_labels(train: Tensor, test: Tensor, level: LabelLevel) -> Iterator[tuple[Split, Tensor, Tensor]]:
    """Yields each split's name, rows [N, ...] and labels int64 [N], on one device."""
    yield "train", train, level.train.to(train.device)
    yield "test", test, level.test.to(test.device)


def unit_features(features: LayerFeatures) -> tuple[Tensor, Tensor]:
    """Returns the training and test features scaled to length 1, once per layer; a zero feature stays zero."""
    return features.shared("unit", lambda f: (normalize(f.train), normalize(f.test)))


ROW_CHUNK = 4096
"""Rows that are widened to float64 at a time."""


class ClassMoments(NamedTuple):
    """First and second moments of the classes of one split.

    Attributes:
        counts: float64 [K] images of each class; 0 for an absent one, whose other moments are NaN.
        means: float64 [K, D] mean feature of each class.
        variances: float64 [K] E|f - mu_c|^2, divided by the number of images.
    """

    counts: Tensor
    means: Tensor
    variances: Tensor


def class_moments(features: Tensor, labels: Tensor, num_classes: int) -> ClassMoments:
    """Returns the moments of each class from one pass; sums are float64 and about the mean of all features.

    Args:
        features: float [N, D].
        labels: int64 [N], 0 .. num_classes - 1.
        num_classes: K.
    """
    labels = labels.to(features.device)
    centre = features.mean(0, dtype=torch.float64)
    counts = centre.new_zeros(num_classes)
    sums = centre.new_zeros(num_classes, features.shape[1])
    squares = centre.new_zeros(num_classes)
    for rows, row_labels in zip(features.split(ROW_CHUNK), labels.split(ROW_CHUNK), strict=True):
        centred = rows.double() - centre
        member = one_hot(row_labels, num_classes).double().T  # [K, B]: a matmul is deterministic on every device
        counts += member.sum(1)
        sums += member @ centred
        squares += member @ centred.square().sum(1)
    offsets = sums / counts[:, None]
    variances = (squares / counts - offsets.square().sum(1)).clamp_min(0)
    return ClassMoments(counts, centre + offsets, variances)
