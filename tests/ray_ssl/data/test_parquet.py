"""Parquet: exact pixels back, the split and the labels found, and one clear line for each bad file."""

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_ssl.data import Dataset, decode, load_dataset
from ray_ssl.data.parquet_files import File, damaged
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError
from ray_ssl.storage import Storage
from tests.ray_ssl.data.images import png, random_images, write_parquet

NAMES = {"coarse_label": ["animal", "thing"], "fine_label": ["bat", "cat", "mug", "pen"]}


def load(path: Path | str, num_images: int | None = None, test_fraction: float = 0.2, seed: int = 0) -> Dataset:
    return load_dataset(
        DataConfig(
            dataset=f"parquet:{path}", num_images=num_images, image_size=16, test_fraction=test_fraction, data_seed=seed
        )
    )


def write_set(path: Path, num_images: int = 40, seed: int = 0) -> Path:
    fine = np.arange(num_images) % 4
    images = [png(i) for i in random_images(num_images, seed=seed)]
    return write_parquet(path, list(images), NAMES, fine_label=fine, coarse_label=fine // 2)


def test_round_trip_of_both_splits_to_exact_pixels_labels_and_names(tmp_path: Path) -> None:
    write_set(tmp_path / "pets" / "data" / "train-00000-of-00002.parquet", 20, seed=1)
    write_set(tmp_path / "pets" / "data" / "train-00001-of-00002.parquet", 12, seed=2)
    write_set(tmp_path / "pets" / "data" / "validation-00000-of-00001.parquet", 8, seed=3)
    dataset = load(tmp_path / "pets")
    assert dataset.name == "pets"
    expected = np.concatenate((random_images(20, seed=1), random_images(12, seed=2)))
    np.testing.assert_array_equal(dataset.train.images, expected)
    np.testing.assert_array_equal(dataset.test.images, random_images(8, seed=3))
    assert dataset.train.coarse is not None
    np.testing.assert_array_equal(dataset.train.fine, np.concatenate((np.arange(20), np.arange(12))) % 4)
    np.testing.assert_array_equal(dataset.train.coarse, dataset.train.fine // 2)
    assert dataset.train.fine_names == tuple(NAMES["fine_label"])
    assert dataset.test.coarse_names == tuple(NAMES["coarse_label"])


def test_split_from_subfolders_and_test_wins_over_validation(tmp_path: Path) -> None:
    for split, n in (("train", 8), ("test", 4), ("validation", 12)):
        write_set(tmp_path / split / "0000.parquet", n)
    dataset = load(tmp_path)
    assert (len(dataset.train), len(dataset.test)) == (8, 4)


def test_held_out_split_takes_its_share_of_each_class_and_loses_nothing(tmp_path: Path) -> None:
    path = write_set(tmp_path / "pets.parquet", 40)
    dataset = load(path, test_fraction=0.3)
    assert dataset.name == "pets"
    assert np.bincount(dataset.test.fine).tolist() == [3] * 4
    together = np.concatenate((dataset.train.images, dataset.test.images))
    assert {i.tobytes() for i in together} == {i.tobytes() for i in random_images(40)}
    assert load(path, test_fraction=0.3).fingerprint == dataset.fingerprint
    assert load(path, test_fraction=0.3, seed=1).fingerprint != dataset.fingerprint


@pytest.mark.parametrize("num_images", [1, 7, 30])
def test_subset_before_decoding_equals_subset_after(tmp_path: Path, num_images: int) -> None:
    path = write_set(tmp_path / "pets.parquet", 53)
    rows = decode.rows_to_take(load(path).train.fine, "num_images", num_images, 0)
    after = load(path).train.balanced_subset(num_images, 0)
    np.testing.assert_array_equal(load(path).train.take(rows).images, after.images)
    if num_images > 1:  # a single image is of a single class, which is refused
        before = load(path, num_images).train
        np.testing.assert_array_equal(before.images, after.images)
        np.testing.assert_array_equal(before.fine, after.fine)


def test_a_subset_decodes_no_other_image(tmp_path: Path) -> None:
    images: list[bytes | None] = [png(i) for i in random_images(40)]
    fine = np.arange(40) % 4
    write_parquet(tmp_path / "test-0.parquet", images, fine_label=fine)
    chosen = decode.rows_to_take(fine, "num_images", 12, 0)
    images = [image if row in chosen else b"damaged" for row, image in enumerate(images)]
    write_parquet(tmp_path / "train-0.parquet", images, fine_label=fine)
    np.testing.assert_array_equal(load(tmp_path, 12).train.images, random_images(40)[chosen])


def test_labels_without_names_are_named_by_their_numbers_and_texts_by_themselves(tmp_path: Path) -> None:
    images: list[bytes | None] = [png(i) for i in random_images(8)]
    number = write_parquet(tmp_path / "a.parquet", images, label=[3, 3, 3, 3, 10, 10, 10, 10])
    text = write_parquet(tmp_path / "b.parquet", images, label=["owl", "owl", "owl", "owl", "ant", "ant", "ant", "ant"])
    assert load(number).train.fine_names == ("3", "10")
    assert load(text).train.fine_names == ("ant", "owl")
    assert load(text).train.fine.tolist() == [1, 1, 1, 0, 0, 0]


def test_a_class_label_of_any_name_is_recognised_by_metadata(tmp_path: Path) -> None:
    images: list[bytes | None] = [png(i) for i in random_images(8)]
    path = write_parquet(tmp_path / "a.parquet", images, {"species": ["x", "y"]}, species=[0, 1] * 4, age=[1, 2] * 4)
    assert load(path).train.fine_names == ("x", "y")


@pytest.mark.parametrize(
    "metadata",
    [
        b"{not json", b"\xff", b"[]", b"7", b"null", b'{"info": null}', b'{"info": {"features": []}}', b"[" * 100_000,
        b'{"info": {"features": {"label": 3, "image": {"_type": null}}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": 5}}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": [1, 2]}}}}',
    ],
    ids=range(11),
)  # fmt: skip
def test_metadata_that_cannot_be_read_counts_as_none(tmp_path: Path, metadata: bytes) -> None:
    table = pa.table({"image": [png(i) for i in random_images(8)], "label": [3, 10] * 4})
    pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet").train.fine_names == ("3", "10")


def test_folders_named_as_spark_names_them(tmp_path: Path) -> None:
    for split, n in (("train", 8), ("test", 4)):
        write_set(tmp_path / f"{split}.parquet" / "part-00000.snappy.parquet", n)
        (tmp_path / f"{split}.parquet" / "_SUCCESS").write_text("")
    assert (len(load(tmp_path).train), len(load(tmp_path).test)) == (8, 4)
    assert len(load(tmp_path / "train.parquet").train) == 4


def test_a_label_that_is_no_function_of_the_class_is_no_superclass(tmp_path: Path) -> None:
    images: list[bytes | None] = [png(i) for i in random_images(16)]
    path = write_parquet(tmp_path / "a.parquet", images, fine_label=np.arange(16) % 4, label=np.arange(16) // 8)
    assert load(path).train.coarse is None


def test_plain_binary_images(tmp_path: Path) -> None:
    images = random_images(8)
    pq.write_table(pa.table({"image": [png(i) for i in images], "label": [0, 1] * 4}), tmp_path / "train-0.parquet")
    pq.write_table(pa.table({"image": [png(i) for i in images], "label": [0, 1] * 4}), tmp_path / "test-0.parquet")
    np.testing.assert_array_equal(load(tmp_path).train.images, images)


def test_a_damaged_png_is_named_by_file_and_row(tmp_path: Path) -> None:
    images: list[bytes | None] = [png(i) for i in random_images(30)]
    whole = images[17]
    assert whole is not None
    images[17] = whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]
    write_parquet(tmp_path / "train-0.parquet", images, label=np.arange(30) % 2)
    write_parquet(tmp_path / "test" / "x.parquet", [png(i) for i in random_images(4)], label=[0, 1, 0, 1])
    with pytest.raises(UserError, match=r"train-0\.parquet, row 17: not a readable image"):
        load(tmp_path)


def _two_schemas(root: Path) -> Path:
    write_set(root / "train-0.parquet")
    write_parquet(root / "train-1.parquet", [png(random_images(1)[0])], label=[0])
    return root


def _text_file(root: Path) -> Path:
    (root / "train-0.parquet").write_text("not parquet")
    return root


def _table(root: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), root / "a.parquet")
    return root / "a.parquet"


def _unnamed(root: Path) -> Path:
    write_set(root / "train-0.parquet")
    write_set(root / "more.parquet")
    return root


PNG = png(random_images(1)[0])


def _two_labels(root: Path) -> Path:
    columns = [pa.array([PNG] * 2), pa.array([0, 1]), pa.array([0, 1])]
    pq.write_table(pa.Table.from_arrays(columns, ["image", "label", "label"]), root / "a.parquet")
    return root / "a.parquet"


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing path": (lambda root: root / "none", r"none does not exist, give a \.parquet file or a folder"),
    "no files": (lambda root: root, "holds no .parquet file"),
    "not parquet": (_text_file, r"train-0\.parquet cannot be read as Parquet"),
    "no images": (lambda r: _table(r, label=[0, 1]), "has no column of encoded images .* only label"),
    "no rows": (lambda r: _table(r, image=[], label=[]), r"a\.parquet has no rows: at least 1 image is needed"),
    "no labels": (lambda r: _table(r, image=[b"x"], size=[1]), "has no label column among image, size: name one label"),
    "flags for labels": (
        lambda r: _table(r, image=[PNG] * 2, label=[True, False]), "labels in label are of type bool, they must be"
    ),
    "measures for labels": (lambda r: _table(r, image=[PNG] * 2, label=[0.0, 1.0]), "are of type double, they must be"),
    "lists for labels": (lambda r: _table(r, image=[PNG] * 2, label=[[0], [1]]), "are of type list<.*>, they must be"),
    "too large labels": (
        lambda r: _table(r, image=[PNG] * 2, label=pa.array([0, 2**63], pa.uint64())),
        r"a\.parquet: the labels in label cannot be read: Integer value 9223372036854775808 not in range",
    ),
    "two label columns": (_two_labels, r"a\.parquet has 2 columns named label: rename or remove"),
    "null label": (lambda r: _table(r, image=[PNG] * 3, label=[0, None, 1]), "row 1: label is null"),
    "negative label": (lambda r: _table(r, image=[PNG] * 3, label=[0, 1, -1]), "row 2: label is -1, labels count"),
    "null image": (lambda r: _table(r, image=[PNG, None] * 4, label=[0, 1] * 4), r"row \d: the image is null"),
    "null bytes": (
        lambda r: write_parquet(r / "a.parquet", [PNG, None] * 4, label=[0, 1] * 4), r"row \d: the image is null"
    ),
    "unnamed class": (
        lambda r: write_parquet(r / "a.parquet", [PNG] * 4, {"label": ["x", "y"]}, label=[0, 1, 2, 0]),
        "label 2 in the train split has no name, there are 2",
    ),
    "differing": (_two_schemas, r"class names of .*train-1\.parquet differ from those of .*train-0\.parquet"),
    "no split": (_unnamed, r"more\.parquet is of no split"),
    "no training split": (lambda r: write_set(r / "test-0.parquet").parent, "has no training split"),
    "one image of a class": (lambda r: _table(r, image=[PNG] * 3, label=[0, 0, 1]), "class '1' has 1 image"),
    "one class": (lambda r: _table(r, image=[PNG] * 4, label=[0] * 4), "at least 2 classes are needed"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(tmp_path: Path, case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(UserError, match=message) as caught:
        load(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_an_address_that_cannot_be_opened_is_called_a_data_set() -> None:
    with pytest.raises(UserError, match="cannot use data set 'gopher://x'"):
        load("gopher://x")


def test_too_many_images_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--num-images 99 is more than there are: at most 32"):
        load(write_set(tmp_path / "a.parquet"), 99)


def test_an_empty_test_split_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path / "train-0.parquet")
    write_set(tmp_path / "test-0.parquet", 0)
    with pytest.raises(UserError, match="the test split is empty"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("Corrupt snappy compressed data."), "is damaged"),
        (pa.ArrowInvalid("Couldn't deserialize thrift"), "is damaged"),
        (OSError(errno.EIO, "Input/output error"), "cannot be read on"),
        (OSError("When reading: AWS Error NETWORK_CONNECTION during GetObject operation"), "cannot be read on"),
    ],
)
def test_bytes_that_do_not_arrive_are_not_called_damaged(error: Exception, words: str) -> None:
    assert words in str(damaged(File(Storage.at("set"), "train.parquet"), error))
