"""`StreamedSet`: images of one split that stay in their files, and the order in which an epoch goes through them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np

from ray_ssl.data.base import ImageSet, balanced_rows
from ray_ssl.data.decode import EncodedSplit, Images, Labels, Rows, decode_serially
from ray_ssl.errors import UserError
from ray_ssl.rng import numpy_stream

NUM_SAMPLED: Final = (10_000, 5_000)
"""Training and test images at most that are held in memory, class-balanced: for channel statistics and online kNN."""
PORTION: Final = (256, 1024)
"""Images that are read and decoded at once: small row groups are read together, larger ones in parts."""


@dataclass(frozen=True)
class StreamedSet:
    """Images of one split with their labels; as `ImageSet`, but the images are decoded when they are asked for.

    Attributes:
        split: Their files and labels.
        rows: int64 [N], ascending: which images of the split.
        image_size: Height and width in pixels to decode to.
        window: Images that are shuffled together.
        num_sampled: Images of `sample`, at most.
        targets: As of `ImageSet`.
        domain: None: there are none.
    """

    domain: ClassVar[None] = None

    split: EncodedSplit
    rows: Rows
    image_size: int
    window: int
    num_sampled: int
    targets: Mapping[str, Labels] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def fine_names(self) -> tuple[str, ...]:
        """Class names."""
        return self.split.fine_names

    @property
    def coarse_names(self) -> tuple[str, ...]:
        """Superclass names, empty where there are none."""
        return self.split.coarse_names

    @cached_property
    def fine(self) -> Labels:
        """int64 [N] class labels."""
        return self.split.fine[self.rows]

    @property
    def strata(self) -> Labels:
        """As of `ImageSet`."""
        return self.fine

    @cached_property
    def coarse(self) -> Labels | None:
        """int64 [N] superclass labels, or None where the set has none."""
        return None if self.split.coarse is None else self.split.coarse[self.rows]

    @property
    def num_bytes(self) -> int:
        """Of the images that are held in memory."""
        return self.sample.num_bytes

    @cached_property
    def sample(self) -> ImageSet:
        """A class-balanced subset, decoded once: its first use reads the files."""
        return self.take(self._sampled)

    @property
    def _sampled(self) -> Rows:
        return balanced_rows(self.fine, min(len(self), self.num_sampled), seed=0)

    def take(self, rows: Rows) -> ImageSet:
        """Returns the images at ascending `rows`, decoded.

        Raises:
            UserError: An image cannot be decoded; names its place.
        """
        assert np.all(np.diff(rows) > 0)
        images = self.split.image_set(self.rows[rows], self.image_size)
        targets = {name: labels[rows] for name, labels in self.targets.items()}
        return replace(images, targets=targets)

    def narrowed(self, rows: Rows) -> StreamedSet:
        """Returns the set of the images at ascending `rows`, decoding none."""
        targets = {name: labels[rows] for name, labels in self.targets.items()}
        return replace(self, rows=self.rows[rows], targets=targets)

    def balanced_subset(self, num_images: int, seed: int) -> ImageSet:
        """As `ImageSet.balanced_subset`, which takes the same images; a subset of the sample is not decoded again."""
        if num_images > len(self):
            raise UserError(f"{num_images} images asked for, the set has {len(self)}")
        rows = balanced_rows(self.fine, num_images, seed)
        if seed == 0 and num_images <= self.num_sampled:  # a smaller balanced subset is part of a larger one
            return self.sample.take(np.searchsorted(self._sampled, rows))
        return self.take(rows)

    @property
    def images(self) -> Images:
        """Refuses to hold all images.

        Raises:
            UserError: Always.
        """
        raise UserError(f"this needs all {len(self)} images in memory: leave out --stream, or give fewer --num-images")

    def decoded(self, rows: Rows) -> Iterator[Images]:
        """Yields the images at `rows`, in that order, in portions; `rows` as one of `portions`.

        Raises:
            UserError: An image cannot be decoded; names its place.
        """
        for group in self.split.read(self.rows[rows]):
            yield from decode_serially(group, self.image_size)

    def update(self, digest: Any) -> None:
        """Feeds a hash with the files' description, labels, names, and with what decides the order of training.

        No image is decoded for it. See `EncodedSplit.identity` for the changes of a file that it notices.
        """
        shape = (len(self), self.image_size, self.image_size, 3)
        order = "files" if self.shards.max(initial=0) <= 1 else min(self.window, len(self))
        digest.update(repr(("streamed", shape, order, self.fine_names, self.coarse_names)).encode())
        digest.update(self.split.identity().encode())
        for array in (self.rows, self.fine, self.coarse):
            if array is not None:
                digest.update(np.ascontiguousarray(array).view(np.uint8).data)

    @cached_property
    def shards(self) -> Rows:
        """int64 [K]: how many of the N images each shard holds, in row order; shards without any left out."""
        ends = np.cumsum(self.split.shards)
        counts = np.diff(np.searchsorted(self.rows, ends), prepend=0)
        return counts[counts > 0]

    def order(self, seed: int, epoch: int) -> Order:
        """Returns the order of one epoch; see `epoch_order`."""
        return epoch_order(self.shards, self.window, seed, epoch)


class Order(NamedTuple):
    """One epoch, each row once in both.

    Attributes:
        read: int64 [N]: rows as they are read, those of a shard together and ascending.
        trained: int64 [N]: rows as they are trained on. Of the first n, all are among the first n + window read.
    """

    read: Rows
    trained: Rows


def epoch_order(shards: Rows, window: int, seed: int, epoch: int) -> Order:
    """Returns in which order an epoch reads its images and in which it trains on them.

    Shards are read in an order drawn anew each epoch. What is read goes into a window of `window` images; each
    image that is trained on is drawn from it, and the next one read takes its place. At the end the window is emptied
    in random order. Where shards are single images, or where the window holds them all, this is the uniformly random
    order of images in memory, and is drawn as it is.

    Args:
        shards: int64 [K], images of each shard.
        window: Images shuffled together, at least 1.
        seed: Of the trial.
        epoch: Counted from 1.
    """
    num_images = int(shards.sum())
    if len(shards) == num_images:
        trained = numpy_stream(seed, "order", epoch).permutation(num_images)
        return Order(trained, trained)
    starts = np.cumsum(shards) - shards
    drawn = numpy_stream(seed, "shards", epoch).permutation(len(shards))
    read = np.arange(num_images) + np.repeat(starts[drawn] - (np.cumsum(shards[drawn]) - shards[drawn]), shards[drawn])
    window = min(window, num_images)
    slots = numpy_stream(seed, "window", epoch).integers(window, size=num_images - window)
    # The image that leaves a slot is the one that came into it last: that of the slot's draw before, or its first.
    by_slot = np.argsort(slots, kind="stable")
    again = slots[by_slot[1:]] == slots[by_slot[:-1]]
    leaving = slots.copy()
    leaving[by_slot[1:][again]] = window + by_slot[:-1][again]
    left = np.arange(window)
    left[slots] = window + np.arange(len(slots))  # of a slot drawn several times the last one counts
    rest = np.sort(read[left])[numpy_stream(seed, "order", epoch).permutation(window)]
    return Order(read, np.concatenate((read[leaving], rest)))


def portions(rows: Rows, shards: Rows, smallest: int, largest: int) -> list[Rows]:
    """Cuts rows in reading order into what is read at once.

    Args:
        rows: Rows as they are read, those of a shard together and ascending.
        shards: int64 [K], images of each shard, in row order.
        smallest: Small shards are read together, up to this many images or more.
        largest: Longer ones are read in several parts.

    Returns:
        Consecutive parts of `rows`, none longer than `largest`.
    """
    if len(rows) == 0:
        return []
    owner = np.searchsorted(np.cumsum(shards), rows, side="right")
    edges = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), len(rows)]
    cuts = [0]
    for edge in edges[1:]:
        while edge - cuts[-1] > largest:
            cuts.append(cuts[-1] + largest)
        if edge - cuts[-1] >= smallest:
            cuts.append(edge)
    return np.split(rows, [cut for cut in cuts[1:] if cut < len(rows)])


def prefetched_bytes(image_size: int, num_tasks: int) -> int:
    """Returns how much of decoded images may wait for a trial's window: what `num_tasks` decode, and two portions."""
    return (num_tasks + 2) * PORTION[1] * 3 * image_size**2
