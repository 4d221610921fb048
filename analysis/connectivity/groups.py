"""Groups of images, each a class in a domain, and their edge weights from what classifiers mistake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ray_ssl.data.base import SOURCE, TARGET, ImageSet
from ray_ssl.rng import numpy_stream

Labels = NDArray[np.int64]
Errors = NDArray[np.float64]

DOMAINS: Final = (SOURCE, TARGET)


class Edges(NamedTuple):
    """Edge weights of two classes in two domains, each a test error, 0 (never confused) to about 1/2 (alike)."""

    rho: float
    alpha: float
    beta: float
    gamma: float


@dataclass(frozen=True)
class Groups:
    """Images of one split by group.

    Attributes:
        images: uint8 [N, H, W, 3], of source and target.
        group: int64 [N], domain x num_classes + class.
        half: int64 [N], 0 or 1: a random half of each group.
        num_classes: K; there are 2 K groups, some without images.
    """

    images: NDArray[np.uint8]
    group: Labels
    half: Labels
    num_classes: int

    def rows_of(self, group: int) -> Labels:
        """Returns the rows of a group, int64 [n]."""
        return np.flatnonzero(self.group == group)


class GroupErrors(NamedTuple):
    """What was mistaken; NaN where it was not measured.

    Attributes:
        between: float64 [G, G], symmetric: the error of telling two groups apart, the mean of both groups' errors.
        within: float64 [G], that of telling the two halves of a group apart.
    """

    between: Errors
    within: Errors

    @classmethod
    def none(cls, num_groups: int) -> GroupErrors:
        """Returns errors of which none was measured."""
        return cls(np.full((num_groups, num_groups), np.nan), np.full(num_groups, np.nan))


def split_groups(images: ImageSet, seed: int, split: str) -> Groups:
    """Returns the images of source and target by group; extra images, whose label no method sees, are left out."""
    assert images.domain is not None
    known = np.flatnonzero(np.isin(images.domain, DOMAINS))
    num_classes = len(images.fine_names)
    group = images.domain[known] * num_classes + images.fine[known]
    half = np.zeros(len(known), np.int64)
    order = numpy_stream(seed, f"connectivity/halves/{split}").permutation(len(known))
    for one in np.unique(group):
        members = order[group[order] == one]
        half[members[len(members) // 2 :]] = 1
    return Groups(images.images[known], group, half, num_classes)


def classes_with_all(*splits: Groups) -> list[int]:
    """Returns the classes that have two images at least in both domains of all splits, so that there are halves."""
    num_classes = splits[0].num_classes
    counts = np.stack([np.bincount(one.group, minlength=2 * num_classes).reshape(2, -1) for one in splits])
    return np.flatnonzero((counts >= 2).all((0, 1))).tolist()


def groups_of(pair: tuple[int, int], num_classes: int) -> tuple[int, int, int, int]:
    """Returns first class in source and target, then the second class."""
    return tuple(domain * num_classes + one for one in pair for domain in DOMAINS)  # type: ignore[return-value]


def edges(errors: GroupErrors, pair: tuple[int, int]) -> Edges:
    """Returns the edge weights of two classes, each the mean of the two (rho: four) that there are of its kind."""
    between, within = errors
    first_source, first_target, second_source, second_target = groups_of(pair, len(within) // 2)
    return Edges(
        float(within[list(groups_of(pair, len(within) // 2))].mean()),
        float(between[first_source, first_target] + between[second_source, second_target]) / 2,
        float(between[first_source, second_source] + between[first_target, second_target]) / 2,
        float(between[first_source, second_target] + between[first_target, second_source]) / 2,
    )
