"""Connectivity and transfer (arXiv 2204.00570): which edges are heavier, and do pairs transfer as they predict?

The edges of a trial are those of networks of its seed, over the same images: the interval of mean edges is over what
the classifier draws, not over other images. That of correlations is over pairs of classes, each drawn with all its
networks and corruptions (`analysis.prediction.units`), or over shifts (`analysis.rank_intervals`). rho is 1/2 by
definition (see `analysis.connectivity.classifier`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from analysis.claims.base.contract import CORRELATION, Claim, Frame
from analysis.claims.base.interval import Estimate
from analysis.claims.base.series import TRIAL
from analysis.claims.transfer import CONNECT
from analysis.needs import Measured, Shifts
from analysis.prediction import (
    ACCURACY,
    ALPHA,
    BETA,
    FIGURE,
    GAMMA,
    LEAST_SHIFTS,
    RHO,
    by_pair,
    edges_of_pairs,
    over_seeds,
    over_trials,
    shift_means,
)
from analysis.rank_intervals import intervals


def _per_trial(table: Frame, rows: Frame, statistic: Callable[[Frame], float]) -> Frame:
    """A row for each trial that has a finite statistic of its pairs."""
    about = table[TRIAL].drop_duplicates("trial_key").set_index("trial_key", drop=False)
    values = {key: statistic(one) for key, one in rows.groupby("trial_key")}
    found = about.loc[[key for key, value in values.items() if np.isfinite(value)]]
    return found.assign(value=found["trial_key"].map(values).astype(float)).reset_index(drop=True)


def own_group(table: Frame) -> Frame:
    """Returns mean rho less the larger of mean alpha and mean beta, by trial."""
    return _per_trial(
        table, edges_of_pairs(table), lambda one: one[RHO].mean() - max(one[ALPHA].mean(), one[BETA].mean())
    )


def shared(table: Frame) -> Frame:
    """Returns the smaller of mean alpha and mean beta less mean gamma, by trial."""
    return _per_trial(
        table, edges_of_pairs(table), lambda one: min(one[ALPHA].mean(), one[BETA].mean()) - one[GAMMA].mean()
    )


def follows(table: Frame) -> Estimate:
    """Returns the rank correlation of prediction and target accuracy over pairs and networks, means over seeds."""
    rows = by_pair(table)
    return _estimate(over_seeds(rows, table), "unit", "pairs of classes", rows["trial_key"].nunique())


def follows_over_shifts(table: Frame) -> Estimate:
    """Returns the same over the pairs of all shifts, of networks that saw both domains."""
    rows = over_trials(table)
    return _estimate(rows, "unit", f"pairs of classes in {rows['dataset'].nunique()} shifts", int(_trials(rows)))


def shifts_follow(table: Frame) -> Estimate:
    """Returns the same of means over pairs, a point for each shift and network."""
    rows = over_trials(table)
    return _estimate(shift_means(rows), "dataset", "shifts", int(_trials(rows)))


def _trials(rows: Frame) -> int:
    return rows.groupby("series")["n"].max().sum()


def _estimate(rows: Frame, unit: str, units: str, num_trials: int) -> Estimate:
    """The correlation, with an interval over what is drawn anew."""
    found = intervals({"prediction": rows["prediction"]}, rows["accuracy"], rows[unit])[0]["prediction"]
    num_units = rows[unit].nunique()
    return Estimate(*found, num_trials, f"{num_units} {units}", num_units)


_SHIFTS: Final = (Measured(GAMMA), Measured(ACCURACY), Shifts(GAMMA, LEAST_SHIFTS))

CLAIMS: Final = (
    Claim(
        "own_group_is_connected_most", FIGURE,
        "Images are connected most to those of the same class and domain: rho exceeds alpha and beta.",
        "mean rho over pairs of classes less the larger of mean alpha and mean beta", own_group, "above", 0.0,
        (Measured(ALPHA),),
    ),
    Claim(
        "nothing_shared_is_connected_least", FIGURE,
        "Images that share neither class nor domain are connected least: alpha and beta exceed gamma.",
        "the smaller of mean alpha and mean beta over pairs of classes less mean gamma", shared, "above", 0.0,
        (Measured(GAMMA),),
    ),
    Claim(
        "transfer_follows_connectivity", FIGURE,
        "The more alpha and beta of two classes exceed gamma, the better does a head of the source do in the target.",
        "rank correlation of min(alpha, beta) - gamma and target accuracy over pairs of classes",
        follows, "above", 0.0, (Measured(GAMMA), Measured(ACCURACY)), within=CORRELATION,
    ),
    Claim(
        "transfer_follows_connectivity_over_shifts", CONNECT,
        "Over pairs of several shifts, too, a head of the source does better where alpha and beta exceed gamma more.",
        "rank correlation of min(alpha, beta) - gamma and target accuracy over pairs of classes, shifts and networks",
        follows_over_shifts, "above", 0.0, _SHIFTS, compares=True, within=CORRELATION, across=True,
    ),
    Claim(
        "shifts_transfer_as_connectivity_says", CONNECT,
        "Shifts in which alpha and beta exceed gamma more let heads of the source do better in the target.",
        "rank correlation of mean min(alpha, beta) - gamma and mean target accuracy over shifts and networks",
        shifts_follow, "above", 0.0, _SHIFTS, compares=True, within=CORRELATION, across=True,
    ),
)  # fmt: skip
