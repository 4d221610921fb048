"""What a claim is: a statement, a number for each trial, and the bound that the number must keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

from analysis.needs import Need

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

HOLDS: Final = "holds"
FAILS: Final = "does not hold"
UNKNOWN: Final = "not enough data"

SELF_SUPERVISED: Final = "self-supervised"


class Claim(NamedTuple):
    """A published trend.

    Attributes:
        name: Words with underscores, unique.
        figure: Of arXiv 2305.15614, e.g. "2 left"; or the name of one of `analysis.figures`.
        statement: The trend, one sentence.
        statistic: What the number is, one phrase.
        measure: From the prepared table of one data set and one method (for claims that compare methods: of all) to
            a frame with the columns network, seed and value, a row for each trial.
        direction: "above" or "below": on which side of `bound` the number must be.
        bound: See `direction`.
        needs: What the table must hold, in the order it is asked for.
        compares: The number compares methods, so it is computed once for all of them.
    """

    name: str
    figure: str
    statement: str
    statistic: str
    measure: Callable[[Frame], Frame]
    direction: Literal["above", "below"]
    bound: float
    needs: Sequence[Need]
    compares: bool = False

    def keeps(self, value: float) -> bool:
        """Returns whether a number is on the right side of the bound."""
        return value > self.bound if self.direction == "above" else value < self.bound
