"""Where the images of every training step come from: memory, or a stream of files. Knows no Ray."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ray_ssl.data.base import ImageSet
from ray_ssl.data.decode import Images, Rows
from ray_ssl.data.streamed import PORTION, StreamedSet, portions
from ray_ssl.distributed import World
from ray_ssl.rng import numpy_stream

RESIDENT_BYTES: Final = 4 << 30
"""Training images up to this size are kept on the training device."""

Reader = Callable[[StreamedSet, Sequence[Rows]], Iterator[Images]]
"""Decodes portions of rows in their order; the pieces it yields are cut as it likes."""


class Batch(NamedTuple):
    """This worker's share of one global batch.

    Attributes:
        images: uint8 [B / workers, H, W, 3].
        rows: int64 [B / workers], which images of the training set these are.
    """

    images: Tensor
    rows: Tensor


class ImageSource(Protocol):
    """Gives the images of every step, the same whatever was asked of it before."""

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch, from `start_step` (counted from 0) on.

        Every image is in one batch of an epoch, but for those that fill no last one.
        """
        ...


class Share(NamedTuple):
    """How the steps of a trial take their images.

    Attributes:
        seed: Of the trial.
        global_batch_size: Images a step, of all workers.
        world: This worker's place.
    """

    seed: int
    global_batch_size: int
    world: World

    def of(self, order: Rows) -> Rows:
        """Returns this worker's rows of every step, int64 [steps, B / workers]; what fills no batch is left out."""
        size = self.global_batch_size
        steps = order[: len(order) // size * size].reshape(-1, size)
        return np.split(steps, self.world.size, axis=1)[self.world.rank]


class MemorySource:
    """Images in memory, in uniformly random order."""

    def __init__(self, images: ImageSet, share: Share, device: torch.device, rows: Rows | None = None) -> None:
        """`rows`: those that are trained on, int64 [n]; None: all."""
        self.share, self.images, self.rows = share, as_tensor(images.images), rows
        if device.type != "cpu" and images.num_bytes <= RESIDENT_BYTES:
            self.images = self.images.to(device)

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """As `ImageSource.batches`."""
        trained = len(self.images) if self.rows is None else self.rows
        order = numpy_stream(self.share.seed, "order", epoch).permutation(trained)
        for rows in torch.from_numpy(self.share.of(order)[start_step:]):
            # Copies whole images, where indexing goes byte by byte.
            yield Batch(self.images.index_select(0, rows.to(self.images.device)), rows)


class StreamSource:
    """Images that are read from their files in every epoch.

    It holds the window's images (of several workers, each about its share of them) and one piece of what `reader`
    yields. A worker decodes the images of its own batches alone.
    """

    def __init__(self, images: StreamedSet, share: Share, reader: Reader) -> None:
        self.share, self.images, self.reader = share, images, reader

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """As `ImageSource.batches`; shards without an image of the steps that are left are not read."""
        order = self.images.order(self.share.seed, epoch)
        steps = self.share.of(order.trained)[start_step:]
        mine = np.zeros(len(self.images), np.bool_)
        mine[steps] = True
        read = order.read[mine[order.read]]
        pieces = self.reader(self.images, portions(read, self.images.shards, *PORTION))
        window = _Window(read, steps, self.images.image_size)
        for rows in steps:
            yield Batch(torch.from_numpy(window.take(rows, pieces)), torch.from_numpy(rows))


class _Window:
    """Images that were read and not trained on yet, in a block of memory of the size that the plan needs."""

    def __init__(self, read: Rows, steps: Rows, image_size: int) -> None:
        """`read`: int64 [n], rows as they arrive; `steps`: int64 [steps, B], the same rows as they leave."""
        self.place = np.empty(int(read.max(initial=-1)) + 1, np.int32)  # of a row: first its arrival, then its slot
        self.place[read] = np.arange(len(read))
        latest = self.place[steps].max(1, initial=-1) + 1
        self.needed = np.maximum.accumulate(latest)  # how many must have arrived at each step
        size = int((self.needed - np.arange(len(steps)) * steps.shape[1]).max(initial=0))
        self.images = np.empty((size, image_size, image_size, 3), np.uint8)
        self.free = np.arange(size)
        self.read, self.num_arrived, self.step = read, 0, 0
        self.piece: Images = self.images[:0]

    def take(self, rows: Rows, pieces: Iterator[Images]) -> Images:
        """Returns copies of the images of the next step, after what it needs has arrived."""
        while self.num_arrived < self.needed[self.step]:
            if len(self.piece) == 0:
                self.piece = next(pieces)
                continue
            count = min(len(self.piece), int(self.needed[self.step]) - self.num_arrived)
            slots, self.free = self.free[:count], self.free[count:]
            self.images[slots] = self.piece[:count]
            self.place[self.read[self.num_arrived : self.num_arrived + count]] = slots
            self.piece = self.piece[count:]
            self.num_arrived += count
        self.step += 1
        slots = self.place[rows]
        self.free = np.concatenate((self.free, slots))
        return self.images[slots]


def read_here(images: StreamedSet, wanted: Sequence[Rows]) -> Iterator[Images]:
    """The plain `Reader`: decodes in this thread, when asked."""
    for rows in wanted:
        yield from images.decoded(rows)


def image_source(
    images: ImageSet | StreamedSet, share: Share, device: torch.device, reader: Reader, rows: Rows | None = None
) -> ImageSource:
    """Returns what gives the batches of these training images.

    Args:
        images: In memory or streamed.
        share: How steps take them.
        device: Where they are trained on.
        reader: Of streamed ones.
        rows: Of images in memory, those that are trained on, int64 [n]; None: all.
    """
    if isinstance(images, StreamedSet):
        assert rows is None, "streamed sets have no domains"
        return StreamSource(images, share, reader)
    return MemorySource(images, share, device, rows)


def as_tensor(array: NDArray[Any]) -> Tensor:
    """Returns a tensor on the array's own memory; arrays in Ray's object store are read-only, and so is our use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)
