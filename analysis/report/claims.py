"""The claims that a table bears out or does not, where this version checks any."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pandas as pd

from analysis.figures.base.numbers import Frame


def checked(table: Frame) -> Frame | None:
    """Returns a row for each claim and data set, as `analysis.claims.check` gives it; None where there are none."""
    if table.empty or find_spec("analysis.claims") is None:
        return None
    check = import_module("analysis.claims").check
    found = {dataset: check(rows) for dataset, rows in table.groupby("dataset", sort=True)}
    several = len(found) > 1
    parts = [rows.assign(dataset=dataset) if several else rows for dataset, rows in found.items()]
    return pd.concat(parts, ignore_index=True)
