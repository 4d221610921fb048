"""CIFAR: the superclass map is the published one, files are checked before they are read, downloads are locked."""

import os
import pickle
import threading
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from torchvision import datasets

from ray_ssl.data import cifar, load_dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError
from tests.ray_ssl.data.images import random_images


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setenv("RAY_SSL_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fake_source(num_classes: int, names: tuple[str, ...]):
    def source(root: str, train: bool, download: bool) -> SimpleNamespace:
        num_images = num_classes * (2 if train else 1)
        targets = [i % num_classes for i in range(num_images)]
        return SimpleNamespace(data=random_images(num_images, 32, seed=train), targets=targets, classes=list(names))

    return source


def test_the_superclass_map_is_that_of_the_real_data() -> None:
    folder = os.environ.get("RAY_SSL_CIFAR100")
    if not folder:
        pytest.skip("RAY_SSL_CIFAR100 names no folder with CIFAR-100 as Parquet")
    for file in Path(folder).glob("*.parquet"):
        labels = pq.read_table(file, columns=["fine_label", "coarse_label"])
        fine = labels["fine_label"].to_numpy()
        np.testing.assert_array_equal(cifar.FINE_TO_COARSE[fine], labels["coarse_label"].to_numpy())


def test_the_superclass_map_has_20_times_5_classes_in_alphabetical_order() -> None:
    assert np.bincount(cifar.FINE_TO_COARSE).tolist() == [5] * 20
    assert list(cifar.FINE_NAMES) == sorted(set(cifar.FINE_NAMES))
    assert len(cifar.FINE_NAMES) == 100
    assert list(cifar.COARSE_NAMES) == sorted(cifar.COARSE_NAMES)


def test_cifar100_has_superclasses_and_cifar10_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "CIFAR100", fake_source(100, cifar.FINE_NAMES))
    monkeypatch.setattr(datasets, "CIFAR10", fake_source(10, tuple("abcdefghij")))
    hundred, ten = (load_dataset(DataConfig(dataset=f"cifar{n}", num_images=20)) for n in (100, 10))
    assert hundred.train.coarse is not None
    np.testing.assert_array_equal(hundred.train.coarse, cifar.FINE_TO_COARSE[hundred.train.fine])
    assert (hundred.name, ten.name) == ("cifar100", "cifar10")
    assert ten.train.coarse is None
    assert ten.train.fine_names == tuple("abcdefghij")
    np.testing.assert_array_equal(ten.train.images, random_images(20, 32, seed=1))


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_no_network_is_one_line_that_says_what_to_do(cache: Path, dataset: str) -> None:
    with pytest.raises(UserError, match=f"{dataset} .*unreachable.* put .*gz into {cache}.* parquet:PATH") as caught:
        load_dataset(DataConfig(dataset=dataset))
    assert "\n" not in str(caught.value)


def test_a_cache_folder_that_cannot_be_made_is_one_line(cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(UserError, match="cifar10 could not be had"):
        load_dataset(DataConfig(dataset="cifar10"))


class Trap:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path(os.environ["RAY_SSL_DATA"]) / "sprung",)


def test_a_forged_file_is_never_unpickled(cache: Path) -> None:
    folder = cache / "cifar-100-python"
    folder.mkdir(parents=True)
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="cifar100 could not be had"):
        load_dataset(DataConfig(dataset="cifar100"))
    assert not (cache / "sprung").exists()


def test_downloads_of_several_starters_never_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = [0], [0]
    fake = fake_source(10, tuple("abcdefghij"))

    def counting(root: str, train: bool, download: bool) -> SimpleNamespace:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.02)
        inside[0] -= 1
        return fake(root, train, download)

    monkeypatch.setattr(datasets, "CIFAR10", counting)
    starters = [threading.Thread(target=load_dataset, args=(DataConfig(dataset="cifar10"),)) for _ in range(4)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert most == [1]
