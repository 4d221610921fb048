"""Effective rank of the features (RankMe)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from analysis.features import LayerFeatures, require_finite
from analysis.labels import LabelLevel
from analysis.metrics.base import ROW_CHUNK, UNLABELLED, Measurement, MetricSpec

SPECS = (MetricSpec("effective_rank", 0, math.inf, "", labelled=False),)

EPSILON = 1e-7
"""Added to every normalised singular value (the paper's value for float32 features)."""


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields the effective rank of the training features; comparable only within one method and width."""
    yield Measurement(UNLABELLED, "train", SPECS[0].name, effective_rank(features.train))


def effective_rank(features: Tensor) -> float:
    """Returns exp(entropy of the normalised singular values): 1 (one direction) .. min(N, D) (all alike).

    Singular values are those of the uncentred feature matrix, from the eigenvalues of the smaller Gram matrix
    in float64: relative to the largest they are exact to about 1e-8, below `EPSILON`. A matrix of zeros has
    effective rank 0.

    Args:
        features: float [N, D], representations or embeddings.

    Raises:
        ValueError: A feature is NaN or infinite.

    Source: RankMe, arXiv 2210.02885, equations 1 and 2.
    """
    require_finite(features, "features")
    num_rows, num_dims = features.shape
    if num_rows < num_dims:
        wide = features.double()
        gram = wide @ wide.T
    else:
        gram = torch.zeros(num_dims, num_dims, dtype=torch.float64, device=features.device)
        for rows in features.split(ROW_CHUNK):
            gram += rows.double().T @ rows.double()
    singular = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    if not singular.any():
        return 0.0
    share = singular / singular.sum() + EPSILON
    return torch.exp(-(share * share.log()).sum()).item()
