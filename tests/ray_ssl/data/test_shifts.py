"""Shifts: source and target share labels and no images, both splits have both, and what cannot be is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from ray_ssl.config import PretrainConfig, trial_key
from ray_ssl.data import Dataset, ImageSet, load_dataset, shapes
from ray_ssl.data.base import SOURCE, TARGET, UNLABELLED, missing_labels, require_labels
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError
from ray_ssl.shift import CORRUPTIONS, KINDS, corruption_of, parse_shift
from tests.ray_ssl.data.images import png, random_images, write_folder, write_parquet


def load(shift: str, dataset: str = "shapes", num_images: int | None = 80, **options: object) -> Dataset:
    """Images of 8 pixels; of shapes as many for testing."""
    num_test = num_images if dataset == "shapes" else None
    values = {"dataset": dataset, "num_images": num_images, "num_test_images": num_test, "image_size": 8}
    return load_dataset(DataConfig.model_validate(values | {"shift": shift, "test_fraction": 0.5} | options))


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> str:
    """80 images for training and as many for testing, of 4 and 4 classes in 2 superclasses."""
    classes = [f"{coarse}/{coarse}{i}" for coarse in ("ball", "cube") for i in range(4)]
    images = {name: random_images(20, 8, seed) for seed, name in enumerate(classes)}
    return f"folder:{write_folder(tmp_path_factory.mktemp('toys'), images)}"


def splits(dataset: Dataset) -> list[ImageSet]:
    assert isinstance(dataset.train, ImageSet)
    assert isinstance(dataset.test, ImageSet)
    return [dataset.train, dataset.test]


def of(images: ImageSet, domain: int) -> ImageSet:
    assert images.domain is not None
    return images.take(np.flatnonzero(images.domain == domain))


def counts(images: ImageSet) -> list[int]:
    assert images.domain is not None
    return np.bincount(images.domain).tolist()


def test_without_a_shift_fingerprints_and_keys_are_what_they_were() -> None:
    dataset = load_dataset(DataConfig(num_images=40, num_test_images=20, image_size=8))
    assert dataset.fingerprint == "c081a8d3f73362f2e46e13717520daef358ae4417deb2243b8bedfe8ecca3943"
    methods = {"vicreg": "97adeaab8d0b9b89", "supervised": "fbab7d3c8e1c0c3d", "swav": "3ff5b09ef0c732af"}
    for name, key in methods.items():
        assert trial_key(PretrainConfig.from_dict({"method": {"name": name}}), dataset.fingerprint) == key


@pytest.mark.parametrize("shift", ["domains:star5,disc", "subpopulations", *(f"{kind}:1" for kind in CORRUPTIONS)])
def test_both_splits_have_both_domains_of_every_label(shift: str, toys: str) -> None:
    where = "shapes" if shift.startswith("domains") else toys
    dataset = load(shift, where)
    for images in splits(dataset):
        assert counts(images) == [40, 40]
        assert len(images.domain_names) == 2
        for domain in (SOURCE, TARGET):
            assert set(of(images, domain).fine) == set(range(len(images.fine_names)))
    assert load(shift, where).fingerprint == dataset.fingerprint
    assert load(shift, where, data_seed=1).fingerprint != dataset.fingerprint


def test_domains_are_the_shapes_own_photos_and_sketches() -> None:
    (train, _), config = splits(load("domains")), DataConfig(image_size=8)
    for domain, name in ((SOURCE, "photo"), (TARGET, "sketch")):
        drawn = shapes.draw(config.model_copy(update={"shapes_domain": name}), "train", 40)
        assert np.array_equal(of(train, domain).images, drawn.images)
        assert np.array_equal(of(train, domain).fine, drawn.fine)
    two = of(splits(load("domains:star5,disc"))[0], TARGET)
    assert two.fine_names == ("star5", "disc")
    assert np.array_equal(two.images[two.fine == 1][:2], of(train, TARGET).images[[8, 28]])  # disc is shape 8


def test_subpopulations_keep_superclasses_and_share_no_class(toys: str) -> None:
    plain, dataset = load("", toys).train, load("subpopulations", toys)
    shifted = splits(dataset)[0]
    assert np.array_equal(shifted.images, plain.images)
    assert plain.coarse is not None
    assert np.array_equal(shifted.fine, plain.coarse)
    assert shifted.fine_names == plain.coarse_names
    assert shifted.domain is not None
    for label, name in enumerate(shifted.fine_names):
        classes = [set(plain.fine[(shifted.fine == label) & (shifted.domain == d)]) for d in (SOURCE, TARGET)]
        assert [len(c) for c in classes] == [2, 2]
        assert not classes[0] & classes[1]
        first, second = (", ".join(plain.fine_names[c] for c in sorted(group)) for group in classes)
        assert f"{name}: {first} | {second}" in dataset.note


def test_corrupted_images_are_other_images_than_the_sources(toys: str) -> None:
    plain, same, grey = (splits(load(shift, toys))[0] for shift in ("", "grey:0", "grey:1"))
    assert np.array_equal(same.images, plain.images)
    assert np.array_equal(of(grey, SOURCE).images, of(same, SOURCE).images)
    assert np.ptp(of(grey, TARGET).images, axis=3).max() == 0
    assert grey.domain is not None
    assert same.domain is not None
    assert np.array_equal(grey.domain, same.domain)  # the same halves at every strength


def test_a_set_is_no_target_of_itself(toys: str) -> None:
    with pytest.raises(UserError, match="source and target are the same images"):
        load(f"to:{toys}", toys)


@pytest.mark.parametrize("shift", ["grey:0.001", "blur:0.05"])
def test_a_shift_that_changes_no_pixel_is_refused(shift: str, toys: str) -> None:
    with pytest.raises(UserError, match=f"--shift {shift} changes no pixel of toys0: give a larger strength"):
        load(shift, toys)


def test_a_target_that_no_class_has_two_images_for_is_refused(tmp_path: Path) -> None:
    def few(name: str, num_train: int, num_test: int) -> str:
        numbers = {"train": num_train, "test": num_test}
        for split, number in numbers.items():
            write_folder(tmp_path / name / split, {f"class{i}": random_images(number, 8, i) for i in range(6)})
        return f"folder:{tmp_path / name}"

    for name, sizes, split, option in (
        ("one", (1, 2), "training", "--num-images"),
        ("another", (2, 1), "test", "--num-test-images"),
    ):
        message = f"--shift grey:1: the target would have no {split} image of {name}, .* larger {option}$"
        with pytest.raises(UserError, match=message):
            load("grey:1", few(name, *sizes), num_images=None)
    assert [counts(images) for images in splits(load("grey:1", few("two", 2, 3), num_images=None))] == [[6, 6], [12, 6]]


def test_extra_images_come_besides_and_are_balanced(toys: str) -> None:
    train, test = splits(load("subpopulations", toys, num_images=32, num_extra=40))
    assert counts(train) == [16, 16, 40]
    assert counts(test) == [40, 40]
    assert train.domain_names == test.domain_names == ("source", "target", "extra")
    assert np.bincount(of(train, SOURCE).fine).tolist() == [8, 8]
    assert counts(splits(load("subpopulations", toys, num_images=None, num_extra=40))[0]) == [20, 20, 40]
    with pytest.raises(UserError, match="--num-extra 80 is too many: there are 80 training images in all"):
        load("subpopulations", toys, num_images=None, num_extra=80)


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two sets with cat and dog in common, at different labels; the first has superclasses."""
    root = tmp_path_factory.mktemp("animals")
    first = {"pet/dog": 8, "pet/cat": 8, "farm/cow": 8}
    second = {"ant": 6, "cat": 6, "dog": 12}
    write_folder(root / "real", {name: random_images(n, 8, seed=i) for i, (name, n) in enumerate(first.items())})
    write_folder(root / "drawn", {name: random_images(n, 8, seed=9 + i) for i, (name, n) in enumerate(second.items())})
    return root / "real", root / "drawn"


def test_two_sets_are_matched_by_name(animals: tuple[Path, Path]) -> None:
    source, target = (f"folder:{folder}" for folder in animals)
    dataset = load(f"to:{target}", source, num_images=None, test_fraction=0.25)
    train, test = splits(dataset)
    assert train.fine_names == test.fine_names == ("cat", "dog")
    assert train.domain_names == ("real", "drawn")
    assert [counts(images) for images in (train, test)] == [[12, 13], [4, 5]]
    assert train.coarse_names == ("farm", "pet")
    assert train.coarse is not None
    assert set(train.coarse) == {1}
    assert "2 classes in common, left out are 1 of real and 1 of drawn" in dataset.note
    drawn = load_dataset(DataConfig(dataset=target, image_size=8, test_fraction=0.25)).train.images
    found = of(train, TARGET)
    assert np.array_equal(found.images[found.fine == 1], drawn[-9:])  # dogs
    some = splits(load(f"to:{target}", source, num_images=8, test_fraction=0.25))[0]
    assert np.bincount(some.strata).tolist() == [2, 2, 2, 2]
    with pytest.raises(UserError, match="--num-images 26 is more than there are: at most 25"):
        load(f"to:{target}", source, num_images=26, test_fraction=0.25)
    for shift in (f"to:{target}", "invert:1"):
        available = 25 if "to" in shift else 18
        at_most = f"--num-extra 10 is too many: there are {available} training images in all, --num-images 16 leaves "
        with pytest.raises(UserError, match=f"{at_most}{available - 16}$"):
            load(shift, source, num_images=16, num_extra=10, test_fraction=0.25)
        with pytest.raises(UserError, match=f"--num-images 26 is more than there are: at most {available}$"):
            load(shift, source, num_images=26, num_extra=6, test_fraction=0.25)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same 24 images in a folder without class folders, in Parquet without a label column, or without labels."""
    root, images = tmp_path_factory.mktemp("unlabelled"), random_images(24, 8, seed=50)
    columns = {
        "none": {},
        "empty": {"label": pa.nulls(24)},
        "null": {"label": pa.nulls(24, pa.int64())},
        "text": {"label": pa.nulls(24, pa.string())},
        "minus": {"label": [-1] * 24},
    }
    found = {"flat": f"folder:{write_folder(root, {'flat': images}) / 'flat'}"}
    for name, labels in columns.items():
        found[name] = f"parquet:{write_parquet(root / f'{name}.parquet', [png(i) for i in images], **labels)}"
    return found


@pytest.mark.parametrize("kind", ["flat", "none", "empty", "null", "text", "minus"])
def test_a_target_may_have_no_labels(kind: str, unlabelled: dict[str, str], animals: tuple[Path, Path]) -> None:
    source = f"folder:{animals[0]}"
    dataset = load(f"to:{unlabelled[kind]}", source, num_images=None, test_fraction=0.25)
    for images, sizes in zip(splits(dataset), ([18, 18], [6, 6]), strict=True):
        assert counts(images) == sizes
        assert images.fine_names == ("cat", "cow", "dog")  # all of the source: which are common is not known
        mine, theirs = of(images, SOURCE), of(images, TARGET)
        assert mine.coarse is not None and theirs.coarse is not None
        assert mine.fine.min() == 0 and set(theirs.fine) == set(theirs.coarse) == {UNLABELLED}
        assert len(np.unique(theirs.images.reshape(len(theirs), -1), axis=0)) == len(theirs)
    assert "18 of its 18 training images have no label" in dataset.note
    with pytest.raises(UserError, match=r"18 of 18 training images outside the source \(target \w+\) have no label"):
        require_labels("this", dataset, "train")
    some = splits(load(f"to:{unlabelled[kind]}", source, num_images=12, num_extra=6, test_fraction=0.25))[0]
    assert counts(some) == [6, 6, 6]  # a domain without labels weighs what the other does
    # Alone, as source, they are refused as before.
    for shift, refused in (("", unlabelled[kind]), (f"to:{source}", unlabelled[kind])):
        with pytest.raises(UserError, match=r"label|stands outside a class folder"):
            load(shift, refused, num_images=None)


def test_a_target_with_some_labels(tmp_path: Path, animals: tuple[Path, Path]) -> None:
    labels = (["cat", None, "emu"] * 8, ["cat", "dog", "emu"] * 4)
    for split, of_split in zip(("train", "test"), labels, strict=True):
        pixels: list[bytes | None] = [png(i) for i in random_images(len(of_split), 8, seed=len(of_split))]
        write_parquet(tmp_path / f"{split}.parquet", pixels, label=of_split)
    dataset = load(f"to:parquet:{tmp_path}", f"folder:{animals[0]}", num_images=None, test_fraction=0.25)
    found = [of(images, TARGET).fine.tolist() for images in splits(dataset)]
    assert found == [[0, UNLABELLED] * 8, [0, 2] * 4]  # emus are no class of the source
    assert "8 of 16 training images" in missing_labels(dataset, "train", "test")
    require_labels("what looks at test images alone", dataset, "test")


def test_a_folder_may_have_labels_for_testing_alone(tmp_path: Path, animals: tuple[Path, Path]) -> None:
    pixels = random_images(4, 8, seed=3)
    folder = write_folder(tmp_path, {"train": pixels, "test/dog": pixels + 1, "test/emu": pixels + 2})
    dataset = load(f"to:folder:{folder}", f"folder:{animals[0]}", num_images=None, test_fraction=0.25)
    assert [of(images, TARGET).fine.tolist() for images in splits(dataset)] == [[UNLABELLED] * 4, [2] * 4]


def test_images_beside_class_folders_and_strange_labels_are_refused(tmp_path: Path, animals: tuple[Path, Path]) -> None:
    write_folder(tmp_path / "mixed", {"a": random_images(2, 8)})
    (tmp_path / "mixed" / "x.png").write_bytes(png(random_images(1, 8)[0]))
    pixels: list[bytes | None] = [png(i) for i in random_images(4, 8)]
    write_parquet(tmp_path / "low.parquet", pixels, label=[0, -1, -2, 1])
    write_parquet(tmp_path / "double.parquet", pixels, label=[0.0, 1.0, 0.0, 1.0])
    for target, message in (
        (f"folder:{tmp_path / 'mixed'}", "stands outside a class folder"),
        (f"parquet:{tmp_path / 'low.parquet'}", "row 2: label is -2, labels count from 0"),
        (
            f"parquet:{tmp_path / 'double.parquet'}",
            "labels in label are of type double, they must be whole numbers or text; pandas makes",
        ),
    ):
        with pytest.raises(UserError, match=message):
            load(f"to:{target}", f"folder:{animals[0]}", num_images=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift": "domain"}, "unknown shift 'domain'; did you mean 'domains'"),
        ({"shift": "grey"}, "grey needs a strength of 0 to 1, e.g. grey:0.5, given 'grey'"),
        ({"shift": "blur:1.5"}, "blur needs a strength of 0 to 1"),
        ({"shift": "noise:nan"}, "noise needs a strength of 0 to 1"),
        ({"shift": "subpopulations:3"}, "subpopulations takes no value"),
        ({"shift": "domains:disc"}, "domains takes at least 2 different classes"),
        ({"shift": "domains:disc,disc"}, "domains takes at least 2 different classes"),
        ({"shift": "to"}, "to needs the data set of the target"),
        ({"shift": "to:cifar"}, "unknown dataset 'cifar'"),
        ({"shift": "to:folder"}, "folder needs a path"),
        ({"shift": "domains", "dataset": "cifar10"}, "--shift domains is for shapes, the --dataset is 'cifar10'"),
        ({"shift": "domains", "shapes_domain": "both"}, "draws both domains: leave out --shapes-domain both"),
        ({"shift": "grey:1", "dataset": "folder:x", "stream": True}, "--stream goes with no --shift, given 'grey:1'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataConfig.model_validate(options)


def test_sets_that_do_not_fit_are_refused(animals: tuple[Path, Path], tmp_path: Path) -> None:
    real, drawn = (f"folder:{folder}" for folder in animals)
    with pytest.raises(UserError, match="real and shapes have no class in common: cat, cow, dog; triangle, square, "):
        load("to:shapes", real, num_images=None)
    for place in ("photo/dog", "photo/ox", "sketch/dog", "sketch/ox"):
        write_folder(tmp_path / "several" / place.partition("/")[0], {place.partition("/")[2]: random_images(4, 8)})
    with pytest.raises(
        UserError, match=r"no class in common: .*; of folders DOMAIN/CLASS give one domain, e\.g\. folder:"
    ):
        load(f"to:folder:{tmp_path / 'several'}", real, num_images=None)
    one = write_folder(tmp_path / "one", {name: random_images(4, 8) for name in ("ant", "dog")})
    message = "real and one have one class in common, dog, at least 2 are needed: cat, cow, dog; ant, dog"
    with pytest.raises(UserError, match=message):
        load(f"to:folder:{one}", real, num_images=None)
    for names, alike in ((("Cat", "DOG", "ox"), "cat and Cat, dog and DOG"), (("cat", "dog", "Cow"), "cow and Cow")):
        other = write_folder(tmp_path / names[2], {name: random_images(4, 8) for name in names})
        message = f"real and {names[2]} are the same but for upper and lower case: {alike}: name them alike"
        with pytest.raises(UserError, match=message):
            load(f"to:folder:{other}", real, num_images=None)
    with pytest.raises(UserError, match="drawn has no superclasses"):
        load("subpopulations", drawn, num_images=None)
    with pytest.raises(UserError, match="superclass 'farm' has images of 1 class, a source and a target need"):
        load("subpopulations", real, num_images=None)
    with pytest.raises(UserError, match=r"no shape 'dics'; did you mean 'disc'\?"):
        load("domains:star5,dics")
    with pytest.raises(UserError, match=r"the target \(sketch\) has none of the 20 training images"):
        load("domains", num_images=20)


def test_every_kind_can_be_parsed_and_is_explained() -> None:
    text = DataConfig.model_fields["shift"].description or ""
    for kind in KINDS:
        assert kind in text
    assert parse_shift("to:parquet:s3://a/b,c").target == "parquet:s3://a/b,c"
    assert parse_shift("domains:a,b").classes == ("a", "b")
    assert parse_shift("grey:.5").strength == 0.5
    for texts in (("blur:0.5", "blur:.50", "blur: 5e-1"), ("grey:0", "grey:-0.0"), ("grey:1", "grey: 1.0")):
        assert {DataConfig(dataset="shapes", shift=text).shift for text in texts} == {texts[0]}


@pytest.mark.parametrize("shift", [f"{kind}:0.5" for kind in CORRUPTIONS] + ["blur:5e-1"])
def test_a_corruption_is_read_from_the_name_of_its_data_set(shift: str) -> None:
    assert corruption_of(load(shift, image_size=32).name) == ("shapes", parse_shift(shift))
    assert corruption_of(f"a-set-grey:1-{shift}") == ("a-set-grey:1", parse_shift(shift))


@pytest.mark.parametrize(
    "name", ["shapes", "shapes-photo-to-sketch", "cifar100-subpopulations", "a-blur", "a-blur:2", "a-blur:e"]
)
def test_other_names_are_of_no_corruption(name: str) -> None:
    assert corruption_of(name) == (name, None)
