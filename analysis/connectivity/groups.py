"""Groups of images, classes in a domain, classes or single images, and what classifiers mistake of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ray_ssl.data.base import SOURCE, TARGET, UNLABELLED, ImageSet
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
        images: uint8 [N, H, W, 3].
        group: int64 [N], 0 .. num_groups - 1; some may have no image.
        half: int64 [N], 0 or 1: a random half of each group; None where each group is one image.
        num_groups: G.
    """

    images: NDArray[np.uint8]
    group: Labels
    half: Labels | None
    num_groups: int

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
    """Returns the images of source and target, group domain x number of classes + class.

    Extra images, whose label no method sees, are left out.
    """
    assert images.domain is not None
    known = np.flatnonzero(np.isin(images.domain, DOMAINS))
    num_classes = len(images.fine_names)
    group = images.domain[known] * num_classes + images.fine[known]
    return _halved(images.images[known], group, 2 * num_classes, seed, split)


def class_groups(images: ImageSet, seed: int, split: str) -> Groups:
    """Returns the images that have a label by class, whatever their domain."""
    known = np.flatnonzero(images.fine != UNLABELLED)
    return _halved(images.images[known], images.fine[known], len(images.fine_names), seed, split)


def image_groups(images: ImageSet) -> Groups:
    """Returns each image as a group of its own."""
    return Groups(images.images, np.arange(len(images)), None, len(images))


def _halved(images: NDArray[np.uint8], group: Labels, num_groups: int, seed: int, split: str) -> Groups:
    half = np.zeros(len(group), np.int64)
    order = numpy_stream(seed, f"connectivity/halves/{split}").permutation(len(group))
    for one in np.unique(group):
        members = order[group[order] == one]
        half[members[len(members) // 2 :]] = 1
    return Groups(images, group, half, num_groups)


def groups_with_all(*splits: Groups) -> list[int]:
    """Returns the groups that have two images at least in all splits, so that there are halves."""
    counts = np.stack([np.bincount(one.group, minlength=one.num_groups) for one in splits])
    return np.flatnonzero((counts >= 2).all(0)).tolist()


def classes_with_all(*splits: Groups) -> list[int]:
    """Returns the classes whose groups in both domains are in `groups_with_all`."""
    known, num_classes = groups_with_all(*splits), splits[0].num_groups // 2
    return [one for one in range(num_classes) if one in known and one + num_classes in known]


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
