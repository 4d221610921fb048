"""Decay of the eigenspectrum of the features (alpha-ReQ)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from analysis.labels import LabelLevel
from analysis.metrics.base import UNLABELLED, Measurement, MetricSpec
from analysis.moments import Moments
from analysis.sums import MOMENTS, Layer

SPECS = (MetricSpec("alpha_req", 0, math.inf, "", labelled=False),)

GROUPS: Final = ("data",)
SUMS: Final = (MOMENTS,)

FIRST_RANK, LAST_RANK = 4, 100
"""Fitted ranks, the largest eigenvalue being rank 1. The first are off the line, the last are noise."""

CUTOFF: Final = 1e-10
"""Eigenvalues below this share of the largest are rounding of float32 features, hence not fitted."""


def measure(features: Layer, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields alpha, where the eigenvalues of the covariance of the training features fall as rank^-alpha.

    0: all directions alike; the larger, the fewer directions hold the variance. The paper finds the best
    representations near 1.

    Source: arXiv 2202.05808.
    """
    yield Measurement(
        UNLABELLED, "train", SPECS[0].name, alpha(features.sums(MOMENTS, "train").eigenvalues(centred=True))
    )


def eigenvalues(features: Tensor) -> Tensor:
    """Returns the eigenvalues of the covariance of float [N, D], float64 [min(N, D)], falling."""
    return Moments.of(features).eigenvalues(centred=True)


def alpha(spectrum: Tensor) -> float:
    """Returns minus the slope of log eigenvalue by log rank, for a falling spectrum [R].

    A least-squares line through ranks 4 to 100, or to the last above `CUTOFF`; ranks have weight 1 / rank, which
    spreads them evenly over log rank. The paper's text states neither range nor weights; these are those of the
    code its authors released. NaN with fewer than two eigenvalues in the range.
    """
    fitted = spectrum[FIRST_RANK - 1 : LAST_RANK]
    fitted = fitted[fitted > CUTOFF * spectrum[0]].log()
    if len(fitted) < 2:
        return math.nan
    ranks = torch.arange(FIRST_RANK, FIRST_RANK + len(fitted), dtype=torch.float64, device=fitted.device)
    weights = 1 / ranks / (1 / ranks).sum()
    x = ranks.log() - weights @ ranks.log()
    return -((weights * x) @ fitted / ((weights * x) @ x)).item()
