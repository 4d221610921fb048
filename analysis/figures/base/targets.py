"""Targets of graded randomness: a teacher's predictions, from the end of its training (0) to its initialisation (1)."""

from __future__ import annotations

from typing import Final

from analysis.figures.base.numbers import Frame, prepare, values
from analysis.needs import is_self_supervised

TEACHER: Final = "teacher-"
NOISE: Final = "noise-"
SEMANTIC: Final = "teacher-0.00"
RANDOM: Final = "teacher-1.00"


def self_supervised(table: Frame) -> Frame:
    """Returns the rows of trials that see no labels."""
    return table[table["method"].map(is_self_supervised).astype(bool)]


def self_supervised_if_any(table: Frame) -> Frame:
    """Returns the rows of trials that see no labels; all rows where there are none of these.

    A panel of the paper's shows networks that learn without labels; others beside them would take its place.
    """
    rows = self_supervised(table)
    return table if rows.empty else rows


def measured_randomness(table: Frame, kind: str = TEACHER) -> dict[str, float]:
    """Returns how random each target of a kind is, by level, 0..1; of several with the same labels one alone.

    A level is named by the randomness that was asked for; which one the nearest of the teacher's checkpoints had, was
    measured. Where the table does not have it, it is the one asked for.
    """
    levels = sorted(level for level in table["level"].unique() if level.startswith(kind))
    rows = table[table["metric"] == "target_randomness"]
    measured = rows.groupby("level")["value"].mean().to_dict()
    asked = {level: float(level.removeprefix(kind)) for level in levels}
    found = {level: round(float(measured.get(level, asked[level])), 3) for level in levels}
    nearest = sorted(levels, key=lambda level: abs(asked[level] - found[level]))
    once = {found[level]: level for level in reversed(nearest)}
    return {level: value for level, value in found.items() if once[value] == level}


def most_frequent(table: Frame) -> tuple[float, str] | None:
    """Returns the accuracy of always guessing the random target's most frequent label, and its name.

    An untrained teacher has few labels: accuracies of its predictions are high for that reason alone. None where the
    share is not measured.
    """
    rows = table[(table["metric"] == "target_largest_share") & (table["split"] == "test")]
    rows = rows[rows["level"] == RANDOM]
    if rows.empty:
        return None
    share = float(rows["value"].mean())
    return share, f"most frequent label at randomness 1: {100 * share:.3g}%"


def labels_note(table: Frame) -> str:
    """Returns how many labels the two ends have, as a part of a figure's note; "" where that is not measured."""
    rows = table[(table["metric"] == "target_num_used") & (table["split"] == "test")]
    counts = rows.groupby("level")["value"].mean()
    if not {SEMANTIC, RANDOM} <= set(counts.index):
        return ""
    return f"; labels that occur: {counts[SEMANTIC]:.0f} semantic, {counts[RANDOM]:.0f} random"


def target_values(table: Frame, metric: str, split: str = "test", kind: str = TEACHER) -> Frame:
    """Returns the finite rows of a metric at the targets of a kind, with the column `randomness`, "0.00" to "1.00".

    It is the measured one, and targets with the same labels are there once: see `measured_randomness`.

    Raises:
        UserError: An accuracy above 1, several data sets.
    """
    rows = values(self_supervised(prepare(table, metric)), metric, split=split, level=False)
    rows = rows[rows["level"].str.startswith(kind)]
    randomness = measured_randomness(table, kind)
    rows = rows[rows["level"].isin(list(randomness))]
    return rows.assign(randomness=rows["level"].map(lambda level: f"{randomness[level]:.2f}"))
