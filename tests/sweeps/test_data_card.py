"""What a sweep remembers of its data holds exactly as long as the data and the options are the same."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ray_ssl.data import load_dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.storage import Storage
from sweeps.data_card import DATA, DataCard


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(2):
                pixels = np.full((8, 8, 3), 40 * i + len(split), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "images"


def test_a_card_holds_what_was_loaded(images: Path, tmp_path: Path) -> None:
    sweep = Storage.at(tmp_path / "sweep")
    for config in (DataConfig(dataset=f"folder:{images}"), DataConfig(num_images=100, num_test_images=40)):
        dataset = load_dataset(config)
        card = DataCard.of(dataset)
        card.keep(sweep, config)
        assert DataCard.recall(sweep, config) == card
        assert (card.fingerprint, card.num_train, card.num_test) == (
            dataset.fingerprint, len(dataset.train), len(dataset.test)
        )  # fmt: skip


def test_it_is_forgotten_when_anything_changes(images: Path, tmp_path: Path) -> None:
    sweep = Storage.at(tmp_path / "sweep")
    config = DataConfig(dataset=f"folder:{images}")
    assert DataCard.recall(sweep, config) is None
    DataCard.of(load_dataset(config)).keep(sweep, config)
    assert DataCard.recall(sweep, config) is not None
    assert DataCard.recall(sweep, config.model_copy(update={"image_size": 16})) is None
    assert DataCard.recall(sweep, config.model_copy(update={"num_images": 2})) is None

    file = images / "train" / "a" / "0.png"
    times = file.stat()
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert DataCard.recall(sweep, config) is None
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert DataCard.recall(sweep, config) is not None
    file.rename(file.with_name("9.png"))
    assert DataCard.recall(sweep, config) is None
    file.with_name("9.png").rename(file)
    (images / "train" / "a" / "new.png").write_bytes(file.read_bytes())
    assert DataCard.recall(sweep, config) is None


def test_both_sets_of_a_shift_count(images: Path, tmp_path: Path) -> None:
    sweep = Storage.at(tmp_path / "sweep")
    target = shutil.copytree(images, tmp_path / "target")
    config = DataConfig(dataset=f"folder:{images}", shift=f"to:folder:{target}", image_size=8)
    card = DataCard.of(load_dataset(config))
    card.keep(sweep, config)
    assert DataCard.recall(sweep, config) == card
    assert "2 classes in common" in card.note
    assert DataCard.recall(sweep, config.model_copy(update={"shift": ""})) is None
    (target / "train" / "a" / "0.png").touch()
    assert DataCard.recall(sweep, config) is None


def test_a_torn_card_counts_as_none(images: Path, tmp_path: Path) -> None:
    sweep = Storage.at(tmp_path / "sweep")
    config = DataConfig(dataset=f"folder:{images}")
    DataCard.of(load_dataset(config)).keep(sweep, config)
    sweep.write(DATA, sweep.read(DATA)[:-1])
    assert DataCard.recall(sweep, config) is None


@pytest.mark.parametrize("target", ["nowhere", "x.png"], ids=["dangling", "loop"])
def test_a_broken_link_leaves_the_error_to_loading(images: Path, tmp_path: Path, target: str) -> None:
    (images / "train" / "a" / "x.png").symlink_to(target)
    assert DataCard.recall(Storage.at(tmp_path / "sweep"), DataConfig(dataset=f"folder:{images}")) is None
    (images / "train" / "a" / "x.png").unlink()
