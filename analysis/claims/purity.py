"""Linear heads solve label-pure clusters (arXiv 2106.04156), asked of encoders: is accuracy higher where purity is?

The theory is of a graph's eigenvectors; encoders are measured along their strongest directions (see
`analysis.metrics.cluster_purity`). Purity and accuracy both rise with the number of directions k, so this holds easily;
figure probe_by_purity also has the correlation over points of one k.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from analysis.claims.base.contract import CORRELATION, Claim, Frame
from analysis.claims.base.series import per_trial, rank_correlation
from analysis.needs import Measured
from analysis.purity import FIGURE, heads

LEVEL: Final = "class"


def follows(table: Frame, level: str) -> Frame:
    """Returns the rank correlation of accuracy and purity over k and epochs, by trial."""
    found = heads(table)
    return per_trial(found[found["level"] == level], lambda one: rank_correlation(one["purity"], one["accuracy"]))


CLAIMS: Final = (
    Claim(
        "heads_follow_cluster_purity", FIGURE,
        "The purer clusters along a network's strongest directions are, the better is a linear head of these.",
        "rank correlation of linear test accuracy and cluster purity of classes, over numbers of directions and epochs",
        partial(follows, level=LEVEL), "above", 0.0,
        (Measured("cluster_purity_top5", LEVEL, "train"), Measured("linear_accuracy_top5", LEVEL, "test")),
        within=CORRELATION,
    ),
)  # fmt: skip
