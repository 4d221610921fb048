"""Batches from a stream: those that its order says, the same for any number of workers, in bounded memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from ray_ssl.batches import ImageSource, MemorySource, Share, StreamSource, read_here
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.data.base import ImageSet
from ray_ssl.data.streamed import StreamedSet
from ray_ssl.data_config import DataConfig
from ray_ssl.distributed import World
from tests.ray_ssl.data.images import png, write_parquet
from tests.ray_ssl.test_pretrain import Killed, config, images, train, weights

NUM_IMAGES = 300
CPU = torch.device("cpu")
ALONE = Share(seed=4, global_batch_size=32, world=World(0, 1))


def write_set(folder: Path, num_images: int = NUM_IMAGES) -> str:
    """Writes the images of test_pretrain as Parquet, 20 a row group; returns the data set's name."""
    for split, found in (("train", images(num_images, 0)), ("test", images(40, 1))):
        encoded = [png(image) for image in found.images]
        names = {"label": list(found.fine_names)}
        write_parquet(folder / f"{split}.parquet", list(encoded), names, rows_per_group=20, label=found.fine)
    return f"parquet:{folder}"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_set(tmp_path_factory.mktemp("set"))


def load(dataset: str, window: int | None = None) -> Dataset:
    options = {} if window is None else {"stream": True, "stream_window": window}
    return load_dataset(DataConfig.model_validate({"dataset": dataset, **options}))


def stream(dataset: str, window: int, share: Share = ALONE) -> StreamSource:
    found = load(dataset, window).train
    assert isinstance(found, StreamedSet)
    return StreamSource(found, share, read_here)


def rows(source: ImageSource, epoch: int, start_step: int = 0) -> list[list[int]]:
    return [batch.rows.tolist() for batch in source.batches(epoch, start_step)]


@pytest.mark.parametrize("window", [2, 50, 300])
def test_a_batch_holds_the_images_of_its_rows_and_an_epoch_every_image_once(dataset: str, window: int) -> None:
    memory, source = load(dataset).train, stream(dataset, window)
    assert isinstance(memory, ImageSet)
    for epoch in (1, 2):
        batches = list(source.batches(epoch))
        assert len(batches) == NUM_IMAGES // 32
        for batch in batches:
            np.testing.assert_array_equal(batch.images.numpy(), memory.images[batch.rows.numpy()])
        assert len({row for batch in batches for row in batch.rows.tolist()}) == len(batches) * 32
    assert rows(source, 1) == rows(source, 1) != rows(source, 2)
    assert (rows(source, 1) == rows(MemorySource(memory, ALONE, CPU), 1)) == (window == 300)


def test_an_epoch_goes_on_at_any_step_without_reading_what_was_trained_on(dataset: str) -> None:
    read: list[int] = []

    def counting(found: StreamedSet, wanted: list[np.ndarray]):
        read.append(sum(map(len, wanted)))
        return read_here(found, wanted)

    source = stream(dataset, 50)
    source.reader = counting  # type: ignore[assignment]
    memory = MemorySource(load(dataset).train, ALONE, CPU)  # type: ignore[arg-type]
    for each in (source, memory):
        whole = list(each.batches(3))
        for start in (1, 6, 9):
            rest = list(each.batches(3, start))
            assert len(rest) == 9 - start
            for a, b in zip(whole[start:], rest, strict=True):
                assert torch.equal(a.rows, b.rows)
                assert torch.equal(a.images, b.images)
    assert read == [9 * 32, 8 * 32, 3 * 32, 0]


def test_workers_have_the_consecutive_shares_of_one_workers_batches(dataset: str) -> None:
    whole = list(stream(dataset, 50).batches(1))
    shares = [list(stream(dataset, 50, ALONE._replace(world=World(rank, 2))).batches(1)) for rank in range(2)]
    for batch, first, second in zip(whole, *shares, strict=True):
        assert torch.equal(batch.rows, torch.cat((first.rows, second.rows)))
        assert torch.equal(batch.images, torch.cat((first.images, second.images)))


def test_memory_is_that_of_the_window_not_of_the_set(tmp_path: Path) -> None:
    name, image_bytes = write_set(tmp_path, 1000), 3 * 32 * 32
    peaks = []
    for window in (32, 1000):
        source = stream(name, window)
        tracemalloc.start()
        for _ in source.batches(1):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] > 1000 * image_bytes
    # The window and a batch, a portion that is decoded and encoded (read_here's: 256 + 20 images), a step's copies.
    assert peaks[0] < (32 + 32 + 2 * 276 + 2 * 32) * image_bytes + 200_000


def test_a_window_of_all_images_trains_to_the_bits_of_memory(dataset: str, tmp_path: Path) -> None:
    for name, window in (("memory", None), ("stream", NUM_IMAGES), ("narrow", 40)):
        train(config(training__epochs=2), load(dataset, window), tmp_path / name)
    memory, whole, narrow = (weights(tmp_path / name, 2) for name in ("memory", "stream", "narrow"))
    assert all(torch.equal(memory[key], whole[key]) for key in memory)
    assert not torch.equal(memory["backbone.stem.0.weight"], narrow["backbone.stem.0.weight"])


def test_killed_and_resumed_equals_uninterrupted(dataset: str, tmp_path: Path) -> None:
    whole = train(config(), load(dataset, 40), tmp_path / "whole")
    with pytest.raises(Killed):
        train(config(), load(dataset, 40), tmp_path / "killed", kill_after=2)
    resumed = train(config(), load(dataset, 40), tmp_path / "killed")
    for name in ("loss", "knn_accuracy"):
        assert [m[name] for m in whole.history] == [m[name] for m in resumed.history]
    a, b = weights(tmp_path / "whole", 4), weights(tmp_path / "killed", 4)
    assert all(torch.equal(a[key], b[key]) for key in a)
