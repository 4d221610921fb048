"""The files of a parquet:PATH set on any filesystem: their splits, their row groups, and the images in those."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import PurePosixPath
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from ray_ssl.data.decode import Encoded, Rows
from ray_ssl.errors import UserError
from ray_ssl.object_store import patiently
from ray_ssl.storage import Storage, describe_os_error

SPLITS: Final = ("train", "test", "validation", "valid", "val")  # of several test splits the first is taken
IMAGES_PER_BATCH: Final = 1024
READ_BYTES: Final = 1 << 20
"""A row group is read in pieces of this size: one may be as large as its file."""
SERVER_ERRORS: Final = ("AWS Error", "google::cloud")
FOOTER_END: Final = 8  # its length in 4 bytes, and the magic word


class File(NamedTuple):
    """A Parquet file: its name inside a folder."""

    folder: Storage
    name: str

    def __str__(self) -> str:
        uri = self.folder.child(self.name).uri
        # Without endpoint and password.
        return uri if self.folder.is_local else re.sub("//[^/@]*@", "//", uri.partition("?")[0])


class RowGroup(NamedTuple):
    """What is read at once.

    Attributes:
        file: Where it stands.
        number: Of the group in its file.
        first: Row of its first image among all images of the split.
        offset: The same in its file.
        num_rows: Images.
    """

    file: File
    number: int
    first: int
    offset: int
    num_rows: int


def split_files(path: str) -> tuple[str, dict[str, list[File]]]:
    """Returns a short name of the set, and the files of "train" and, where there is one, of "test".

    Args:
        path: Of a file or a folder, on a disk or as a URI.

    Raises:
        UserError: There is no file, or one is of no split; the server does not answer.
    """
    place = Storage.at(path, "data set")
    try:
        kind = place.filesystem.get_file_info(place.path()).type
        if kind == fs.FileType.File:
            return PurePosixPath(place.name).stem, {"train": [File(place.ancestor(1), place.name)]}
        if kind == fs.FileType.NotFound:
            raise UserError(f"parquet: {path} does not exist, give a .parquet file or a folder of them")
        names = _names(place)
    except OSError as error:
        raise UserError(f"parquet: {path} cannot be read: {describe_os_error(error)}") from None
    if not names:
        raise UserError(f"parquet: {path} holds no .parquet file")
    by_split: dict[str | None, list[File]] = {}
    for name in names:
        by_split.setdefault(_split_of(PurePosixPath(name)), []).append(File(place, name))
    title = place.local_path.resolve().name if place.is_local else place.name
    if list(by_split) == [None]:
        return title, {"train": by_split[None]}
    if None in by_split:
        raise UserError(f"parquet: {by_split[None][0]} is of no split, name it train-*.parquet or test-*.parquet")
    if "train" not in by_split:
        raise UserError(f"parquet: {path} has no training split, name its files train-*.parquet")
    test = next((s for s in SPLITS[1:] if s in by_split), None)
    return title, {"train": by_split["train"]} | ({"test": by_split[test]} if test else {})


def _names(folder: Storage) -> list[str]:
    """The .parquet files at any depth that are not hidden, sorted, relative to the folder."""
    if folder.is_local:
        root = folder.local_path
        found = [f.relative_to(root) for f in sorted(root.rglob("*.parquet")) if not f.is_dir()]  # Spark's folders
        names = [f.as_posix() for f in found]
    else:
        root, selector = folder.path(), fs.FileSelector(folder.path(), recursive=True)
        infos = [info for info in folder.filesystem.get_file_info(selector) if info.type == fs.FileType.File]
        names = sorted(info.path.removeprefix(f"{root}/") for info in infos if info.path.endswith(".parquet"))
    return [name for name in names if not any(part.startswith(".") for part in name.split("/"))]


def _split_of(file: PurePosixPath) -> str | None:
    """The split that a file's name, or else a folder above it, begins with."""
    for part in (file.stem, *reversed(file.parent.parts)):
        found = re.match(rf"({'|'.join(SPLITS)})(?![a-z])", part.lower())
        if found:
            return found[1]
    return None


def open_file(file: File) -> pq.ParquetFile:
    """Returns the opened file.

    Raises:
        UserError: It cannot be read, or is no Parquet.
    """
    try:
        path, filesystem = file.folder.path(file.name), file.folder.filesystem
        return patiently(lambda: pq.ParquetFile(path, filesystem=filesystem, buffer_size=READ_BYTES))
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"parquet: {file} cannot be read as Parquet ({str(error).splitlines()[0]})") from None


def damaged(file: File, error: Exception) -> UserError:
    """Returns what to raise where a file that was opened cannot be read on."""
    reason = str(error).splitlines()[0]
    # What a disk or a server answers is not about the bytes; decoders raise OSErrors too, without a number.
    if isinstance(error, OSError) and (error.errno or any(words in reason for words in SERVER_ERRORS)):
        return UserError(f"parquet: {file} cannot be read on ({reason})")
    return UserError(f"parquet: {file} is damaged ({reason})")


def row_groups(files: Sequence[File]) -> list[RowGroup]:
    """Returns the row groups of all files together, in order, from their footers."""
    groups, first = list[RowGroup](), 0
    for file in files:
        with open_file(file) as opened:
            sizes = [opened.metadata.row_group(number).num_rows for number in range(opened.metadata.num_row_groups)]
        start = first
        for number, size in enumerate(sizes):
            groups.append(RowGroup(file, number, first, first - start, size))
            first += size
    return groups


def identity(files: Sequence[File]) -> str:
    """Returns the sha256 of every file's size and footer: schema, rows, and where each column's pages lie."""
    digest = hashlib.sha256()
    for file in files:
        with file.folder.filesystem.open_input_file(file.folder.path(file.name)) as opened:
            size = opened.size()
            end = patiently(partial(opened.read_at, FOOTER_END, size - FOOTER_END))
            length = int.from_bytes(end[:4], "little")
            digest.update(b"%d\0" % size)
            digest.update(patiently(partial(opened.read_at, length, size - FOOTER_END - length)))
    return digest.hexdigest()


def encoded_images(groups: Sequence[RowGroup], column: str, rows: Rows) -> Iterator[list[Encoded]]:
    """Yields the encoded images at `rows` of all groups together; groups without any are not read.

    Args:
        groups: See `row_groups`.
        column: Of the images.
        rows: int64, those of a group together and ascending.

    Raises:
        UserError: A file is damaged, or an image is null.
    """
    if len(rows) == 0:
        return
    firsts = np.array([group.first for group in groups])
    owner = np.searchsorted(firsts, rows, side="right") - 1
    with ExitStack() as stack:
        opened: tuple[File, pq.ParquetFile] | None = None
        for part in np.split(rows, np.flatnonzero(np.diff(owner)) + 1):
            group = groups[int(np.searchsorted(firsts, part[0], side="right")) - 1]
            if opened is None or opened[0] != group.file:
                stack.close()
                opened = group.file, stack.enter_context(open_file(group.file))
            yield from _read_group(opened[1], group, column, part - group.first)


def _read_group(opened: pq.ParquetFile, group: RowGroup, column: str, rows: Rows) -> Iterator[list[Encoded]]:
    is_struct = pa.types.is_struct(opened.schema_arrow.field(column).type)
    start = 0
    for batch in _batches(opened, group, f"{column}.bytes" if is_struct else column):
        inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + len(batch))]
        values = batch.column(0).take(pa.array(inside - start)).to_pylist()
        encoded = list[Encoded]()
        for row, value in zip((inside + group.offset).tolist(), values, strict=True):
            image = value["bytes"] if is_struct and value is not None else value
            if image is None:
                raise UserError(
                    f"parquet: {group.file}, row {row}: the image is null, its bytes must stand in the file"
                )  # fmt: skip
            encoded.append((f"parquet: {group.file}, row {row}", image))
        if encoded:
            yield encoded
        start += len(batch)
        if start > rows[-1]:
            return


def _batches(opened: pq.ParquetFile, group: RowGroup, column: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from opened.iter_batches(IMAGES_PER_BATCH, row_groups=[group.number], columns=[column])
    except (pa.ArrowException, OSError) as error:
        raise damaged(group.file, error) from None
