"""`ImageSet`: uint8 images in memory with fine and coarse labels; `Dataset`: a training and a test set.

Either set of a `Dataset` may instead be a `StreamedSet`, whose images stay in their files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ray_ssl.errors import UserError
from ray_ssl.rng import numpy_stream

if TYPE_CHECKING:
    from ray_ssl.data.streamed import StreamedSet

Split = Literal["train", "test"]

SOURCE: Final = 0
TARGET: Final = 1
EXTRA: Final = 2
UNLABELLED: Final = -1
"""In the place of labels that are not known: of images outside the source, of which no method may see any, and of a
target's images that have none."""


@dataclass(frozen=True)
class ImageSet:
    """Images of one split with their labels.

    Attributes:
        images: uint8 [N, H, W, C], C = 3, RGB.
        fine: int64 [N] class labels, 0 .. len(fine_names) - 1, or `UNLABELLED`, outside the source alone.
        fine_names: Class names.
        coarse: int64 [N] superclass labels, or None where the set has no superclasses.
        coarse_names: Superclass names, empty where there are none.
        targets: Name -> int64 [N] other labels, 0 .. len(fine_names) - 1: those of graded randomness.
        domain: int64 [N]: `SOURCE`, `TARGET` or `EXTRA` (as target, or further source, trained on alone), or None where
            the set has no domains. Images of all of them have labels; see `ray_ssl.targets` for what methods see.
        domain_names: Of the domains, empty where there are none.
    """

    images: NDArray[np.uint8]
    fine: NDArray[np.int64]
    fine_names: tuple[str, ...]
    coarse: NDArray[np.int64] | None = None
    coarse_names: tuple[str, ...] = ()
    targets: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    domain: NDArray[np.int64] | None = None
    domain_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.images.dtype == np.uint8 and self.images.ndim == 4 and self.images.shape[-1] == 3
        known = [(labels, self.fine_names, 0) for labels in self.targets.values()]
        labels_and_names = (
            (self.fine, self.fine_names, UNLABELLED), (self.coarse, self.coarse_names, UNLABELLED),
            (self.domain, self.domain_names, 0), *known,
        )  # fmt: skip
        for labels, names, least in labels_and_names:
            if labels is not None:
                assert labels.dtype == np.int64 and labels.shape == (len(self.images),)
                assert len(labels) == 0 or (labels.min() >= least and labels.max() < len(names))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_size(self) -> int:
        """Height of the images in pixels."""
        return self.images.shape[1]

    @property
    def strata(self) -> NDArray[np.int64]:
        """int64 [N]: what balanced subsets are balanced over: classes, or classes of domains."""
        return self.fine if self.domain is None else strata_of(self.fine, self.domain, len(self.fine_names))

    @property
    def num_bytes(self) -> int:
        """Of the images that are held in memory."""
        return self.images.nbytes

    @property
    def sample(self) -> ImageSet:
        """The images that statistics are taken of: all."""
        return self

    def update(self, digest: Any) -> None:
        """Feeds images, labels, names and domains to a hash."""
        digest.update(repr((self.images.shape, self.fine_names, self.coarse_names)).encode())
        for array in (self.images, self.fine, self.coarse):
            if array is not None:
                digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        if self.domain is not None:
            digest.update(repr(("domains", self.domain_names)).encode())
            digest.update(np.ascontiguousarray(self.domain).view(np.uint8).data)

    def take(self, rows: NDArray[np.int64]) -> ImageSet:
        """Returns the images at `rows`, in that order."""
        coarse, domain = (None if labels is None else labels[rows] for labels in (self.coarse, self.domain))
        targets = {name: labels[rows] for name, labels in self.targets.items()}
        return replace(
            self, images=self.images[rows], fine=self.fine[rows], coarse=coarse, targets=targets, domain=domain
        )

    def narrowed(self, rows: NDArray[np.int64]) -> ImageSet:
        """As `take`; a `StreamedSet` stays one."""
        return self.take(rows)

    def balanced_subset(self, num_images: int, seed: int) -> ImageSet:
        """Returns `num_images` images, as equal in number per class (of a domain) as there are, in stored order.

        Args:
            num_images: 1 .. len(self).
            seed: Chooses which images of a class are taken. A smaller subset is part of a larger one.

        Raises:
            UserError: More images are asked for than there are.
        """
        if num_images > len(self):
            raise UserError(f"{num_images} images asked for, the set has {len(self)}")
        return self.take(balanced_rows(self.strata, num_images, seed))


def strata_of(fine: NDArray[np.int64], domain: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Returns classes of domains, int64 [N], for `balanced_rows`.

    Images without a label are dealt to as many strata as there are classes: a domain without labels weighs what one
    with labels does.

    Args:
        fine: int64 [N] class labels or `UNLABELLED`.
        domain: int64 [N].
        num_classes: Of the labels.
    """
    unknown = fine == UNLABELLED
    if not unknown.any():
        return domain * num_classes + fine
    strata = fine.copy()
    strata[unknown] = num_classes + np.arange(unknown.sum()) % num_classes
    return domain * 2 * num_classes + strata


def missing_labels(dataset: Dataset, *splits: Split) -> str:
    """Returns how many images outside the source have no label, in words; "" where all have one.

    Args:
        dataset: With or without domains.
        splits: Those whose labels are wanted.
    """
    for split in splits:
        images = {"train": dataset.train, "test": dataset.test}[split]
        if images.domain is None:
            continue
        others = images.fine[images.domain != SOURCE]
        if num_unknown := int((others == UNLABELLED).sum()):
            what = "training" if split == "train" else "test"
            name = images.domain_names[TARGET]
            return f"{num_unknown} of {len(others)} {what} images outside the source (target {name}) have no label"
    return ""


def require_labels(purpose: str, dataset: Dataset, *splits: Split) -> None:
    """Refuses a target with missing labels where they are asked for.

    Args:
        purpose: What asks for them.
        dataset: With or without domains.
        splits: See `missing_labels`.

    Raises:
        UserError: A label is missing.
    """
    if missing := missing_labels(dataset, *splits):
        raise UserError(
            f"{purpose} asks for labels of the target, and {missing}: give a target with labels, in class folders or a "
            "label column; python -m analysis advise needs none"
        )


def balanced_rows(fine: NDArray[np.int64], num_images: int, seed: int) -> NDArray[np.int64]:
    """Returns the rows that `ImageSet.balanced_subset` takes, ascending, from the class labels alone."""
    order = numpy_stream(seed, "subset").permutation(len(fine))
    # Rank of each image inside its class, in random order; the lowest ranks are taken from every class.
    rank = np.empty(len(fine), np.int64)
    for label in np.unique(fine):
        members = order[fine[order] == label]
        rank[members] = np.arange(len(members))
    return np.sort(order[np.argsort(rank[order], kind="stable")[:num_images]])


@dataclass(frozen=True)
class Dataset:
    """A training and a test set over the same classes.

    Attributes:
        name: Of the set.
        train: Training images.
        test: Test images, with targets of the same names.
        target_randomness: Name -> measured randomness of each target, 0..1.
        note: For people: how source and target were made, where there are any; lines, of which the first says what the
            others list.
        validation: Source images like the training ones that are not trained on, for choosing among trials; None: none
            are held out.
    """

    name: str
    train: ImageSet | StreamedSet
    test: ImageSet | StreamedSet
    target_randomness: Mapping[str, float] = field(default_factory=dict)
    validation: ImageSet | None = None
    note: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of all that is computed from: images, labels and names of both splits.

        Of streamed images it takes the files' description and what decides their order: see `StreamedSet.update`.
        """
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            split.update(digest)
        if self.validation is not None:
            digest.update(b"validation")
            self.validation.update(digest)
        return digest.hexdigest()

    @property
    def num_bytes(self) -> int:
        """Of the images that are held in memory."""
        held_out = 0 if self.validation is None else self.validation.num_bytes
        return self.train.num_bytes + self.test.num_bytes + held_out

    @cached_property
    def channel_statistics(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Mean and standard deviation of the training images (streamed: of their sample) by channel, 0..1 scale."""
        images = self.train.sample.images
        counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(3)])
        level = np.arange(256) / 255
        share = counts / counts.sum(1, keepdims=True)  # [3, 256]
        mean = share @ level
        std = np.sqrt(np.maximum(share @ level**2 - mean**2, 1e-8))
        r, g, b = (float(m) for m in mean)
        sr, sg, sb = (float(s) for s in std)
        return (r, g, b), (sr, sg, sb)
