"""What a claim is: a statement, a number for each trial, and the bound that the number must keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from analysis.claims.base.interval import Estimate
from analysis.needs import Need

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

HOLDS: Final = "holds"
FAILS: Final = "does not hold"
UNKNOWN: Final = "not enough data"

SHARE: Final = (0.0, 1.0)
DIFFERENCE: Final = (-1.0, 1.0)
CORRELATION: Final = (-1.0, 1.0)
SIZE: Final = (0.0, math.inf)
"""Values that are possible: of an accuracy, of the difference of two, of a correlation, of what has no sign."""

AT_LEAST: Final = 0.01
"""What "at least" means of an accuracy, in every claim and in advice: less than a point below counts as no less."""

SELF_SUPERVISED: Final = "self-supervised"


class Claim(NamedTuple):
    """A published trend.

    Attributes:
        name: Words with underscores, unique.
        figure: Of arXiv 2305.15614, e.g. "2 left"; of a claim of another paper, that: "arXiv 2204.02683"; or one of
            `analysis.figures`.
        statement: The trend, one sentence.
        statistic: What the number is, one phrase.
        measure: From the prepared table of one data set and one method (for claims that compare methods: of all),
            with the column `end` (see `ends.with_ends`), to a frame with the columns network, seed and value, a row
            for each trial; or the estimate itself, where its interval is over something else than seeds or networks
            (NaN where there is nothing to compute it from).
        direction: "above" or "below": on which side of `bound` the number must be.
        bound: See `direction`.
        needs: What the table must hold, in the order it is asked for. What is measured of networks counts in those
            trials alone that have it at their end, and at epoch 0 where the need says so (see `ends.counted`).
        compares: The number compares methods, so it is computed once for all of them.
        within: The smallest and the largest value that the number can have; an interval ends there.
        apart: Of a claim that compares methods, what splits a table into trials that have a verdict of their own, by
            what tells them apart; None: one verdict for all.
        across: The number is over several data sets, so it is computed once for all of them; `compares` is set too.
        parts: After which parts of the training the number is read, besides its end, each above 0 and below 1.
        caveat: From the same table, what makes the comparison less than it says, "" where nothing does; None: never.
        on_graph: The same, asked of features that are learned on an exact graph (`sweeps/graph.py`), of each
            graph and number of steps by itself; None: it cannot be about a graph.
    """

    name: str
    figure: str
    statement: str
    statistic: str
    measure: Callable[[Frame], Frame | Estimate]
    direction: Literal["above", "below"]
    bound: float
    needs: Sequence[Need]
    compares: bool = False
    apart: Callable[[Frame], Mapping[str, Frame]] | None = None
    within: tuple[float, float] = (-math.inf, math.inf)
    across: bool = False
    parts: tuple[float, ...] = ()
    caveat: Callable[[Frame], str] | None = None
    on_graph: Claim | None = None

    def keeps(self, value: float) -> bool:
        """Returns whether a number is on the right side of the bound."""
        return value > self.bound if self.direction == "above" else value < self.bound
