"""What a metric may ask of a layer that is a sum over its images, so that it can be measured block by block.

A metric whose module names its `SUMS` looks at nothing of a layer but these. It is then the same code that measures
whole features (`features.LayerFeatures`) and merged blocks (`blocks.LayerSums`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, Protocol, Self, TypeVar

from torch import Tensor

from analysis.labels import LabelLevel
from analysis.moments import ClassMoments, Moments

Split = Literal["train", "test"]


class Mergeable(Protocol):
    """A sum over some images."""

    def merge(self, other: Self) -> Self:
        """Returns the sum over both sets of images."""
        ...


Sum = TypeVar("Sum", bound=Mergeable)


class Images(NamedTuple):
    """Some images of one split, or all of them, as one layer sees them.

    Attributes:
        features: float32 [B, D].
        unit: The same scaled to length 1.
        labels: int64 [B]; empty where the sum looks at no labels.
        num_classes: K.
        start: Row of the first among all images of the split.
        total: Number of all images of the split.
    """

    features: Tensor
    unit: Callable[[], Tensor]
    labels: Tensor
    num_classes: int
    start: int
    total: int


class Known(Protocol):
    """Sums over all images, those of the same layer and level."""

    def __call__(self, statistic: Statistic[Sum], split: Split) -> Sum:
        """Returns one of the sums that are named in `Statistic.after`."""
        ...


class Statistic(NamedTuple, Generic[Sum]):
    """A sum over images.

    Attributes:
        name: Tells it apart from others.
        of: Images and what is known before -> their sum.
        splits: Of which it is taken.
        labelled: Taken at every level, else once.
        after: Sums over all images that must be known before; these have no `after` themselves.
    """

    name: str
    of: Callable[[Images, Known], Sum]
    splits: tuple[Split, ...] = ("train", "test")
    labelled: bool = True
    after: tuple[Statistic[Any], ...] = ()


class Layer(Protocol):
    """A layer whose sums can be asked for."""

    def sums(self, statistic: Statistic[Sum], split: Split, level: LabelLevel | None = None) -> Sum:
        """Returns the sum over all images of a split, at a level where it is `labelled`."""
        ...


def _moments(images: Images, _: Known) -> Moments:
    return Moments.of(images.features)


def _class_moments(images: Images, _: Known) -> ClassMoments:
    return ClassMoments.of(images.features, images.labels, images.num_classes)


def _unit_class_moments(images: Images, _: Known) -> ClassMoments:
    return ClassMoments.of(images.unit(), images.labels, images.num_classes)


MOMENTS = Statistic("moments", _moments, ("train",), labelled=False)
"""Of the training images, without labels."""

CLASS_MOMENTS = Statistic("class moments", _class_moments)
UNIT_CLASS_MOMENTS = Statistic("class moments of unit features", _unit_class_moments)
"""Of features scaled to length 1."""
