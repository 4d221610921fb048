"""Tables written as the parts of a sweep's folder, for the commands that read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pyarrow import fs as pafs

from analysis.figures.base.numbers import Frame
from analysis.pipeline import MEASUREMENTS
from analysis.table import KIND, Checkpoint, LayerMeasurement
from ray_ssl.storage import Storage


def write_part(
    fs: pafs.FileSystem,
    folder: str,
    checkpoint: Checkpoint,
    task: str,
    rows: Iterable[LayerMeasurement],
    settings: Mapping[str, Any],
) -> str:
    """Writes all that one task measured of one checkpoint, as `analysis.stored.write`, on any file system."""
    return KIND.write(fs, folder, checkpoint, task, [checkpoint._asdict() | row.as_row() for row in rows], settings)


def write_table(table: Frame, sweep: Path) -> None:
    """Writes the rows of each trial as one part of the sweep's table."""
    storage = Storage.at(sweep)
    for key, rows in table.groupby("trial_key"):
        first = rows.iloc[0]
        about = Checkpoint("sweep", str(key), first["method"], 1, 1, 0, first["dataset"], int(rows["epoch"].max()))
        KIND.write(storage.filesystem, storage.path(MEASUREMENTS), about, "test", rows.to_dict("records"), {})
