"""Streamed sets: the order is the documented one, the images are those of memory, and the files are told apart."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ray_ssl.data import Dataset, decode, load_dataset
from ray_ssl.data.streamed import StreamedSet, epoch_order, portions
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError
from ray_ssl.rng import numpy_stream
from tests.ray_ssl.data.images import png, random_images, write_folder, write_parquet

SHARDS = np.array([7, 7, 3, 7, 1, 7, 7])


def load(dataset: str, **options: object) -> Dataset:
    return load_dataset(DataConfig.model_validate({"dataset": dataset, "image_size": 16, **options}))


def streamed(dataset: str, **options: object) -> tuple[StreamedSet, StreamedSet]:
    found = load(dataset, stream=True, **options)
    assert isinstance(found.train, StreamedSet)
    assert isinstance(found.test, StreamedSet)
    return found.train, found.test


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same 60 images as Parquet without a test split, in two files, and as a folder with one."""
    root = tmp_path_factory.mktemp("sets")
    images, fine = random_images(60), np.arange(60) % 4
    names = {"label": list("abcd")}
    for number, rows in enumerate((slice(0, 26), slice(26, 60))):
        encoded = [png(image) for image in images[rows]]
        write_parquet(root / f"parquet/train-{number}.parquet", list(encoded), names, label=fine[rows])
    classes = {f"{split}/{name}": images[fine == label] for label, name in enumerate("abcd")
               for split in ("train", "test")}  # fmt: skip
    return {"parquet": f"parquet:{root}/parquet", "folder": f"folder:{write_folder(root / 'folder', classes)}"}


def naive_order(window: int, seed: int, epoch: int) -> list[int]:
    """The order as its docstring tells it, image by image."""
    starts = np.cumsum(SHARDS) - SHARDS
    shards = numpy_stream(seed, "shards", epoch).permutation(len(SHARDS))
    coming = [int(starts[k]) + i for k in shards for i in range(SHARDS[k])]
    held, coming = coming[:window], coming[window:]
    trained = []
    for slot, row in zip(numpy_stream(seed, "window", epoch).integers(window, size=len(coming)), coming, strict=True):
        trained.append(held[slot])
        held[slot] = row
    held.sort()
    return trained + [held[i] for i in numpy_stream(seed, "order", epoch).permutation(len(held))]


@pytest.mark.parametrize("window", [1, 2, 10, 38])
def test_the_order_is_that_of_a_window_moved_image_by_image(window: int) -> None:
    for seed, epoch in ((0, 1), (5, 3)):
        order = epoch_order(SHARDS, window, seed, epoch)
        assert order.trained.tolist() == naive_order(window, seed, epoch)
        arrival = np.argsort(order.read)[order.trained]
        assert (arrival < np.arange(39) + window).all()  # the window never holds more


def test_every_image_once_in_another_order_in_every_epoch_and_for_every_seed() -> None:
    orders = [epoch_order(SHARDS, 10, seed, epoch) for seed, epoch in ((0, 1), (0, 2), (1, 1), (0, 1))]
    for order in orders:
        assert sorted(order.read) == sorted(order.trained) == list(range(39))
    trained = [order.trained.tolist() for order in orders]
    assert trained[0] == trained[3]
    assert trained[0] != trained[1] != trained[2] != trained[0]


def test_single_images_and_a_window_of_all_have_the_order_of_memory() -> None:
    memory = numpy_stream(3, "order", 2).permutation(39)
    for shards, window in ((SHARDS, 39), (SHARDS, 10_000), (np.ones(39, np.int64), 2)):
        np.testing.assert_array_equal(epoch_order(shards, window, 3, 2).trained, memory)


def test_portions_join_small_shards_and_cut_large_ones() -> None:
    shards = np.array([2, 3, 40, 1, 1, 9])
    read = np.concatenate([np.arange(5, 45), np.arange(0, 2), np.arange(47, 56), np.arange(2, 5)])
    parts = portions(read, shards, 4, 16)
    np.testing.assert_array_equal(np.concatenate(parts), read)
    assert [len(part) for part in parts] == [16, 16, 8, 11, 3]
    assert portions(read[:0], shards, 4, 16) == []


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_images_labels_and_subsets_are_those_of_memory(sets: dict[str, str], kind: str) -> None:
    for options in ({}, {"num_images": 21, "num_test_images": 5, "data_seed": 3}):
        memory = load(sets[kind], **options)
        for whole, stream in zip((memory.train, memory.test), streamed(sets[kind], **options), strict=True):
            assert (len(stream), stream.fine_names, stream.coarse) == (len(whole), whole.fine_names, None)
            np.testing.assert_array_equal(stream.fine, whole.fine)
            np.testing.assert_array_equal(stream.take(np.arange(len(whole))).images, whole.images)
            for seed in (0, 1):
                few = stream.balanced_subset(4, seed)
                np.testing.assert_array_equal(few.images, whole.balanced_subset(4, seed).images)
                np.testing.assert_array_equal(few.fine, whole.balanced_subset(4, seed).fine)
            order = stream.order(0, 1).read
            parts = [image for part in portions(order, stream.shards, 5, 6) for image in stream.decoded(part)]
            np.testing.assert_array_equal(np.concatenate(parts), whole.images[order])
        assert load(sets[kind], stream=True, **options).channel_statistics == memory.channel_statistics


def test_the_sample_is_bounded_and_class_balanced(sets: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray_ssl.data.streamed.NUM_SAMPLED", (8, 4))
    train, test = streamed(sets["parquet"])
    assert (len(train.sample), len(test.sample)) == (8, 4)
    assert np.bincount(train.sample.fine).tolist() == [2] * 4
    np.testing.assert_array_equal(
        train.balanced_subset(6, 0).images, load(sets["parquet"]).train.balanced_subset(6, 0).images
    )
    with pytest.raises(UserError, match="needs all 48 images in memory: leave out --stream"):
        _ = train.images


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_the_fingerprint_tells_files_and_order_and_decodes_nothing(
    sets: dict[str, str], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(decode, "_decode_into", never)
    source, _, path = sets[kind].partition(":")
    copy = Path(shutil.copytree(path, tmp_path / "copy"))

    def fingerprint(**options: object) -> str:
        return load(f"{source}:{copy}", stream=True, **options).fingerprint

    first = fingerprint()
    assert first == load(sets[kind], stream=True).fingerprint  # by content, not by place
    others = [fingerprint(data_seed=1, num_images=20), fingerprint(num_images=20), fingerprint(image_size=8)]
    assert len({first, *others}) == 4
    assert (fingerprint(stream_window=20) == first) == (kind == "folder")  # whose files have no use for a window
    assert fingerprint(stream_window=9999) == first  # both hold all
    file = next(copy.rglob("*1*.p*"))
    if kind == "folder":
        file.write_bytes(png(random_images(1, 20)[0]))
    else:
        fine = np.arange(26, 60) % 4
        images = [png(image) for image in random_images(60)[26:]]
        images[5] = png(random_images(1, 20)[0])
        write_parquet(file, list(images), {"label": list("abcd")}, label=fine)
    assert fingerprint() != first


def test_a_damaged_image_is_named_by_file_and_row(sets: dict[str, str], tmp_path: Path) -> None:
    images: list[bytes | None] = [png(image) for image in random_images(20)]
    for bad, reason in ((b"no image", "not a readable image"), (None, "the image is null")):
        images[16] = bad
        write_parquet(tmp_path / "train-0.parquet", images, label=np.arange(20) % 2)
        write_parquet(tmp_path / "test-0.parquet", images[:4], label=np.arange(4) % 2)
        train, _ = streamed(f"parquet:{tmp_path}")
        with pytest.raises(UserError, match=rf"train-0\.parquet, row 16: {reason}"):
            list(train.decoded(np.arange(14, 20)))
    files = shutil.copytree(sets["folder"].partition(":")[2], tmp_path / "folder")
    (Path(files) / "train/c/003.png").write_bytes(b"no image")
    train, _ = streamed(f"folder:{files}")
    with pytest.raises(UserError, match=r"train/c/003\.png: not a readable image"):
        list(train.decoded(np.arange(60)[::-1]))


def test_only_files_are_streamed_and_only_parquet_has_a_window() -> None:
    with pytest.raises(ValueError, match="stream is for parquet:PATH and folder:PATH, shapes is always held in memory"):
        DataConfig(stream=True)
    assert "stream_window" in DataConfig(dataset="folder:x", stream=True).without_effect()
    assert "stream_window" in DataConfig(dataset="parquet:x").without_effect()
    assert "stream_window" not in DataConfig(dataset="parquet:x", stream=True).without_effect()
