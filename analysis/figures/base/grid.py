"""Which panel stands where: a row for each `row` of the numbers, a column for each `column`."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from analysis.figures.base.numbers import Frame

MAX_COLUMNS: Final = 6


class Panel(NamedTuple):
    """One panel.

    Attributes:
        rows: Its numbers; none where they were not measured.
        group: Panels of one group share a vertical scale.
        title: That of its column; "" where the panel above has it.
        x_labels: No numbers of its column stand below, so those of the horizontal axis do.
        y_labels: It is the first of its row, or the row has several scales.
    """

    rows: Frame
    group: Any
    title: str
    x_labels: bool
    y_labels: bool


class GridRow(NamedTuple):
    """A row of panels, None behind the last column, and the name of its vertical axis."""

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
    names = [name for name in names if any((name, column) in rows_of for column in columns)]
    there = [[(name, column) in rows_of for column in columns] for name in names]
    group = {at: rows["group"].iloc[0] for at, rows in rows_of.items()}
    nothing = next(iter(rows_of.values())).iloc[:0]
    found = []
    for i, name in enumerate(names):
        scales = [group[name, column] for j, column in enumerate(columns) if there[i][j]]
        shared = len(set(scales)) == 1  # otherwise a panel without numbers would be read by its neighbour's
        panels: list[Panel | None] = [None] * size
        for j, column in enumerate(columns):
            title, below = column if i == 0 else "", any(row[j] for row in there[i + 1 :])
            if there[i][j]:
                first = not any(there[i][:j])
                panels[j] = Panel(rows_of[name, column], group[name, column], title, not below, first or not shared)
            else:
                panels[j] = Panel(nothing, None, title, x_labels=False, y_labels=False)
        found.append(GridRow(name, panels))
    return found


def _names(texts: Frame) -> list[str]:
    present = list(texts.unique())
    return [name for name in texts.cat.categories if name in present] if texts.dtype == "category" else present
