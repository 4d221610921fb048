"""folder:PATH: image files in class folders or superclass/class folders, optionally under train and test or valid."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ray_ssl.data.base import UNLABELLED, Dataset
from ray_ssl.data.decode import Encoded, EncodedSplit, Rows, build_dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError

IMAGE_SUFFIXES: Final = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
)  # fmt: skip
TEST_FOLDERS: Final = ("test", "validation", "valid", "val")  # the first one found is the test split


class ClassFolder(NamedTuple):
    """One class: its superclass ("" where there is none), its name ("" where it is not known) and its files, sorted."""

    coarse: str
    fine: str
    files: tuple[Path, ...]


def load(config: DataConfig, needs_labels: bool = True) -> Dataset:
    """Returns the images below `config.path`; classes and superclasses are folder names in sorted order.

    Args:
        config: Of this source.
        needs_labels: Else the images of a split may all stand in it directly, without class folders.

    Raises:
        UserError: The folder is missing, holds no images, mixes layouts, has images that fit in no layout or broken
            links, a test class is unknown to the training split, or an image cannot be decoded.
    """
    root = Path(config.path).expanduser().absolute()  # processes that decode may work elsewhere
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise UserError(f"{config.dataset}: {root} {problem}, give a folder of class folders")
    name = root.resolve().name
    splits = _split_folders(root)
    tests = [splits[name] for name in TEST_FOLDERS if name in splits]
    if "train" not in splits:
        if tests:
            raise UserError(f"{root} has {tests[0].name}/ but no train/: name the training folder train")
        every = _classes(root, needs_labels)
        return build_dataset(name, _split(root, every, every), None, config)
    _check_beside(root, splits)
    train = _classes(splits["train"], needs_labels)
    tested = _classes(tests[0], needs_labels) if tests else []
    known = train if _are_known(train) else tested  # a target may have labels for testing alone
    test = _split(root, tested, known) if tests else None
    return build_dataset(name, _split(root, train, known), test, config)


def _classes(root: Path, needs_labels: bool) -> list[ClassFolder]:
    """The class folders of one split, sorted by class and superclass; or one of all images, of a class not known."""
    folders, files = _entries(root)
    if files and not needs_labels and not any(map(_an_image, folders)):
        return [ClassFolder("", "", files)]
    if files:
        raise UserError(f"{files[0]} stands outside a class folder: move it to {root}/CLASS/")
    classes = list[ClassFolder]()
    for folder in folders:
        inner, files = _entries(folder)
        if files and inner:
            raise UserError(f"{folder} holds images and folders: a class folder holds images, a superclass folders")
        if files:
            classes.append(ClassFolder("", folder.name, files))
        classes.extend(ClassFolder(folder.name, f.name, _innermost(f)) for f in inner)
    classes = [c for c in classes if c.files]
    if not classes:
        raise UserError(f"{root} has no class folder with images ({' '.join(IMAGE_SUFFIXES)})")
    if len({c.coarse == "" for c in classes}) > 1:
        flat = next(c for c in classes if not c.coarse)
        raise UserError(f"{root} mixes class and superclass/class folders: move {flat.fine}/ into a superclass folder")
    return sorted(classes, key=lambda c: (c.fine, c.coarse))


def _are_known(classes: list[ClassFolder]) -> bool:
    return any(c.fine for c in classes)


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits by name in small letters."""
    found: dict[str, Path] = {}
    for folder in _entries(root)[0]:
        name = folder.name.lower()
        if name in ("train", *TEST_FOLDERS):
            if name in found:
                raise UserError(f"{root} has {found[name].name}/ and {folder.name}/: which is the {name} split?")
            found[name] = folder
    return found


def _check_beside(root: Path, splits: dict[str, Path]) -> None:
    """Refuses images beside train/ and the test folders."""
    folders, files = _entries(root)
    others = (_an_image(folder) for folder in folders if folder not in splits.values())
    for image in (*files[:1], *filter(None, others)):
        raise UserError(f"{image} stands beside {splits['train']}/: move it into a class folder there, or remove it")


def _innermost(folder: Path) -> tuple[Path, ...]:
    """The images of a superclass/class folder, which has none further down."""
    folders, files = _entries(folder)
    for image in filter(None, map(_an_image, folders)):
        raise UserError(f"{image} is too deep: images stand in class folders or superclass/class folders")
    return files


def _an_image(folder: Path) -> Path | None:
    """An image at any depth of a folder, or None."""
    folders, files = _entries(folder)
    return files[0] if files else next(filter(None, map(_an_image, folders)), None)


def _entries(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The visible folders and the image files of a folder, both sorted by name."""
    with os.scandir(folder) as entries:
        visible = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    for entry in visible:
        if entry.is_symlink() and not Path(entry).exists():
            raise UserError(f"{entry.path} is a broken link, to {Path(entry).readlink()}: mend or remove it")
    folders = tuple(Path(e.path) for e in visible if e.is_dir())
    files = tuple(Path(e.path) for e in visible if e.is_file() and e.name.lower().endswith(IMAGE_SUFFIXES))
    return folders, files


def _split(root: Path, classes: list[ClassFolder], known: list[ClassFolder]) -> EncodedSplit:
    """The images of `classes` below `root`, labelled by the known ones."""
    known = [c for c in known if c.fine]
    label = {(c.coarse, c.fine): i for i, c in enumerate(known)} | {("", ""): UNLABELLED}
    for c in classes:
        if (c.coarse, c.fine) not in label:
            raise UserError(f"{c.files[0].parent} is a test class without training images: add them or remove it")
    names = [c.fine for c in known]
    fine_names = tuple(c.fine if names.count(c.fine) == 1 else f"{c.coarse}/{c.fine}" for c in known)
    coarse_names = tuple(sorted({c.coarse for c in known if c.coarse}))
    sizes = [len(c.files) for c in classes]
    fine = np.repeat(np.array([label[c.coarse, c.fine] for c in classes], np.int64), sizes)
    coarse = None
    if coarse_names and _are_known(classes):
        coarse = np.repeat(np.array([coarse_names.index(c.coarse) for c in classes], np.int64), sizes)
    # As one array of bytes, which costs a fraction of a list of paths and which processes of a machine share.
    names_of_files = np.array([os.fsencode(f.relative_to(root)) for c in classes for f in c.files], np.bytes_)

    def read(rows: Rows) -> Iterator[list[Encoded]]:
        files = [root / os.fsdecode(name) for name in names_of_files[rows].tolist()]
        yield [(str(file), file) for file in files]

    def identity() -> str:
        digest = hashlib.sha256()
        for name in names_of_files.tolist():
            digest.update(b"%s\0%d\0" % (name, (root / os.fsdecode(name)).stat().st_size))
        return digest.hexdigest()

    return EncodedSplit(fine, fine_names, coarse, coarse_names, read, np.ones(len(fine), np.int64), identity)
