"""Linear heads solve label-pure clusters (arXiv 2106.04156), asked of encoders: is accuracy higher where purity is?

The theory is of a graph's eigenvectors; encoders are measured along their strongest directions (see
`analysis.metrics.cluster_purity`). Purity and accuracy both rise with the number of directions k whatever the encoder
is, so encoders and epochs are compared at one k, and the correlations of all k averaged.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from analysis.claims.base.contract import CORRELATION, Claim, Frame
from analysis.claims.base.interval import Estimate, t_interval
from analysis.needs import Measured
from analysis.purity import FIGURE, heads, within_each_k

LEVEL: Final = "class"


def follows(table: Frame, level: str) -> Estimate:
    """Returns the rank correlation of accuracy and purity over encoders and epochs at one k, mean over k, by seed.

    Of a network that several methods begin with one is counted.
    """
    found = heads(table)
    found = found[found["level"] == level]
    by_seed = {seed: within_each_k(one, "purity") for seed, one in found.groupby("seed")}
    units = np.array([np.mean(values) for values in by_seed.values() if values])
    seeds = [seed for seed, values in by_seed.items() if values]
    num_trials = found.loc[found["seed"].isin(seeds), "trial_key"].nunique()
    mean = float(units.mean()) if len(units) else np.nan
    basis = "one seed" if len(units) == 1 else f"{len(units)} seeds"
    return Estimate(mean, *t_interval(units), num_trials, basis, len(units))


CLAIMS: Final = (
    Claim(
        "heads_follow_cluster_purity", FIGURE,
        "The purer clusters along a network's strongest directions are, the better is a linear head of these.",
        "rank correlation of linear test accuracy and cluster purity of classes over encoders and epochs at one number "
        "of directions, mean over these numbers",
        partial(follows, level=LEVEL), "above", 0.0,
        (Measured("cluster_purity_top5", LEVEL, "train"), Measured("linear_accuracy_top5", LEVEL, "test")),
        compares=True, within=CORRELATION,
    ),
)  # fmt: skip
