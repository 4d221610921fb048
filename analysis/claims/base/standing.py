"""How verdicts are counted: what was never measured apart from what was measured of too few."""

from __future__ import annotations

from typing import Any, Final

from analysis.claims.base.check import NOT_COMPUTED
from analysis.claims.base.contract import FAILS, HOLDS, UNKNOWN
from analysis.finetuned_choice import USUAL

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

UNMEASURED: Final = "not measured"
"""Stands for the verdict "not enough data" where there is none at all."""

_ROUNDING: Final = 1e-12

_COUNTED: Final = {HOLDS: ("holds", "hold"), FAILS: ("does not hold", "do not hold")}
"""Of one, and of several."""


def standing(found: Frame) -> Frame:
    """Returns the verdict of each row, `UNMEASURED` where what the claim needs was measured of no trial.

    Args:
        found: See `analysis.claims.check`.
    """
    nothing = (found["num_trials"] == 0) & ~found["note"].str.startswith(NOT_COMPUTED)
    return found["verdict"].where((found["verdict"] != UNKNOWN) | ~nothing, UNMEASURED)


def shown(value: float) -> str:
    """Returns a claim's number, of three digits; what rounding has left of 0 is 0."""
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) > _ROUNDING else "0"


def named_apart(found: Frame) -> Frame:
    """Returns the verdicts with what tells those of one claim apart named in each: of fine-tuning `USUAL`, too.

    Args:
        found: See `analysis.claims.check`.
    """
    several = found.groupby(["dataset", "claim"])["method"].transform("nunique") > 1
    return found.assign(method=found["method"].mask(several & (found["method"] == ""), USUAL))


def tally(found: Frame) -> str:
    """Returns e.g. "12 hold, 3 do not hold, 4 not enough data, 30 not measured"; "" of no row."""
    counts = standing(found).value_counts()
    numbers = [(name, int(counts.get(name, 0))) for name in (HOLDS, FAILS, UNKNOWN, UNMEASURED)]
    return ", ".join(f"{n} {_COUNTED.get(name, (name, name))[n > 1]}" for name, n in numbers if n)
