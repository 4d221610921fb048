"""Class-distance normalised variance (CDNV) and its two parts."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from analysis.labels import LabelLevel
from analysis.metrics.base import SPLITS, Measurement, MetricSpec
from analysis.moments import ClassMoments
from analysis.sums import CLASS_MOMENTS, Layer

SPECS = (
    MetricSpec("cdnv", 0, math.inf, "down"),
    MetricSpec("class_variance", 0, math.inf, ""),
    MetricSpec("class_mean_distance", 0, math.inf, ""),
)

SUMS = (CLASS_MOMENTS,)


def measure(features: Layer, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields CDNV, mean class variance and mean squared distance of class means, per level and split.

    Each split has its own class means. Classes without images in a split are left out of it, and those with a
    single image out of what needs a variance: they have none. With fewer than two classes left, what needs a pair
    is NaN, and so is the variance with none left.

    Source: arXiv 2305.15614, section 2 (and arXiv 2112.15121, where CDNV is defined).
    """
    for level in levels:
        for split in SPLITS:
            values = cdnv_parts(features.sums(CLASS_MOMENTS, split, level))
            for spec, value in zip(SPECS, values, strict=True):
                yield Measurement(level.name, split, spec.name, value.item())


def cdnv_parts(moments: ClassMoments) -> tuple[Tensor, Tensor, Tensor]:
    """Returns CDNV, mean class variance, and mean squared distance of class means, as float64 scalars.

    CDNV is the mean over pairs i < j of (Var_i + Var_j) / (2 |mu_i - mu_j|^2), Var_c = E|f - mu_c|^2: 0 where
    every class is one point, small where classes are far apart for their spread. It is infinite as soon as two
    means coincide (their classes cannot be told apart by any spread), and NaN where these have no spread either
    (collapsed features: 0 / 0). A class with fewer than two images has no variance: pairs with it are left out of
    CDNV, and it out of the mean variance. Distances are those of all classes with images.
    """
    means, variances = moments.means[moments.counts > 0], moments.variances[moments.counts > 0]
    spread = moments.counts[moments.counts > 0] > 1
    # Differences, not |a|^2 - 2ab + |b|^2: close means keep their distance, equal ones are at exactly 0.
    squared = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist").square()
    first, second = torch.triu_indices(len(means), len(means), offset=1, device=means.device)
    distances = squared[first, second]
    ratios = (variances[first] + variances[second]) / (2 * distances)
    return ratios[spread[first] & spread[second]].mean(), variances[spread].mean(), distances.mean()
