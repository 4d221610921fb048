"""Files of a sweep, on a local path or an object store (s3://, gs://), through pyarrow's filesystems.

No rename is relied on, and a write may be torn by a kill at any byte: whoever reads back must be able to tell
(see `seal`), and whatever consists of several files is committed by the one written last.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

from pyarrow import ArrowException, fs

from ray_ssl import object_store
from ray_ssl.errors import UserError

_GIVE: Final = "give a local folder, s3://... or gs://..."


class StoredFile(NamedTuple):
    """A file: its name relative to the storage's folder, its size in bytes, its time in seconds since 1970."""

    name: str
    size: int
    modified: float


@dataclass(frozen=True)
class Storage:
    """A folder on some filesystem. Paths given to its methods are relative to it, with forward slashes."""

    uri: str

    @classmethod
    def at(cls, uri: str | Path, what: str = "storage") -> Storage:
        """Returns the storage at a local path (made absolute) or a URI.

        Args:
            uri: The path or the URI.
            what: It is to the user; for the error.

        Raises:
            UserError: The scheme is unknown or the URI malformed.
        """
        text = str(uri)
        _, separator, place = text.partition("://")
        if separator and not place.partition("?")[0].strip("/"):
            raise UserError(f"cannot use {what} {text!r}: it names no bucket or folder; {_GIVE}")
        storage = cls(text.rstrip("/") if separator else str(Path(text).expanduser().absolute()))
        storage._open(what)
        return storage

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine (or on a disk mounted on it)."""
        return "://" not in self.uri or self.uri.startswith("file://")

    @property
    def local_path(self) -> Path:
        """The folder as a local path; only where `is_local`."""
        assert self.is_local
        return Path(self.uri.removeprefix("file://"))

    def _open(self, what: str = "storage") -> tuple[fs.FileSystem, str]:
        cached = _FILESYSTEMS.get(self.uri)
        if cached is None:
            try:
                filesystem, root = fs.FileSystem.from_uri(self.uri)
                cached = object_store.patient(filesystem), root
            except (ArrowException, ValueError, OSError) as error:
                raise UserError(f"cannot use {what} {self.uri!r}: {_first_line(error)}; {_GIVE}") from None
            _FILESYSTEMS[self.uri] = cached
        return cached

    @property
    def filesystem(self) -> fs.FileSystem:
        """The pyarrow filesystem, for libraries that take one (together with `path`)."""
        return self._open()[0]

    def path(self, name: str = "") -> str:
        """Returns the path of `name` inside `filesystem`."""
        root = self._open()[1]
        return f"{root}/{name}" if name else root

    def child(self, name: str) -> Storage:
        """Returns the storage of a sub-folder."""
        return replace(self, uri=self.address(name))

    def address(self, name: str) -> str:
        """Returns the address of a file or sub-folder: a query stays behind its path."""
        base, query = self._parts()
        return f"{base}/{name}{query}"

    def ancestor(self, levels: int) -> Storage:
        """Returns the storage of the folder that many levels up."""
        base, query = self._parts()
        for _ in range(levels):
            base = base.rpartition("/")[0] or "/"
        return Storage(f"{base}{query}")

    @property
    def name(self) -> str:
        """The folder's own name, the last part of its path."""
        return self._parts()[0].rstrip("/").rpartition("/")[2]

    def _parts(self) -> tuple[str, str]:
        """The path and, of a URI, its query with the question mark; a local path may hold one as any letter."""
        if "://" not in self.uri:
            return self.uri, ""
        base, question, query = self.uri.partition("?")
        return base, question + query

    def read(self, name: str) -> bytes:
        """Returns a file's bytes. Raises FileNotFoundError where there is none."""
        return object_store.read(self.filesystem, self.path(name))

    def stamp(self, name: str) -> tuple[int, int, int] | None:
        """Returns what changes whenever a file is written, for remembering what was read of it.

        Returns:
            None where that is not to be had: no such file, an object store, or a file so young that another writing of
            it might fall into the same tick of the clock.
        """
        if not self.is_local:
            return None
        try:
            status = Path(self.path(name)).stat()
        except OSError:
            return None
        settled = time.time() - status.st_mtime > 1
        return (status.st_ino, status.st_size, status.st_mtime_ns) if settled else None

    def check_may_write(self) -> None:
        """Raises OSError where nothing may be written or deleted now; see `ray_ssl.lease.LeasedStorage`."""

    def write(self, name: str, content: bytes) -> None:
        """Writes a file whole, making its folders.

        Raises:
            OSError: The disk is full, the place cannot be written, the server failed.
        """
        self.check_may_write()
        path = self.path(name)
        if self.is_local:
            self.filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(content)

    def replace(self, name: str, content: bytes) -> None:
        """Writes a small file so that every reader finds it whole, the old content or the new.

        Raises:
            OSError: As `write`; the old content is still there.
        """
        if not self.is_local:
            return self.write(name, content)
        target = Path(self.path(name))
        draft = target.with_name(f".{target.name}.{uuid4().hex}")
        try:
            draft.write_bytes(content)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    def create(self, name: str, content: bytes) -> bool:
        """Writes a file only where none is. Returns whether it was written.

        On a local disk and on S3 this is atomic (there with boto3 installed, and a server that knows conditional
        writes). On another object store it is a check followed by a write.
        """
        if self.is_local:
            target = Path(self.path(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{target.name}.{uuid4().hex}")
            draft.write_bytes(content)
            try:
                os.link(draft, target)  # fails where the target exists, and shows it whole or not at all
            except FileExistsError:
                return False
            finally:
                draft.unlink()
            return True
        if self.exists(name):
            return False
        if object_store.creates(self.filesystem):
            return object_store.create(self.filesystem, self.path(name), content)
        self.write(name, content)
        return True

    def exists(self, name: str) -> bool:
        """Returns whether there is a file or folder of this name."""
        return self.filesystem.get_file_info(self.path(name)).type != fs.FileType.NotFound

    def names(self, folder: str = "") -> list[str]:
        """Returns the names of the files and folders directly inside `folder`, sorted; [] where it is missing."""
        selector = fs.FileSelector(self.path(folder), allow_not_found=True)
        return sorted(info.base_name for info in self.filesystem.get_file_info(selector))

    def files(self, folder: str = "") -> list[StoredFile]:
        """Returns every file inside `folder`, however deep, sorted by name; [] where it is missing."""
        root = self.path()
        selector = fs.FileSelector(self.path(folder), allow_not_found=True, recursive=True)
        infos = [info for info in self.filesystem.get_file_info(selector) if info.type == fs.FileType.File]
        found = [StoredFile(i.path.removeprefix(f"{root}/"), i.size, (i.mtime_ns or 0) / 1e9) for i in infos]
        return sorted(found)

    def delete(self, name: str) -> None:
        """Deletes a file; does nothing where there is none."""
        self.check_may_write()
        try:
            self.filesystem.delete_file(self.path(name))
        except FileNotFoundError:
            return

    def delete_folder(self, name: str) -> None:
        """Deletes a folder and all in it; does nothing where there is none."""
        self.check_may_write()
        try:
            self.filesystem.delete_dir(self.path(name))
        except FileNotFoundError:
            return

    def write_sealed(self, name: str, values: dict[str, Any]) -> None:
        """Writes JSON that proves its own integrity (see `seal`)."""
        self.write(name, seal(values))

    def read_sealed(self, name: str) -> dict[str, Any] | None:
        """Returns sealed JSON, or None where there is no such file or it is torn or altered."""
        try:
            return unseal(self.read(name))
        except FileNotFoundError:
            return None

    def check_writable(self) -> None:
        """Writes and deletes a small file; of folders that are not there yet none is made.

        Raises:
            UserError: That failed.
        """
        probe, place = f".write-check-{os.getpid()}", self
        if self.is_local:
            folder = self.local_path
            place = replace(self, uri=str(next(one for one in (folder, *folder.parents) if os.path.lexists(one))))
        try:
            place.write(probe, b"x")
            place.delete(probe)
        except OSError as error:
            raise UserError(f"cannot write to storage {self.uri!r}: {_reason(error)}") from None


_FILESYSTEMS: dict[str, tuple[fs.FileSystem, str]] = {}


def seal(values: dict[str, Any]) -> bytes:
    """Returns JSON whose first line is the sha256 of the rest, so that any torn or altered byte is noticed."""
    body = json.dumps(values, indent=1, sort_keys=True).encode()
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def unseal(content: bytes) -> dict[str, Any] | None:
    """Returns what `seal` was given, or None where the content is torn or altered. Checked before it is parsed."""
    digest, _, body = content.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):  # whoever wrote it knew how to seal, not what
        return None
    return values if isinstance(values, dict) else None


def describe_os_error(error: OSError) -> str:
    """Returns one line: what is wrong, a full disk named as such, and with which file where the error knows it."""
    # pyarrow's errors name it in their text alone, in quotes
    named = error.filename or next(iter(re.findall(r"'([^']+)'", error.strerror or "")), None)
    reason = _reason(error)
    if _is_full(error) or not error.errno or named is None or isinstance(named, int):
        return reason
    return f"{reason}: {os.fsdecode(named)!r}"


def _is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)


def _reason(error: OSError) -> str:
    if _is_full(error):
        return "the disk is full; make space and run the same command again"
    return os.strerror(error.errno) if error.errno else _first_line(error)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
