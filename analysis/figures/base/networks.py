"""Which colour, marker and dash a network has, the same in every figure of a table, and how many fit into a panel.

Of method, depth and width, those that vary tell the networks apart. The first of them is shown by colour and marker.
The others are shown by dash where few networks share a panel, else by a column of panels each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import pandas as pd

from analysis.figures.base.numbers import Frame, evenly, trials
from analysis.figures.base.sheet import INK, Line

OKABE_ITO: Final = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#000000", "#999999")
"""Colours that the colour-blind tell apart (Okabe and Ito 2008), grey for their yellow, which is faint on white."""

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: Final = ("solid", (0, (4, 1.5)), (0, (1, 1.2)))
MAX_COLOURS: Final = 2 * len(OKABE_ITO)
MAX_OVERLAID: Final = 9
MAX_COLUMNS: Final = 6


def in_order(texts: Frame, order: Iterable[str]) -> Frame:
    """Returns a column of text that remembers the order its panels are to stand in."""
    return pd.Categorical(texts, list(dict.fromkeys(order)), ordered=True)


class Networks(NamedTuple):
    """How the networks of a table are drawn.

    Attributes:
        lines: Look of each network that is drawn, by `network`, in order.
        columns: Title of the column of panels that a network is in; "" where one panel holds all.
        first: What colour tells of a network, "depth 2".
        rest: What it does not, "width 64"; "" where there is nothing more.
        key: Entries of the key.
        left_out: Addition to the note where networks are not drawn, else "".
    """

    lines: dict[str, Line]
    columns: dict[str, str]
    first: dict[str, str]
    rest: dict[str, str]
    key: list[Line]
    left_out: str

    def drawn(self, found: Frame) -> Frame:
        """Returns the numbers of the networks that are drawn."""
        return found[found["network"].isin(list(self.lines))]

    def in_columns(self, found: Frame, column: str, row: str) -> Frame:
        """Returns the numbers with the columns of text `row` and `column` of the panel they stand in.

        Args:
            found: Numbers of drawn networks.
            column: Column of text that titles the panels where one panel holds all networks.
            row: Column of text that names the vertical axis.
        """
        if not any(self.columns.values()):
            return found.assign(column=found[column], row=found[row])
        names = found[row] if found[column].nunique() == 1 else found[column] + "\n" + found[row]
        return found.assign(column=in_order(found["network"].map(self.columns), self.columns.values()), row=names)


def networks(table: Frame) -> Networks:
    """Returns how the networks of a table are drawn, whatever figure draws them."""
    every = trials(table).drop_duplicates("network")
    first, rest = _factors(every)
    text = {name: _words(every, name) for name in (first, *rest)}
    every = every.assign(
        first=text[first], rest=[", ".join(words) for words in zip(*(text[name] for name in rest), strict=True)] or ""
    )
    colours = evenly(list(every.sort_values(first)["first"].unique()), MAX_COLOURS)
    rests = evenly(list(every.sort_values(rest)["rest"].unique()) if rest else [""], MAX_COLUMNS)
    shown = every[every["first"].isin(colours) & every["rest"].isin(rests)]
    looks = {one: _look(one, i) for i, one in enumerate(colours)}
    overlaid = len(every) <= MAX_OVERLAID and len(rests) <= len(DASHES)
    # The last of the rest, the widest or deepest, is solid; the others are dashed and hollow.
    dashes = dict(zip(reversed(rests), DASHES, strict=False)) if overlaid and len(rests) > 1 else {}
    shown = shown.sort_values(["first", "rest"], key=lambda c: c.map((colours if c.name == "first" else rests).index))
    lines = {}
    for network, one, other in zip(shown["network"], shown["first"], shown["rest"], strict=True):
        dash = dashes.get(other, looks[one].dash)
        lines[network] = looks[one]._replace(label=network, dash=dash, hollow=dash != "solid")
    shown = shown.sort_values("rest", key=lambda rest: rest.map(rests.index), kind="stable")
    others = dict(zip(shown["network"], shown["rest"], strict=True))
    key = [look for one, look in looks.items() if one in set(shown["first"])] if len(colours) > 1 else []
    key += [Line(one, INK, dashes[one], "o", hollow=dashes[one] != "solid") for one in rests if one in dashes]
    columns = dict.fromkeys(others, "") if overlaid else others
    shown = shown.sort_values("first", key=lambda first: first.map(colours.index), kind="stable")
    firsts = dict(zip(shown["network"], shown["first"], strict=True))
    return Networks(lines, columns, firsts, others, key, _left_out(len(every), len(shown)))


def _words(every: Frame, name: str) -> list[str]:
    return [str(value) if name in ("method", "network") else f"{name} {value}" for value in every[name]]


def _factors(every: Frame) -> tuple[str, list[str]]:
    """The column that colour shows, and the others that vary."""
    varying = [name for name in ("method", "depth", "width") if every[name].nunique() > 1]
    if every.duplicated(["method", "depth", "width"]).any() or not varying:
        return "network", []
    if varying[0] != "method":  # of depth and width, the one with more values; methods are always in colour
        varying.sort(key=lambda name: -every[name].nunique())
    return varying[0], varying[1:]


def _look(label: str, i: int) -> Line:
    cycle, at = divmod(i, len(OKABE_ITO))
    return Line(label, OKABE_ITO[at], DASHES[cycle], MARKERS[at], hollow=cycle > 0)


def _left_out(num_networks: int, num_shown: int) -> str:
    if num_shown == num_networks:
        return ""
    return f"; {num_shown} of {num_networks} networks, spread over the range (the CSV has all)"
