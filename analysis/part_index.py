"""Which parts of a table were read and found whole: planning a sweep need not read tens of thousands of them again.

`FOLDER-index.json` beside the folder of the parts; a part of another size or time than noted there is read. The table
itself is always read from the parts, every byte checked; where one is torn the index is dropped.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

from pyarrow import fs as pafs

from ray_ssl.storage import Storage

SETTLED_SECONDS: Final = 2.0
"""A younger part might still be replaced by one of the same size and, as clocks tick, of the same time."""

Settings = dict[str, Any]


class PartIndex:
    """What is known of the parts of one folder.

    Args:
        storage: The sweep's folder.
        folder: Of the parts, in it.
        format: Version of the parts' schema; an index of another version is not used.
    """

    def __init__(self, storage: Storage, folder: str, format: str) -> None:
        self._storage, self._name, self._format = storage, index_name(folder), format
        record = storage.read_sealed(self._name) or {}
        known = record if record.get("format") == format else {"settings": [], "parts": {}}
        self._settings: list[Settings] = known["settings"]
        self._numbers = {json.dumps(s, sort_keys=True): number for number, s in enumerate(self._settings)}
        self._parts: dict[str, list[int]] = known["parts"]  # name -> size, nanoseconds since 1970, number of settings
        self._changed = False

    def settings(self, info: pafs.FileInfo) -> Settings | None:
        """Returns the settings that a part was measured with, or None where it must be read."""
        size, modified, number = self._parts.get(info.base_name, (-1, -1, -1))
        return self._settings[number] if (size, modified) == (info.size, info.mtime_ns) else None

    def add(self, info: pafs.FileInfo, settings: Settings) -> None:
        """Notes that a part is whole."""
        if info.mtime_ns is None or time.time() - info.mtime_ns / 1e9 < SETTLED_SECONDS:
            return
        number = self._numbers.setdefault(json.dumps(settings, sort_keys=True), len(self._settings))
        if number == len(self._settings):
            self._settings.append(settings)
        self._parts[info.base_name] = [info.size, info.mtime_ns, number]
        self._changed = True

    def save(self) -> None:
        """Writes what was added."""
        if self._changed:
            values = {"format": self._format, "settings": self._settings, "parts": self._parts}
            self._storage.write_sealed(self._name, values)
            self._changed = False


def index_name(folder: str) -> str:
    """Returns the name (or the path) of the index of a folder of parts."""
    return f"{folder}-index.json"


def drop_index(fs: pafs.FileSystem, folder: str) -> None:
    """Deletes the index of a folder of parts, where there is one and it can be deleted."""
    try:
        fs.delete_file(index_name(folder))
    except OSError:
        return
