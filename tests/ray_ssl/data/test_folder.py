"""Folders: exact pixels back, classes and superclasses from names, one clear line for each bad folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ray_ssl.data import Dataset, load_dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError
from tests.ray_ssl.data.images import random_images, write_folder

IMAGES = random_images(2)


def load(path: Path, num_images: int | None = None) -> Dataset:
    return load_dataset(DataConfig(dataset=f"folder:{path}", image_size=16, num_images=num_images))


def test_round_trip_of_splits_and_superclasses_to_exact_pixels(tmp_path: Path) -> None:
    cat, ant, mug = (random_images(3, seed=s) for s in range(3))
    folder = write_folder(
        tmp_path / "pets",
        {"train/animal/cat": cat, "train/animal/ant": ant, "train/thing/mug": mug, "val/thing/mug": mug[:2]},
    )
    dataset = load(folder)
    assert dataset.name == "pets"
    assert (dataset.train.fine_names, dataset.train.coarse_names) == (("ant", "cat", "mug"), ("animal", "thing"))
    np.testing.assert_array_equal(dataset.train.images, np.concatenate((ant, cat, mug)))
    assert dataset.train.coarse is not None
    assert dataset.train.fine.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert dataset.train.coarse.tolist() == [0] * 6 + [1] * 3
    np.testing.assert_array_equal(dataset.test.images, mug[:2])
    assert dataset.test.fine.tolist() == [2, 2]


def test_without_splits_a_share_of_each_class_is_held_out(tmp_path: Path) -> None:
    dataset = load(write_folder(tmp_path, {"a": random_images(10), "b": random_images(20, seed=1)}))
    assert np.bincount(dataset.train.fine).tolist() == [8, 16]
    assert np.bincount(dataset.test.fine).tolist() == [2, 4]
    assert dataset.train.coarse is None


def test_classes_of_one_name_in_two_superclasses_stay_two(tmp_path: Path) -> None:
    images = random_images(4)
    dataset = load(write_folder(tmp_path, {"animal/bat": images, "sport/bat": images, "sport/net": images}))
    assert dataset.train.fine_names == ("animal/bat", "sport/bat", "net")


def test_subset_before_decoding_equals_subset_after(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"a": random_images(10), "b": random_images(20, seed=1)})
    np.testing.assert_array_equal(load(folder, 9).train.images, load(folder).train.balanced_subset(9, 0).images)


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"a": random_images(5), "b": random_images(5), ".cache": random_images(5)})
    (folder / "README.md").write_text("about")
    (folder / "a" / "labels.csv").write_text("0")
    assert len(load(folder).train) + len(load(folder).test) == 10


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("train", "validation"),
        ("train", "valid"),
        ("train", "val"),
        ("Train", "Test"),
        ("TRAIN", "Val"),
    ],
)
def test_a_test_folder_has_any_of_its_usual_names(tmp_path: Path, train: str, test: str) -> None:
    images = random_images(3)
    folder = write_folder(tmp_path, {f"{train}/a": images, f"{train}/b": images, f"{test}/a": images[:1]})
    assert (len(load(folder).train), len(load(folder).test)) == (6, 1)


def test_folders_without_images_may_stand_anywhere(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"train/s/a": IMAGES, "train/s/b": IMAGES, "test/s/a": IMAGES})
    for name in ("notes/x", "train/s/a/boxes"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.json").write_text("{}")
    assert len(load(folder).train) == 4


def _linked(root: Path, name: str, target: str) -> Path:
    write_folder(root, {"a": IMAGES, "b": IMAGES})
    (root / name).symlink_to(target)
    return root


def _one_file(root: Path) -> Path:
    (root / "x").write_text("")
    return root / "x"


def _damaged(root: Path) -> Path:
    write_folder(root, {"a": random_images(4), "b": random_images(4)})
    for file in (root / "b").iterdir():
        file.write_bytes(b"\x89PNG")
    return root


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda r: r / "none", "none does not exist, give a folder of class folders"),
    "a file": (_one_file, "x is a file"),
    "empty": (lambda r: r, "has no class folder with images"),
    "images at the top": (lambda r: write_folder(r, {"a": IMAGES}) / "a", r"000\.png stands outside a class folder"),
    "images beside folders": (lambda r: write_folder(r, {"a": IMAGES, "a/b": IMAGES}), "holds images and folders"),
    "mixed depth": (lambda r: write_folder(r, {"a": IMAGES, "b/c": IMAGES}), "mixes class and superclass/class"),
    "too deep": (
        lambda r: write_folder(r, {"s/a": IMAGES, "s/b": IMAGES, "s/a/x/y": IMAGES}),
        r"s/a/x/y/000\.png is too deep: images stand in",
    ),
    "a class beside train": (
        lambda r: write_folder(r, {"train/a": IMAGES, "train/b": IMAGES, "more/c": IMAGES}),
        r"more/c/000\.png stands beside .*/train/: move it",
    ),
    "dangling link": (lambda r: _linked(r, "a/x.png", "/nowhere/x.png"), r"a/x\.png is a broken link, to /nowhere/x"),
    "link to itself": (lambda r: _linked(r, "a/l", "l"), "a/l is a broken link, to l: mend or remove it"),
    "no train": (lambda r: write_folder(r, {"test/a": IMAGES}), r"has test/ but no train/"),
    "two trainings": (lambda r: write_folder(r, {"train/a": IMAGES, "Train/a": IMAGES}), r"which is the train split\?"),
    "unknown test class": (
        lambda r: write_folder(r, {"train/a": IMAGES, "train/b": IMAGES, "test/c": IMAGES}),
        "test class without training",
    ),
    "damaged": (_damaged, r"b/00\d\.png: not a readable image"),
    "one image of a class": (lambda r: write_folder(r, {"a": IMAGES, "b": IMAGES[:1]}), "class 'b' has 1 image"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(tmp_path: Path, case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(UserError, match=message) as caught:
        load(make(tmp_path))
    assert "\n" not in str(caught.value)
