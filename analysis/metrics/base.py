"""What a metric yields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from torch import Tensor

from analysis.labels import LabelLevel
from analysis.sums import Split

SPLITS: Final[tuple[Split, ...]] = ("train", "test")

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
        paired: Measured for pairs of labels of every level (see `analysis.class_pairs`).
    """

    name: str
    low: float
    high: float
    direction: Literal["up", "down", ""]
    labelled: bool = True
    paired: bool = False


def split_labels(train: Tensor, test: Tensor, level: LabelLevel) -> Iterator[tuple[Split, Tensor, Tensor]]:
    """Yields each split's name, rows [N, ...] and labels int64 [N], on one device."""
    yield "train", train, level.train.to(train.device)
    yield "test", test, level.test.to(test.device)
