"""Parts of a table: one Parquet file for each task and checkpoint, on a local disk or an object store.

`{trial_key}-{epoch:06d}-{task}.parquet` (see `analysis.tasks`); of mutual information between other layers than usual
`{task}-{input}-{layer}` (see `analysis.settings.PAIR`), so that a table holds several. A part is there or it is not;
nothing is ever appended to one. It carries a checksum of all its bytes: an altered one is noticed before it is parsed,
and counts as missing like a torn one.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from analysis.part_index import PartIndex, drop_index
from analysis.settings import PAIR, AnalysisSettings
from ray_ssl import object_store
from ray_ssl.checksum import is_marked, is_whole, to_parquet
from ray_ssl.errors import UserError

_PART_NAME = re.compile(
    r"(?P<trial_key>[0-9A-Za-z_]+)-(?P<epoch>\d{6,})-(?P<task>\w+(@\w+)?)(-[\w.]+-[\w.]+)?\.parquet"
)
_NUM_READERS = 16  # an object store answers one request in 20 to 100 ms, so many are in flight

CHECKPOINT_FIELDS: Final = (
    ("sweep", pa.string()),
    ("trial_key", pa.string()),
    ("method", pa.string()),
    ("depth", pa.int32()),
    ("width", pa.int32()),
    ("seed", pa.int64()),
    ("dataset", pa.string()),
    ("epoch", pa.int32()),
)
"""Columns that say of which checkpoint a row is:

    sweep: Name of the sweep.
    trial_key: 16 hex digits, the hash of everything that changes the trial's numbers.
    method: Module in `ray_ssl.methods`.
    depth: Number of residual blocks, L.
    width: Channels of every layer, H.
    seed: Seed of the weights, the views and the order of the images.
    dataset: Data set that was trained on and measured.
    epoch: Finished passes over the training images; 0 is the network at initialisation.
"""

_OF_TRIAL: Final = frozenset({"data", "family"})
"""Settings of exact graphs that are in the trial's key too, so that a table may hold several; see `analysis.graph`."""

log = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """What was measured; the columns are `CHECKPOINT_FIELDS`."""

    sweep: str
    trial_key: str
    method: str
    depth: int
    width: int
    seed: int
    dataset: str
    epoch: int


@dataclass(frozen=True)
class Kind:
    """A kind of parts, those of one table.

    Attributes:
        name: Of the table, and of the folder of a sweep that holds its parts.
        schema: Its columns.
        key: Columns that identify a row; of rows that agree in all of them one is kept.
        format: Version of the schema; a part of another version is refused.
    """

    name: str
    schema: pa.Schema
    key: tuple[str, ...]
    format: str

    def write(
        self,
        fs: pafs.FileSystem,
        folder: str,
        checkpoint: Checkpoint,
        task: str,
        values: list[dict[str, Any]],
        settings: Mapping[str, Any],
    ) -> str:
        """Writes a part by a single write call; one of the same name is replaced. No rows make a part too.

        Args:
            fs: Local, S3 or GCS file system.
            folder: Folder of the parts on `fs`; made where it is missing.
            checkpoint: What was measured.
            task: See `analysis.tasks`.
            values: Rows with all columns.
            settings: Analysis settings that change its numbers, as JSON values.

        Returns:
            The path of the part.
        """
        name = part_name(checkpoint.trial_key, checkpoint.epoch, task, settings)
        assert _PART_NAME.fullmatch(name), f"not a part name: {name}"
        metadata = {"format": self.format, "settings": json.dumps(settings, sort_keys=True, allow_nan=False)}
        content = to_parquet(pa.Table.from_pylist(values, self.schema.with_metadata(metadata)))
        fs.create_dir(folder, recursive=True)
        path = f"{folder}/{name}"
        with fs.open_output_stream(path) as file:
            file.write(content)
        return path

    def read(self, fs: pafs.FileSystem, folder: str) -> pd.DataFrame:
        """Returns all rows in `folder`, in the order of the part names.

        A torn or altered part is reported once and left out. Of rows equal in `key` the last is kept.

        Raises:
            UserError: A parquet file that is no part, of another format version, or parts of one task that
                were measured with different settings, other than between which layers.
        """
        files = _files(fs, folder)
        parts = self._read_parts(fs, [file.path for file in files])
        if len(parts) < len(files):
            drop_index(fs, folder)
        first: dict[str, str] = {}
        for path, part in parts.items():
            task, settings = _part_id(path)[2], _settings(part)
            other = first.setdefault(task, path)
            if _agreed(path, settings) != _agreed(other, _settings(parts[other])):
                raise UserError(
                    f"{path} was measured with {settings}, {other} with {_settings(parts[other])}: "
                    f"analyse both with the same settings, or into separate folders"
                )
        tables = [p.replace_schema_metadata() for p in parts.values()]
        frame = pa.concat_tables([self.schema.empty_table(), *tables]).to_pandas()
        return frame.drop_duplicates(list(self.key), keep="last", ignore_index=True)

    def present(
        self,
        fs: pafs.FileSystem,
        folder: str,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        index: PartIndex | None = None,
    ) -> set[tuple[str, int, str]]:
        """Returns (trial_key, epoch, task) of every whole part in `folder`.

        Args:
            fs: Local, S3 or GCS file system.
            folder: Folder of the parts; it may be missing.
            settings: By task, the settings it would be run with now. Parts measured with others are not
                counted, so that they are measured again. Tasks that are not named, or None, count as they are.
            index: Parts that it knows are not read; what is read is added to it.

        Raises:
            UserError: A parquet file that is no part, or of another format version.
        """
        wanted = {task: json.loads(json.dumps(s)) for task, s in (settings or {}).items()}
        parts = self.settings_by_part(fs, folder, index)
        return {part for part, settings in parts if wanted.get(part[2], settings) == settings}

    def settings_by_part(
        self, fs: pafs.FileSystem, folder: str, index: PartIndex | None = None
    ) -> list[tuple[tuple[str, int, str], dict[str, Any]]]:
        """Returns (trial_key, epoch, task) and the settings of every whole part in `folder`; see `present`."""
        found: dict[str, dict[str, Any]] = {}
        unknown: dict[str, pafs.FileInfo] = {}
        for file in _files(fs, folder):
            known = index.settings(file) if index is not None else None
            if known is None:
                unknown[file.path] = file
            else:
                found[file.path] = known
        for path, part in self._read_parts(fs, list(unknown)).items():
            found[path] = _settings(part)
            if index is not None:
                index.add(unknown[path], found[path])
        return [(_part_id(path), settings) for path, settings in found.items()]

    def settings_by_task(self, fs: pafs.FileSystem, folder: str) -> dict[str, dict[str, Any]]:
        """Returns the settings that each task was measured with, by task; one part of each is read.

        Raises:
            UserError: As `present`, of the parts that are read.
        """
        files = fs.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(f.path for f in files if _PART_NAME.fullmatch(f.base_name)):
            task = _part_id(path)[2]
            part = None if task in found else self.parse(path, _read_bytes(fs, path))
            if part is not None:
                found[task] = _settings(part)
        return found

    def parse(self, path: str, content: bytes) -> pa.Table | None:
        """Returns the part, or None where it is torn or altered, which is reported once.

        Raises:
            UserError: A whole parquet file, but not one of ours.
        """
        whole = is_whole(content)
        part = _read(content) if whole or not is_marked(content) else None
        if part is None:
            return _report_torn(path)
        version = (part.schema.metadata or {}).get(b"format", b"none").decode(errors="replace")
        is_named = _PART_NAME.fullmatch(path.rsplit("/", 1)[-1]) is not None
        is_ours = version == self.format or (version == "none" and part.schema.names == self.schema.names)
        if is_named and not whole and is_ours:
            return _report_torn(path)  # the checksum itself is destroyed
        if version == "none" or not is_named:
            raise UserError(f"{path} is not a part of the {self.name}: move it out of this folder")
        if version != self.format or not part.schema.equals(self.schema):
            raise UserError(
                f"{path} is of format {version} with {len(part.schema)} columns, this version reads format "
                f"{self.format} with {len(self.schema)}: move it out of this folder and analyse again"
            )
        return part

    def _read_parts(self, fs: pafs.FileSystem, paths: list[str]) -> dict[str, pa.Table]:
        """The whole ones of these parts by path, in the same order; torn ones are reported."""
        with ThreadPoolExecutor(_NUM_READERS) as pool:  # to wait in; parsing there too took 1.7 x the CPU time
            contents = pool.map(lambda path: _read_bytes(fs, path), paths)
            parts = {path: self.parse(path, content) for path, content in zip(paths, contents, strict=True)}
        return {path: part for path, part in parts.items() if part is not None}


def part_name(trial_key: str, epoch: int, task: str, settings: Mapping[str, Any] | None = None) -> str:
    """Returns the file name of a part that was measured with these settings."""
    usual = {name: getattr(AnalysisSettings, name) for name in PAIR}
    pair = [str((settings or {}).get(name, value)) for name, value in usual.items()]
    between = "" if pair == list(usual.values()) else f"-{'-'.join(pair)}"
    return f"{trial_key}-{epoch:06d}-{task}{between}.parquet"


def without_pair(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings besides those that say between which layers: these choose rows and change none."""
    return {name: value for name, value in settings.items() if name not in PAIR}


def _files(fs: pafs.FileSystem, folder: str) -> list[pafs.FileInfo]:
    """The files that are or should be parts, sorted by path."""
    files = fs.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    return sorted((f for f in files if f.extension == "parquet" and f.base_name[0] not in "._"), key=lambda f: f.path)


def _read_bytes(fs: pafs.FileSystem, path: str) -> bytes:
    # Apart from parsing: a request that fails is an error, bytes that are no parquet file are a torn part.
    return object_store.read(fs, path)


def _read(content: bytes) -> pa.Table | None:
    try:
        return pq.ParquetFile(pa.BufferReader(content), pre_buffer=False).read(use_threads=False)
    except Exception:  # pyarrow raises nearly anything on bytes that are no parquet file
        return None


@cache
def _report_torn(path: str) -> None:
    log.warning("%s is torn or altered and counts as missing: analyse again to replace it", path)


def _part_id(path: str) -> tuple[str, int, str]:
    match = _PART_NAME.fullmatch(path.rsplit("/", 1)[-1])
    assert match, path
    return match["trial_key"], int(match["epoch"]), match["task"]


def _settings(part: pa.Table) -> dict[str, Any]:
    """What parts of one task agree in."""
    settings = json.loads(part.schema.metadata[b"settings"])
    return {name: value for name, value in settings.items() if name not in _OF_TRIAL}


def _agreed(path: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of a part's settings, what parts of one task agree in for a table that holds them all.

    Between which layers is in the rows, but for older parts: of other inputs than usual, yet named as usual.
    """
    is_older = path.rsplit("/", 1)[-1] == part_name(*_part_id(path)) and "mine_input" in settings
    given = settings["mine_input"] if is_older else AnalysisSettings.mine_input
    return without_pair(settings) | {"mine_input": given}
