"""Which panel stands where: a row for each `row` of the numbers, a column for each `column`."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from analysis.figures.base.numbers import Frame

MAX_COLUMNS: Final = 6


class Panel(NamedTuple):
    """One panel.

    Attributes:
        rows: Its numbers.
        group: Panels of one group share a vertical scale.
        title: That of its column; "" where the panel above has it.
        x_labels: No panel of its column stands below, so the numbers of the horizontal axis do.
        y_labels: The panel at its left has another scale, or there is none.
    """

    rows: Frame
    group: Any
    title: str
    x_labels: bool
    y_labels: bool


class GridRow(NamedTuple):
    """A row of panels, None where a place is empty, and the name of its vertical axis."""

    label: str
    panels: list[Panel | None]


def grid(found: Frame) -> list[GridRow]:
    """Returns the rows of panels from above; of many columns, some stand below the others.

    Args:
        found: Numbers with the columns row, column and group. Where row or column is categorical, its panels stand in
            the order of the categories, else in the order of the numbers.
    """
    rows_of: dict[Any, Frame] = dict(iter(found.groupby(["row", "column"], sort=False, observed=True)))
    names, columns = _names(found["row"]), _names(found["column"])
    size = -(-len(columns) // -(-len(columns) // MAX_COLUMNS))
    blocks = [columns[i : i + size] for i in range(0, len(columns), size)]
    return [row for block in blocks for row in _block(rows_of, names, block, size)]


def _block(rows_of: dict[Any, Frame], names: list[str], columns: list[str], size: int) -> list[GridRow]:
    there = [[(name, column) in rows_of for column in columns] for name in names]
    group = {at: rows["group"].iloc[0] for at, rows in rows_of.items()}
    found = []
    for i, name in enumerate(names):
        panels: list[Panel | None] = [None] * size
        for j, column in enumerate(columns):
            if there[i][j]:
                above, below = any(row[j] for row in there[:i]), any(row[j] for row in there[i + 1 :])
                same = j > 0 and there[i][j - 1] and group[name, columns[j - 1]] == group[name, column]
                rows = rows_of[name, column]
                panels[j] = Panel(rows, group[name, column], "" if above else column, not below, not same)
        if any(panels):
            found.append(GridRow(name, panels))
    return found


def _names(texts: Frame) -> list[str]:
    present = list(texts.unique())
    return [name for name in texts.cat.categories if name in present] if texts.dtype == "category" else present
