"""Which colour, marker and dash a network has, the same in every figure of a table, and how many fit into a panel.

Of method, depth and width, those that vary tell the networks apart. The first of them is shown by colour and marker.
The others are shown by dash where few networks share a panel, else by a column of panels each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

import pandas as pd

from analysis.figures.base.grid import MAX_COLUMNS
from analysis.figures.base.numbers import Frame, evenly, trials, width_name
from analysis.figures.base.sheet import INK, Line

OKABE_ITO: Final = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#000000", "#999999")
"""Colours that the colour-blind tell apart (Okabe and Ito 2008), grey for their yellow, which is faint on white."""

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: Final = ("solid", (0, (4, 1.5)), (0, (1, 1.2)))
MAX_COLOURS: Final = 2 * len(OKABE_ITO)
MAX_OVERLAID: Final = 9


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

    def key_of(self, found: Frame) -> list[Line]:
        """Returns the entries of the key that these numbers need; none for one network."""
        there = found["network"].unique()
        used = {texts[name] for texts in (self.first, self.rest) for name in there}
        return [entry for entry in self.key if entry.label in used] if len(there) > 1 else []

    def in_columns(self, found: Frame, column: str, row: str) -> Frame:
        """Returns the numbers with the columns of text `row` and `column` of the panel they stand in.

        Args:
            found: Numbers of drawn networks.
            column: Column of text that titles the panels where one panel holds all networks.
            row: Column of text that names the vertical axis.
        """
        if not any(self.columns.values()):
            return found.assign(column=found[column], row=found[row])
        names = found[row] if found[column].nunique() == 1 else (found[column] + "\n" + found[row]).str.strip()
        return found.assign(column=in_order(found["network"].map(self.columns), self.columns.values()), row=names)


class _Factors(NamedTuple):
    """Which column of `trials` colour shows, and which ones are left."""

    first: str
    rest: list[str]


def networks(table: Frame) -> Networks:
    """Returns how the networks of a table are drawn, whatever figure draws them."""
    every = trials(table).drop_duplicates("network")
    chosen = min(_candidates(every), key=lambda factors: _cost(every, factors))
    every, firsts, rests = _split(every, chosen)
    overlaid = _overlaid(every, rests)
    firsts, rests = evenly(firsts, MAX_COLOURS), evenly(rests, MAX_COLUMNS)
    shown = every[every["first"].isin(firsts) & every["rest"].isin(rests)]
    looks = {first: _look(first, i) for i, first in enumerate(firsts)}
    # The last of the rest, the widest or deepest, is solid; the others are dashed and hollow.
    dashes = dict(zip(reversed(rests), DASHES, strict=False)) if overlaid and len(rests) > 1 else {}
    key = [look for first, look in looks.items() if first in set(shown["first"])] if len(firsts) > 1 else []
    key += [Line(rest, INK, dashes[rest], hollow=dashes[rest] != "solid") for rest in rests if rest in dashes]
    lines = {}
    for name, first, rest in shown[["network", "first", "rest"]].itertuples(index=False):
        dash = dashes.get(rest, looks[first].dash)
        lines[name] = looks[first]._replace(label=name, dash=dash, hollow=dash != "solid")
    rest_of = _by_network(shown, "rest", rests)
    columns = dict.fromkeys(rest_of, "") if overlaid else rest_of
    left_out = f"; {len(shown)} of {len(every)} networks, spread over the range (the CSV has all)"
    first_of = _by_network(shown, "first", firsts)
    return Networks(lines, columns, first_of, rest_of, key, left_out if len(shown) < len(every) else "")


def _candidates(every: Frame) -> list[_Factors]:
    """What colour may show, the best first: methods, else of depth and width the one with more values."""
    varying = [name for name in ("method", "depth", "width") if every[name].nunique() > 1]
    varying.sort(key=lambda name: (name != "method", -every[name].nunique()))
    whole = math.prod(every[name].nunique() for name in varying) == len(every)
    mixed = "method" in varying and not whole and len(every) <= len(OKABE_ITO)  # such as one trained elsewhere
    if mixed or every.duplicated(["method", "depth", "width"]).any() or not varying:
        return [_Factors("network", [])]
    return [_Factors(name, [other for other in varying if other != name]) for name in varying]


def _cost(every: Frame, factors: _Factors) -> tuple[int, int]:
    """How many networks would be left out, and how many columns the others would need."""
    every, firsts, rests = _split(every, factors)
    shown = every["first"].isin(evenly(firsts, MAX_COLOURS)) & every["rest"].isin(evenly(rests, MAX_COLUMNS))
    return int((~shown).sum()), 1 if _overlaid(every, rests) else len(rests)


def _split(every: Frame, factors: _Factors) -> tuple[Frame, list[str], list[str]]:
    """The networks with the texts `first` and `rest`, and the distinct ones of both in order."""
    every = every.assign(first=_texts(every, [factors.first]), rest=_texts(every, factors.rest))
    rests = every.sort_values(factors.rest)["rest"].unique().tolist() if factors.rest else [""]
    in_turn = every if factors.first == "network" else every.sort_values(factors.first, kind="stable")
    return every, in_turn["first"].unique().tolist(), rests


def _texts(every: Frame, names: list[str]) -> list[str]:
    """ "depth 2, width 16" for each network; one that has no depth or width has 0 in the table."""
    rows = zip(*(every[name] for name in names), strict=True) if names else [()] * len(every)
    words = [
        [str(v) if n in ("method", "network") else f"{width_name(method) if n == 'width' else n} {v}"
         for n, v in zip(names, row, strict=True) if v != 0]
        for method, row in zip(every["method"], rows, strict=True)
    ]  # fmt: skip
    return [", ".join(row) or ("other" if names else "") for row in words]


def _overlaid(every: Frame, rests: list[str]) -> bool:
    return len(rests) == 1 or (len(every) <= MAX_OVERLAID and len(rests) <= len(DASHES))


def _by_network(shown: Frame, column: str, order: list[str]) -> dict[str, str]:
    """The text of each network, by network, sorted as the distinct ones are."""
    shown = shown.sort_values(column, key=lambda texts: texts.map(order.index), kind="stable")
    return dict(zip(shown["network"], shown[column], strict=True))


def _look(label: str, i: int) -> Line:
    cycle, at = divmod(i, len(OKABE_ITO))
    return Line(label, OKABE_ITO[at], DASHES[cycle], MARKERS[at], hollow=cycle > 0)
