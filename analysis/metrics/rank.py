"""Effective rank of the features (RankMe)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from analysis.features import require_finite
from analysis.labels import LabelLevel
from analysis.metrics.base import UNLABELLED, Measurement, MetricSpec
from analysis.moments import Moments
from analysis.sums import MOMENTS, Layer

SPECS = (MetricSpec("effective_rank", 0, math.inf, "", labelled=False),)

SUMS = (MOMENTS,)

EPSILON = 1e-7
"""Added to every normalised singular value (the paper's value for float32 features)."""


def measure(features: Layer, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields the effective rank of the training features; comparable only within one method and width."""
    yield Measurement(UNLABELLED, "train", SPECS[0].name, rank_of_moments(features.sums(MOMENTS, "train")))


def effective_rank(features: Tensor) -> float:
    """Returns exp(entropy of the normalised singular values): 1 (one direction) .. min(N, D) (all alike).

    Args:
        features: float [N, D], representations or embeddings.

    Raises:
        ValueError: A feature is NaN or infinite.

    Source: RankMe, arXiv 2210.02885, equations 1 and 2.
    """
    require_finite(features, "features")
    return rank_of_moments(Moments.of(features))


def rank_of_moments(moments: Moments) -> float:
    """Returns the effective rank of features by their moments.

    Singular values are those of the uncentred feature matrix, from the eigenvalues of its second moments in float64:
    relative to the largest they are exact to about 1e-8, below `EPSILON`. A matrix of zeros has effective rank 0.
    """
    singular = moments.eigenvalues(centred=False).sqrt()
    if not singular.any():
        return 0.0
    share = singular / singular.sum() + EPSILON
    return torch.exp(-(share * share.log()).sum()).item()
