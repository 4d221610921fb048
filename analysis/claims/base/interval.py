"""Mean and 95 % confidence interval of a statistic over seeds or networks."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit  # scipy.stats has it as t.ppf, and takes a second to import

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""


class Estimate(NamedTuple):
    """A mean and its interval.

    Attributes:
        mean: Over the units.
        low, high: Ends of the 95 % interval, Student's t unless `basis` says otherwise; NaN of one unit.
        num_trials: Trials behind it.
        basis: What the units are: "3 seeds", "6 networks, one seed", "one trial".
        num_units: How many there are.
    """

    mean: float
    low: float
    high: float
    num_trials: int
    basis: str
    num_units: int

    def within(self, low: float, high: float) -> Estimate:
        """Returns it with an interval that ends where the values do that are possible."""
        if math.isnan(self.low):
            return self
        return self._replace(low=max(low, self.low), high=min(high, self.high))


def estimate(values: Frame) -> Estimate:
    """Returns the mean and its t interval, over seeds or over networks, whichever there are more of.

    Over seeds, the unit is the mean of a seed over the networks that all seeds have; over networks, the mean of a
    network over its seeds. Trials are never units by themselves: those of one network are no evidence on another.

    Args:
        values: A row for each trial, columns network, seed and value (finite); one at least. Where a value is made of
            several trials, the column `trials` says how many.
    """
    wide = values.pivot_table(index="seed", columns="network", values="value")
    complete = wide.dropna(axis=1)
    num_seeds, num_networks = len(wide), len(wide.columns)
    if num_seeds >= num_networks and len(complete.columns) > 0 and num_seeds > 1:
        units, used = complete.mean(axis=1), complete
        also = f" of {len(complete.columns)} networks" if len(complete.columns) > 1 else ""
        basis = f"{num_seeds} seeds{also}"
    else:
        units, used = wide.mean(axis=0), wide
        most = int(wide.notna().sum().max())
        basis = f"{num_networks} networks, {'one seed' if most == 1 else f'{most} seeds'}"
        basis = "one trial" if num_networks == 1 else basis
    low, high = t_interval(units.to_numpy(float))
    num_trials = int(used.notna().to_numpy().sum())
    if "trials" in values:
        num_trials = int(values.loc[values["network"].isin(used.columns), "trials"].sum())
    return Estimate(float(units.mean()), low, high, num_trials, basis, len(units))


def t_interval(units: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Returns the ends of the t interval of the mean of independent values; NaN of one value."""
    if len(units) < 2:
        return math.nan, math.nan
    mean, error = units.mean(), units.std(ddof=1) / math.sqrt(len(units))
    away = float(stdtrit(len(units) - 1, (1 + level) / 2)) * error
    return float(mean - away), float(mean + away)
