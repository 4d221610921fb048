"""Where the lines of a paper's panel stand: one network has them in one panel, several have panels of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import pandas as pd

from analysis.figures.base.grid import MAX_COLUMNS
from analysis.figures.base.networks import Networks, in_order
from analysis.figures.base.numbers import Frame, evenly, level_names, subject
from analysis.figures.base.sheet import Line

MAX_RESTS: Final = 4

LEVEL_LOOKS: Final = {
    "sample": Line("sample", "#0072b2", "solid", "o"),
    "class": Line("class", "#d55e00", "solid", "s"),
    "superclass": Line("superclass", "#009e73", "solid", "^"),
}
"""Of each label level, where a panel holds several (colours of Okabe and Ito)."""


class Placed(NamedTuple):
    """Numbers with row, column, group and series; the looks of the series, the key, and an addition to the note."""

    found: Frame
    looks: Mapping[Any, Line]
    key: list[Line]
    left_out: str


def overlaid(shown: Networks, found: Frame, looks: Mapping[str, Line], row: str) -> Placed:
    """Returns numbers so that one network has a line for each quantity in one panel, and several a panel for each.

    Args:
        shown: How networks are drawn.
        found: Numbers with the column `quantity`, a key of `looks`.
        looks: Of each quantity, in order.
        row: Name of the vertical axis.
    """
    found = found[found["quantity"].isin(list(looks))]
    if found["network"].nunique() == 1:
        found = found.assign(series=found["quantity"], column="", row=row, group="").drop(
            columns="chance", errors="ignore"
        )
        present = {name: look for name, look in looks.items() if (found["quantity"] == name).any()}
        return Placed(found, present, list(present.values()) if len(present) > 1 else [], "")
    found = shown.drawn(found)
    names = [look.label for look in looks.values()]
    found = found.assign(
        label=found["quantity"].map({name: look.label for name, look in looks.items()}), name=row,
        series=found["network"], group=found["quantity"],
    ).sort_values("label", key=lambda label: label.map(names.index), kind="stable")  # fmt: skip
    found = shown.in_columns(found, column="label", row="name")
    there = set(found["network"])
    lines = {name: line for name, line in shown.lines.items() if name in there}
    return Placed(found, lines, shown.key_of(found), shown.left_out)


def by_network(shown: Networks, found: Frame, row: str) -> Placed:
    """Returns numbers with a column of panels for each depth, width or method and a row for each of what else varies.

    Args:
        shown: How networks are drawn.
        found: Numbers with the columns `series` and `group`.
        row: Name of the vertical axis.
    """
    every = found["network"].nunique()
    found = shown.drawn(found)
    firsts = list(dict.fromkeys(shown.first[name] for name in found["network"].unique()))
    firsts = evenly([first for first in dict.fromkeys(shown.first.values()) if first in firsts], 2 * MAX_COLUMNS)
    rests = list(dict.fromkeys(shown.rest[name] for name in found["network"].unique()))
    rests = evenly([rest for rest in dict.fromkeys(shown.rest.values()) if rest in rests], MAX_RESTS)
    columns, rest = found["network"].map(shown.first), found["network"].map(shown.rest)
    found = found.assign(column=columns, rest=rest)[columns.isin(firsts) & rest.isin(rests)]
    lacking = every - found["network"].nunique()
    left_out = f"; {every - lacking} of {every} networks (the CSV has all)" if lacking else ""
    if len(firsts) == 1 and len(rests) == 1:
        return Placed(found.assign(column="", row=row), {}, [], left_out)
    above = found["rest"].where(found["rest"] == "", found["rest"] + "\n")
    found = found.assign(column=in_order(found["column"], firsts), row=above + row)
    found = found.sort_values("rest", key=lambda column: column.map(rests.index), kind="stable")
    return Placed(found, {}, [], left_out)


def level_looks(table: Frame) -> dict[str, Line]:
    """Returns the looks of the label levels, named by their number of classes: "100 classes"."""
    names = level_names(table)
    return {level: look._replace(label=names[level]) for level, look in LEVEL_LOOKS.items()}


def network_subject(table: Frame, found: Frame) -> str:
    """Returns the network that is drawn, where it is one, or what all trials share; and the data set."""
    one = found.drop_duplicates("network")
    if len(one) == 1:
        at = (one["method"].iloc[0], one["depth"].iloc[0], one["width"].iloc[0])
        table = table[(table["method"] == at[0]) & (table["depth"] == at[1]) & (table["width"] == at[2])]
    return subject(table)


def joined(*frames: Frame) -> Frame:
    """Returns the rows of all, in this order."""
    return pd.concat(frames, ignore_index=True)
