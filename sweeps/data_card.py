"""What a sweep remembers of its data, so that a command with nothing to do need not decode all images again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs

import ray_ssl.data
from ray_ssl.data.base import Dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.ledger import DATA
from ray_ssl.storage import Storage


@dataclass(frozen=True)
class DataCard:
    """A data set without its images.

    Attributes:
        fingerprint: See `Dataset.fingerprint`.
        name: See `Dataset`.
        num_train: Training images.
        num_test: Test images.
        num_classes: Fine classes.
        num_superclasses: 0 where the set has none.
        note: See `Dataset`.
    """

    fingerprint: str
    name: str
    num_train: int
    num_test: int
    num_classes: int
    num_superclasses: int
    note: str = ""

    @classmethod
    def of(cls, dataset: Dataset) -> DataCard:
        """Returns the card of a data set that was loaded."""
        train = dataset.train
        sizes = (len(train), len(dataset.test), len(train.fine_names), len(train.coarse_names))
        return cls(dataset.fingerprint, dataset.name, *sizes, note=dataset.note)

    @classmethod
    def recall(cls, sweep: Storage, config: DataConfig) -> DataCard | None:
        """Returns the card that was kept, or None where the files or the options are not those it was made of."""
        kept = sweep.read_sealed(DATA)
        source = source_hash(config)
        return cls(**kept["card"]) if kept is not None and source is not None and kept["of"] == source else None

    def keep(self, sweep: Storage, config: DataConfig) -> None:
        """Writes the card where it is not there yet."""
        values: dict[str, Any] = {"of": source_hash(config), "card": asdict(self)}
        if values["of"] is not None and sweep.read_sealed(DATA) != values:
            sweep.write_sealed(DATA, values)


def source_hash(config: DataConfig) -> str | None:
    """Returns a hash of the options, of the code that reads, of every file's name, size and time; None if unknown."""
    hashes = [_hash_of_set(one) for one in config.sets()]
    if not config.shift or None in hashes:
        return hashes[0] if not config.shift else None
    return hashlib.sha256(f"{config.model_dump_json()} {hashes}".encode()).hexdigest()


def _hash_of_set(config: DataConfig) -> str | None:
    if config.source == "shapes":
        root = None
    elif "://" in config.path:
        return _remote_hash(config)
    elif config.path:
        root = Path(config.path).expanduser()
    elif config.source.startswith("cifar"):
        from ray_ssl.data.cifar import cache_folder

        root = cache_folder()
    else:
        return None
    digest = _options_and_code(config)
    for file in () if root is None else _files(root):
        status = _status(file)
        digest.update(json.dumps([str(file), status.st_size, status.st_mtime_ns]).encode())
    return digest.hexdigest()


def _options_and_code(config: DataConfig) -> Any:
    digest = hashlib.sha256(config.model_dump_json().encode())
    for path in sorted(Path(ray_ssl.data.__path__[0]).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest


def _remote_hash(config: DataConfig) -> str | None:
    """As `source_hash`, of files on an object store; None where they cannot be listed, which loading tells."""
    digest, folder = _options_and_code(config), Storage.at(config.path, "data set")
    try:
        found = folder.filesystem.get_file_info(folder.path())
        infos = [found]
        if found.type == fs.FileType.Directory:
            infos = folder.filesystem.get_file_info(fs.FileSelector(folder.path(), recursive=True))
    except OSError:
        return None
    for info in sorted(infos, key=lambda info: info.path):
        digest.update(json.dumps([info.path, info.size, info.mtime_ns]).encode())
    return digest.hexdigest()


def _status(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError:
        return file.lstat()  # of a broken link, which loading names


def _files(root: Path) -> Iterator[Path]:
    """Every file at or below a path, in a fixed order."""
    if root.is_file():
        yield root.absolute()
    for folder, folders, names in os.walk(root.absolute()):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))
