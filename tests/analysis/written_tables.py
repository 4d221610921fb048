"""Tables written as the parts of a sweep's folder, for the commands that read them."""

from __future__ import annotations

from pathlib import Path

from analysis.figures.base.numbers import Frame
from analysis.pipeline import MEASUREMENTS
from analysis.table import Checkpoint, write_rows
from ray_ssl.storage import Storage


def write_table(table: Frame, sweep: Path) -> None:
    """Writes the rows of each trial as one part of the sweep's table."""
    storage = Storage.at(sweep)
    for key, rows in table.groupby("trial_key"):
        first = rows.iloc[0]
        about = Checkpoint("sweep", str(key), first["method"], 1, 1, 0, first["dataset"], int(rows["epoch"].max()))
        write_rows(storage.filesystem, storage.path(MEASUREMENTS), about, "test", rows.to_dict("records"), {})
