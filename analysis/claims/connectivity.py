"""Connectivity and transfer (arXiv 2204.00570): which edges are heavier, and do pairs transfer as they predict?

The edges of a trial are those of networks of its seed, over the same images: their interval is over what the classifier
draws, not over other images. rho is 1/2 by definition (see `analysis.connectivity.classifier`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from analysis.claims.base.contract import Claim, Frame
from analysis.claims.base.series import TRIAL
from analysis.needs import Measured
from analysis.prediction import ACCURACY, ALPHA, BETA, FIGURE, GAMMA, RHO, by_pair, edges_of_pairs, interval


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


def follows(table: Frame) -> Frame:
    """Returns the rank correlation of prediction and target accuracy over pairs, by trial."""
    return _per_trial(table, by_pair(table), lambda one: interval(one["prediction"], one["accuracy"], 0)[0])


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
        follows, "above", 0.0, (Measured(GAMMA), Measured(ACCURACY)),
    ),
)  # fmt: skip
