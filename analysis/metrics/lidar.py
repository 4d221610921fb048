"""Effective rank of what tells samples apart, beyond what their views change (LiDAR)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from analysis.blas import matmul
from analysis.labels import LabelLevel
from analysis.metrics.base import Measurement, MetricSpec
from analysis.moments import ROW_CHUNK, ClassMoments, Total
from analysis.sums import CLASS_MOMENTS, Images, Known, Layer, Statistic

SPECS = (MetricSpec("lidar", 1, math.inf, ""),)

GROUPS: Final = ("sample",)

DELTA: Final = 1e-4
"""Added to the diagonal of the covariance within samples (the paper's value)."""

EPSILON: Final = 1e-7
"""Added to every share of the spectrum."""


def _scatter_within(images: Images, known: Known) -> Total:
    return scatter_within(images.features, images.labels, known(CLASS_MOMENTS, "train"))


SCATTER_WITHIN = Statistic("scatter within classes", _scatter_within, ("train",), after=(CLASS_MOMENTS,))
SUMS: Final = (CLASS_MOMENTS, SCATTER_WITHIN)


def measure(features: Layer, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields LiDAR of the training views of level "sample": of another level it is not defined."""
    for level in levels:
        if level.name == "sample":
            moments = features.sums(CLASS_MOMENTS, "train", level)
            scatter = features.sums(SCATTER_WITHIN, "train", level)
            yield Measurement(level.name, "train", SPECS[0].name, lidar_of_moments(moments, scatter))


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
    moments = ClassMoments.of(features, labels, num_classes)
    return lidar_of_moments(moments, scatter_within(features, labels, moments))


def scatter_within(features: Tensor, labels: Tensor, moments: ClassMoments) -> Total:
    """Returns the sum of (f - mu_c)(f - mu_c)^T, float64 [D, D], of features [N, D] with labels int64 [N]."""
    scatter = moments.means.new_zeros(features.shape[1], features.shape[1])
    for rows, row_labels in zip(features.split(ROW_CHUNK), labels.to(features.device).split(ROW_CHUNK), strict=True):
        deviations = rows.double() - moments.means[row_labels]
        scatter += matmul(deviations.T, deviations)
    return Total(scatter)


def lidar_of_moments(moments: ClassMoments, scatter: Total) -> float:
    """Returns `lidar` of the views with these moments of samples and this scatter within them."""
    within = scatter.value / moments.counts.sum()
    within.diagonal().add_(DELTA)
    means = moments.means[moments.counts > 0]
    between = means - means.mean(0)
    if between.norm() <= 1e-12 * means.norm():  # float64 rounding
        return math.nan
    # Eigenvalues are those of L^-1 S_b L^-T, S_w = L L^T: squared singular values of L^-1 (mu_c - mu).
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(within), between.T, upper=False)
    spectrum = torch.linalg.svdvals(whitened).square()
    share = spectrum / spectrum.sum() + EPSILON
    return torch.exp(-(share * share.log()).sum()).item()
