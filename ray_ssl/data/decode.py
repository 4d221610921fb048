"""From encoded images and labels to a `Dataset`: held-out split, balanced subset, then decoding in threads."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ray_ssl.data.base import UNLABELLED, Dataset, ImageSet, balanced_rows
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError
from ray_ssl.rng import numpy_stream

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Rows = NDArray[np.int64]
Encoded = tuple[str, bytes | Path]  # where the image stands, for the error line, and its encoded bytes or its file

IMAGES_PER_TASK: Final = 256
NUM_THREADS: Final = min(16, os.cpu_count() or 1)


@dataclass(frozen=True)
class EncodedSplit:
    """One split whose labels are known and whose images are not decoded yet.

    Attributes:
        fine: int64 [N] class labels, or `UNLABELLED`.
        fine_names: Class names.
        coarse: int64 [N] superclass labels or None.
        coarse_names: Superclass names, empty where there are none.
        read: Rows, int64 [M] -> groups of M encoded images in all, in that order. Rows of one shard stand together
            and ascend.
        shards: int64 [K], how many consecutive images lie in each portion of a file that is read at once; ones where
            each image is a file.
        identity: -> sha256 of what describes the files without reading their images: their sizes and what they say of
            their content. An image that is replaced by another of the same encoded size goes unnoticed.
    """

    fine: Labels
    fine_names: tuple[str, ...]
    coarse: Labels | None
    coarse_names: tuple[str, ...]
    read: Callable[[Rows], Iterable[Sequence[Encoded]]]
    shards: Rows
    identity: Callable[[], str]

    def image_set(self, rows: Rows, image_size: int) -> ImageSet:
        """Returns the decoded images at `rows`.

        Raises:
            UserError: An image cannot be decoded; names its place.
        """
        images = decode(self.read(rows), len(rows), image_size)
        coarse = None if self.coarse is None else self.coarse[rows]
        return ImageSet(images, self.fine[rows], self.fine_names, coarse, self.coarse_names)


def build_dataset(name: str, train: EncodedSplit, test: EncodedSplit | None, config: DataConfig) -> Dataset:
    """Returns the data set that `config` asks for, decoding no image that is not part of it, and none to be streamed.

    Args:
        name: Short name for tables.
        train: The training split, or the only one.
        test: The test split; None holds out `config.test_fraction` of each class of `train`.
        config: Sizes, fraction and seed.

    Raises:
        UserError: More images are asked for than there are, a class is too small to hold an image out, or an
            image cannot be decoded.
    """
    if test is None:
        fraction, seed = config.test_fraction, config.data_seed
        train_rows, test_rows = held_out_rows(train.fine, train.fine_names, fraction, seed, config.dataset)
        test = train
    else:
        train_rows, test_rows = np.arange(len(train.fine)), np.arange(len(test.fine))
    # Both are chosen before either is decoded: a wrong number is reported at once.
    size, seed = config.image_size, config.data_seed
    train_rows = train_rows[rows_to_take(train.fine[train_rows], "num_images", config.num_images, seed)]
    test_rows = test_rows[rows_to_take(test.fine[test_rows], "num_test_images", config.num_test_images, seed)]
    if config.stream:
        from ray_ssl.data.streamed import NUM_SAMPLED, StreamedSet

        window, (num_train, num_test) = config.stream_window, NUM_SAMPLED
        streamed = StreamedSet(train, train_rows, size, window, num_train)
        return Dataset(name, streamed, StreamedSet(test, test_rows, size, window, num_test))
    return Dataset(name, train.image_set(train_rows, size), test.image_set(test_rows, size))


def held_out_rows(fine: Labels, names: Sequence[str], fraction: float, seed: int, dataset: str) -> tuple[Rows, Rows]:
    """Returns the training and the test rows: of each class a random `fraction` is held out, at least one image.

    Args:
        fine: int64 [N] class labels.
        names: Class names.
        fraction: Share of each class, 0 < fraction < 1, rounded to whole images; one stays for training.
        seed: Chooses the images.
        dataset: Named where that cannot be.

    Raises:
        UserError: A class has a single image.
    """
    order = numpy_stream(seed, "held_out").permutation(len(fine))
    held_out = np.zeros(len(fine), np.bool_)
    for label in np.unique(fine):
        members = order[fine[order] == label]
        if len(members) < 2:
            class_ = "the one without a label" if label == UNLABELLED else f"class {names[label]!r}"
            raise UserError(
                f"{dataset}: {class_} has 1 image and there is no test split: give a test split, or at least 2 images "
                "a class"
            )
        num_test = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held_out[members[:num_test]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def rows_to_take(fine: Labels, option: str, asked: int | None, seed: int) -> Rows:
    """Returns the rows that `ImageSet.balanced_subset` would take, known before any image is decoded.

    Args:
        fine: int64 [N] class labels.
        option: The option that asks, for the error line.
        asked: Number of images; None takes all.
        seed: As in `ImageSet.balanced_subset`.

    Raises:
        UserError: More images are asked for than there are.
    """
    check_count(option, asked, len(fine))
    if asked is None or len(fine) == 0:
        return np.arange(len(fine))
    return balanced_rows(fine, asked, seed)


class TooManyError(UserError):
    """More images are asked for than there are.

    Attributes:
        option: Of `DataConfig`, which asks.
        asked, available: Numbers of images.
    """

    def __init__(self, option: str, asked: int, available: int) -> None:
        super().__init__(f"--{option.replace('_', '-')} {asked} is more than there are: at most {available}")
        self.option, self.asked, self.available = option, asked, available


def check_count(option: str, asked: int | None, available: int) -> None:
    """Refuses a subset that is larger than its set.

    Raises:
        TooManyError: More images are asked for than there are.
    """
    if asked is not None and asked > available:
        raise TooManyError(option, asked, available)


def decode(groups: Iterable[Sequence[Encoded]], num_images: int, image_size: int) -> Images:
    """Returns the images as uint8 [N, S, S, 3]; the next group is read while the one before it is decoded.

    Args:
        groups: Encoded images, N in all.
        num_images: N.
        image_size: S; images of another size are cut to their central square and resized with antialiasing.

    Raises:
        UserError: An image cannot be decoded; the first one is named.
    """
    images = np.empty((num_images, image_size, image_size, 3), np.uint8)
    pool = ThreadPoolExecutor(NUM_THREADS)  # Pillow decodes and resizes without the GIL
    try:
        start, pending = 0, list[Future[None]]()
        for group in groups:
            submitted = [
                pool.submit(_decode_into, images[start + first :], group[first : first + IMAGES_PER_TASK])
                for first in range(0, len(group), IMAGES_PER_TASK)
            ]
            start += len(group)
            for task in pending:
                task.result()
            pending = submitted
        for task in pending:
            task.result()
    finally:
        pool.shutdown(cancel_futures=True)
    assert start == num_images, f"read {start} of {num_images} images"
    return images


def decode_serially(encoded: Sequence[Encoded], image_size: int) -> Iterator[Images]:
    """Yields uint8 [n, S, S, 3] as `decode`, `IMAGES_PER_TASK` images at a time, without threads.

    Raises:
        UserError: An image cannot be decoded; it is named.
    """
    for first in range(0, len(encoded), IMAGES_PER_TASK):
        portion = encoded[first : first + IMAGES_PER_TASK]
        images = np.empty((len(portion), image_size, image_size, 3), np.uint8)
        _decode_into(images, portion)
        yield images


def resize(images: Images, image_size: int) -> Images:
    """Returns uint8 [N, S, S, 3] of uint8 [N, H, W, 3], as `decode` resizes; the same array where S = H = W."""
    if images.shape[1:3] == (image_size, image_size):
        return images
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return np.stack(list(pool.map(lambda image: np.asarray(_square(Image.fromarray(image), image_size)), images)))


def _decode_into(out: Images, encoded: Sequence[Encoded]) -> None:
    size = out.shape[1]
    for i, (place, source) in enumerate(encoded):
        try:
            with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
                out[i] = np.asarray(_square(_rgb(image), size))
        except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
            reason = str(error).split("\n")[0].partition(" <_io")[0]
            raise UserError(f"{place}: not a readable image ({reason}); replace or remove it") from None


def _rgb(image: Image.Image) -> Image.Image:
    """The upright image in RGB; transparency is dropped, 16-bit grey keeps its upper 8 bits."""
    if image.format != "PNG":
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow's own advice, given as a warning
    return image if image.mode == "RGB" else image.convert("RGB")


def _square(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)  # Pillow antialiases where it shrinks
