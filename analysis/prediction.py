"""What connectivity predicts of transfer beside what was measured, pair of classes by pair, from the table alone.

arXiv 2204.00570 (section 4): a head of the source transfers where alpha and beta, the edges to the own class in the
other domain and to the other class in the own domain, exceed gamma, that to what differs in both. The prediction of a
pair is min(alpha, beta) - gamma. That its size, not its sign alone, orders pairs is what is asked here, not the theory.
Where source and target hardly differ, beta is gamma but for noise, and so is the prediction; the ratio
log(alpha beta / gamma^2) still orders pairs there, and stands beside it (relative strengths are the paper's; that both
weigh the same was not checked).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from analysis.figures.base.numbers import REPRESENTATION, trials
from analysis.needs import is_self_supervised

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

FIGURE: Final = "transfer_prediction"
RHO, ALPHA, BETA, GAMMA = EDGES = tuple(f"connectivity_{name}" for name in ("rho", "alpha", "beta", "gamma"))
ACCURACY: Final = "pair_target_accuracy"
PREDICTIONS: Final = {"prediction": "min(alpha, beta) - gamma", "log_ratio": "log(alpha beta / gamma^2)"}
LEAST_ERROR: Final = 1e-3
"""Errors below it count as this much in the ratio: they are of too few images to tell."""

NUM_RESAMPLED: Final = 2000

_TRIAL: Final = ["dataset", "trial_key", "method", "depth", "width", "seed"]


class Correlation(NamedTuple):
    """Spearman's correlation of a prediction and accuracy over pairs.

    Attributes:
        method: Of the networks; with the data set where there are several.
        value: -1 .. 1; NaN of fewer than three pairs, or where one does not vary.
        low, high: Ends of its 95 % bootstrap interval.
        num_pairs: Pairs of classes.
    """

    method: str
    value: float
    low: float
    high: float
    num_pairs: int


def saw_target(method: str) -> bool:
    """Returns whether a method, as the table names it, learned from unlabelled images of both domains."""
    return is_self_supervised(method) and not method.endswith("(source)")


def edges_of_pairs(table: Frame) -> Frame:
    """Returns a row for each trial and pair with its level and the columns of `EDGES`."""
    rows = table[table["metric"].isin(EDGES) & np.isfinite(table["value"])]
    wide = rows.pivot_table(index=[*_TRIAL, "level"], columns="metric", values="value").reindex(columns=list(EDGES))
    return wide.dropna().reset_index()


def by_pair(table: Frame) -> Frame:
    """Returns a row for each trial and pair: `edges_of_pairs`, `PREDICTIONS`, and accuracy at the last epoch."""
    rows = table[(table["metric"] == ACCURACY) & (table["layer_name"] == REPRESENTATION) & np.isfinite(table["value"])]
    rows = rows[rows["epoch"] == rows.groupby("trial_key")["epoch"].transform("max")]
    rows = rows.drop_duplicates([*_TRIAL, "level"])[[*_TRIAL, "level", "value"]].rename(columns={"value": "accuracy"})
    found = edges_of_pairs(table).merge(rows, on=[*_TRIAL, "level"])
    alpha, beta, gamma = (found[edge].clip(lower=LEAST_ERROR) for edge in (ALPHA, BETA, GAMMA))
    return found.assign(
        prediction=np.minimum(found[ALPHA], found[BETA]) - found[GAMMA], log_ratio=np.log(alpha * beta / gamma**2)
    )


def over_trials(table: Frame) -> Frame:
    """Returns `by_pair` of networks that saw both domains unlabelled, means over seeds.

    Columns: series (the network, after its data set where there are several), dataset, network, level, the columns of
    `EDGES` and `PREDICTIONS`, accuracy, n (seeds).
    """
    found = by_pair(table)
    found = found[found["method"].map(saw_target).astype(bool)]
    names = [trials(one).set_index("trial_key")["network"] for _, one in table.groupby("dataset")]
    names = pd.concat(names) if names else pd.Series(dtype=object)
    network = found["trial_key"].map(names[~names.index.duplicated()])
    prefix = found["dataset"] + ", " if found["dataset"].nunique() > 1 else ""
    found = found.assign(network=network, series=prefix + network)
    values = [*EDGES, *PREDICTIONS, "accuracy"]
    groups = found.groupby(["series", "dataset", "network", "level"], sort=True)
    return groups[values].mean().assign(n=groups.size()).reset_index()


def correlations(table: Frame, prediction: str = "prediction") -> list[Correlation]:
    """Returns the correlation of every series of `over_trials`; and of all, "all", where there are several.

    Args:
        prediction: One of `PREDICTIONS`.
    """
    found = over_trials(table)
    rows = [(str(name), one) for name, one in found.groupby("series")]
    rows += [("all", found)] if len(rows) > 1 else []
    return [Correlation(name, *interval(one[prediction], one["accuracy"]), len(one)) for name, one in rows]


def interval(x: Any, y: Any, num_resampled: int = NUM_RESAMPLED) -> tuple[float, float, float]:
    """Returns Spearman's correlation and the ends of its 95 % percentile bootstrap interval over pairs.

    Pairs that share a class are not independent, so the interval is narrower than that over other classes would be.

    Args:
        x, y: Float [N]; NaN is returned where N < 3 or one of them does not vary.
        num_resampled: Samples of N pairs with repetition; the same for the same N.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) < 3:
        return np.nan, np.nan, np.nan
    value = float(_spearman(x[None], y[None])[0])
    rows = np.random.default_rng(0).integers(0, len(x), (num_resampled, len(x)))
    resampled = _spearman(x[rows], y[rows])
    resampled = resampled[np.isfinite(resampled)]
    if np.isnan(value) or not len(resampled):
        return value, np.nan, np.nan
    low, high = np.percentile(resampled, [2.5, 97.5])
    return value, float(low), float(high)


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row of [B, N]; NaN where one of both does not vary."""
    x, y = (rankdata(values, axis=1) for values in (x, y))
    x, y = (values - values.mean(1, keepdims=True) for values in (x, y))
    norm = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.divide((x * y).sum(1), norm, out=np.full(len(x), np.nan), where=norm > 0)
