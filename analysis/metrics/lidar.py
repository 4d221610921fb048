"""Effective rank of what tells samples apart, beyond what their views change (LiDAR)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics.base import ROW_CHUNK, Measurement, MetricSpec, class_moments

SPECS = (MetricSpec("lidar", 1, math.inf, ""),)

GROUPS: Final = ("sample",)

DELTA: Final = 1e-4
"""Added to the diagonal of the covariance within samples (the paper's value)."""

EPSILON: Final = 1e-7
"""Added to every share of the spectrum."""


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields LiDAR of the training views of level "sample": of another level it is not defined."""
    for level in levels:
        if level.name == "sample":
            value = lidar(features.train, level.train, level.num_classes)
            yield Measurement(level.name, "train", SPECS[0].name, value)


def lidar(features: Tensor, labels: Tensor, num_classes: int) -> float:
    """Returns exp(entropy of the spectrum of the LDA matrix of samples), 1 .. min(D, samples - 1).

    The LDA matrix is S_w^-1/2 S_b S_w^-1/2, with S_b the covariance of the samples' means and S_w that of the views
    about the mean of their sample, plus `DELTA` on the diagonal. Entropy is that of the eigenvalues' shares plus
    `EPSILON`, as in `rank.effective_rank`. All covariances are divided by their number of terms. It is
    comparable between layers and networks of the same width only, and depends on the features' scale through
    `DELTA`. NaN where all samples have the same mean.

    Args:
        features: float [N, D] of views.
        labels: int64 [N], the sample of each view, 0 .. num_classes - 1; samples without views are left out.
        num_classes: Number of samples.

    Source: arXiv 2312.04000, section 3.
    """
    labels = labels.to(features.device)
    moments = class_moments(features, labels, num_classes)
    num_dims = features.shape[1]
    within = DELTA * torch.eye(num_dims, dtype=torch.float64, device=features.device)
    for rows, row_labels in zip(features.split(ROW_CHUNK), labels.split(ROW_CHUNK), strict=True):
        deviations = rows.double() - moments.means[row_labels]
        within += deviations.T @ deviations / len(features)
    means = moments.means[moments.counts > 0]
    between = means - means.mean(0)
    if between.norm() <= 1e-12 * means.norm():  # float64 rounding
        return math.nan
    # Eigenvalues are those of L^-1 S_b L^-T, S_w = L L^T: squared singular values of L^-1 (mu_c - mu).
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(within), between.T, upper=False)
    spectrum = torch.linalg.svdvals(whitened).square()
    share = spectrum / spectrum.sum() + EPSILON
    return torch.exp(-(share * share.log()).sum()).item()
