"""Accuracies of heads that learned in the source: the rows that several figures show, and intervals over seeds."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.figures.base.numbers import Frame, prepare, values

DOMAINS: Final = ("source", "target")
LOGISTIC: Final = "logistic"
PFA: Final = ("pfa1", "pfa2", "pfa3")
CENTRED: Final = tuple(f"centred_{head}" for head in PFA)
HEADS: Final = (LOGISTIC, *PFA, *CENTRED)
SOURCE_ACCURACY, TARGET_ACCURACY = (f"{domain}_accuracy_{LOGISTIC}" for domain in DOMAINS)


def transfer_accuracies(rows: Frame, split: str = "test") -> Frame:
    """Returns the accuracies on images of a split, of prepared rows, with the columns `domain` and `head`."""
    names = {f"{domain}_accuracy_{head}": (domain, head) for domain in DOMAINS for head in HEADS}
    rows = pd.concat([values(rows, name, split=split) for name in names])
    domains, heads = (rows["metric"].map({name: pair[i] for name, pair in names.items()}) for i in (0, 1))
    return rows.assign(domain=domains, head=heads)


def prepared(table: Frame, *more: str) -> Frame:
    """Returns the rows of the accuracies, and of more metrics, see `numbers.prepare`."""
    return prepare(table, *(f"{domain}_accuracy_{head}" for domain in DOMAINS for head in HEADS), *more)


def with_intervals(found: Frame) -> Frame:
    """Returns means over seeds with half the width of their 95 % interval (Student's t) as `spread`; NaN of one seed.

    Args:
        found: As `numbers.over_seeds` returns it: the spread is a standard deviation.
    """
    return found.assign(spread=stdtrit(found["n"] - 1, 0.975) * found["spread"] / np.sqrt(found["n"]))
