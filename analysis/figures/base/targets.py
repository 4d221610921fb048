"""Targets of graded randomness: a teacher's predictions, from the end of its training (0) to its initialisation (1)."""

from __future__ import annotations

from typing import Final

from analysis.figures.base.numbers import Frame, prepare, values
from analysis.needs import is_self_supervised

TEACHER: Final = "teacher-"
SEMANTIC: Final = "teacher-0.00"
RANDOM: Final = "teacher-1.00"


def self_supervised(table: Frame) -> Frame:
    """Returns the rows of trials that see no labels."""
    return table[table["method"].map(is_self_supervised).astype(bool)]


def target_values(table: Frame, metric: str, split: str = "test") -> Frame:
    """Returns the finite rows of a metric at all targets of a teacher, with the column `randomness`, "0.00" to "1.00".

    Raises:
        UserError: An accuracy above 1, several data sets.
    """
    rows = values(self_supervised(prepare(table, metric)), metric, split=split, level=False)
    rows = rows[rows["level"].str.startswith(TEACHER)]
    return rows.assign(randomness=rows["level"].str.removeprefix(TEACHER))
