"""The parts of both tables of a sweep, measurements and projections: a task belongs to one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from analysis import projections, table
from analysis.part_index import PartIndex
from analysis.parts import Checkpoint
from analysis.tasks import is_projection
from ray_ssl.storage import Storage

KINDS: Final = (table.KIND, projections.KIND)


class Row(Protocol):
    """What a task found of one layer."""

    def as_row(self) -> dict[str, Any]:
        """Returns the columns that it fills, besides those of the checkpoint."""
        ...


def write(
    storage: Storage, checkpoint: Checkpoint, task: str, rows: Iterable[Row], settings: Mapping[str, Any]
) -> None:
    """Writes all that one task found of one checkpoint into the table it belongs to; see `Kind.write`."""
    kind = projections.KIND if is_projection(task) else table.KIND
    storage.check_may_write()
    values = [checkpoint._asdict() | row.as_row() for row in rows]
    kind.write(storage.filesystem, storage.path(kind.name), checkpoint, task, values, settings)


def present(
    storage: Storage, settings: Mapping[str, Mapping[str, Any]] | None = None, remember: bool = False
) -> set[tuple[str, int, str]]:
    """Returns (trial_key, epoch, task) of every whole part of both tables; see `Kind.present`.

    Args:
        remember: Whether the index of the parts is written too, so that this takes a moment the next time.
    """
    found = set()
    for kind in KINDS:
        index = PartIndex(storage, kind.name, kind.format)
        found |= kind.present(storage.filesystem, storage.path(kind.name), settings, index)
        if remember:
            index.save()
    return found


def settings_by_part(storage: Storage) -> list[tuple[tuple[str, int, str], dict[str, Any]]]:
    """Returns (trial_key, epoch, task) and the settings of every whole part of both tables."""
    return [
        part
        for kind in KINDS
        for part in kind.settings_by_part(
            storage.filesystem, storage.path(kind.name), PartIndex(storage, kind.name, kind.format)
        )
    ]


def read_projections(storage: Storage) -> Any:
    """Returns all points of a sweep as a pandas frame, empty where there are none; see `Kind.read`."""
    return projections.KIND.read(storage.filesystem, storage.path(projections.PROJECTIONS))
