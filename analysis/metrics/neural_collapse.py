"""Neural collapse: how far features and classifier are from its four limits, NC1 to NC4."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from analysis.blas import matmul
from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics.base import Measurement, MetricSpec, split_labels
from analysis.metrics.linear_probe import LinearProbe, linear_probes
from analysis.metrics.ncc import nearest_centre
from analysis.moments import ROW_CHUNK, ClassMoments
from analysis.sums import CLASS_MOMENTS

SPECS = (
    MetricSpec("nc1", 0, math.inf, "down"),
    MetricSpec("nc2_norm", 0, math.inf, "down"),
    MetricSpec("nc2_angle", 0, 2, "down"),
    MetricSpec("nc3", 0, 2, ""),
    MetricSpec("nc4", 0, 1, ""),
)

GROUPS: Final = ("data",)
ON_REQUEST: Final = True

CUTOFF: Final = 1e-5
"""Singular values of the centred class means below this share of the largest count as 0: those of float32 features
that lie in a subspace are rounding."""

COINCIDENT: Final = 1e-12
"""Class means whose spread is below this share of their length coincide: the rest is float64 rounding."""


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields NC1 to NC3 of the training images and NC4 of both splits; each is 0 at collapse and larger before.

    K classes have training images, others are left out; every class counts alike, whatever its number of images.
    mu_c is the mean training feature of class c, mu the mean of the mu_c, M the matrix of rows mu_c - mu.

    - nc1 = Tr(Sigma_W Sigma_B^+) / K: spread within the classes over spread between them. Sigma_W is the mean
      covariance of the classes with at least two images (others have none), Sigma_B = M^T M / K; its
      pseudo-inverse leaves out what `CUTOFF` says.
    - nc2_norm: standard deviation of the K norms |mu_c - mu| over their mean (both divided by K): equal norms.
    - nc2_angle: mean over pairs of classes of |cos(mu_c - mu, mu_c' - mu) + 1 / (K - 1)|: equal, largest angles,
      those of a simplex.
    - nc3 = |W / |W| - M / |M||, Frobenius norms: the linear probe's rows W are the class means. Both are of the
      standardised features that the probe is fitted to: there its penalty is the same in all directions.
    - nc4: share of images to which the linear probe and the nearest class centre give different labels.

    nc1 to nc3 are NaN with fewer than two classes or where all class means coincide (collapsed features), nc1 also
    where no class has two images, nc2_angle where one mean is the mean of all, nc3 where the probe is 0.

    Source: Papyan, Han and Donoho 2020, arXiv 2008.08186. There the classifier is the network's own last layer;
    the classes have equal numbers of images.
    """
    for level, probe in zip(levels, linear_probes(features, levels), strict=True):
        moments = features.sums(CLASS_MOMENTS, "train", level)
        values = (
            variability(features.train, level.train, moments),
            *simplex_distance(moments),
            duality_distance(moments, probe),
        )
        for spec, value in zip(SPECS[:-1], values, strict=True):
            yield Measurement(level.name, "train", spec.name, value)
        for split, rows, _ in split_labels(features.train, features.test, level):
            linear = probe.train if split == "train" else probe.test
            differs = (nearest_centre(rows, moments.means) != linear).double()
            yield Measurement(level.name, split, "nc4", differs.mean().item())


def centred_means(moments: ClassMoments) -> Tensor | None:
    """Returns M float64 [K, D] of the classes with images; None with fewer than two different means."""
    means = moments.means[moments.counts > 0]
    centred = means - means.mean(0)
    return centred if len(means) > 1 and centred.norm() > COINCIDENT * means.norm() else None


def variability(features: Tensor, labels: Tensor, moments: ClassMoments) -> float:
    """Returns NC1 of features [N, D] with labels int64 [N] (see `measure`)."""
    centred = centred_means(moments)
    several = moments.counts > 1
    if centred is None or not several.any():
        return math.nan
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    kept = singular > CUTOFF * singular[0]
    # Sigma_B^+ = K V S^-2 V^T, so the trace is a sum over the rows of V^T / S.
    whitening = (directions[kept] / singular[kept, None]).T  # [D, R]
    weights = torch.where(several, 1 / (moments.counts * several.sum()), 0.0)  # of an image, by its class
    total = centred.new_zeros(())
    for rows, row_labels in zip(features.split(ROW_CHUNK), labels.to(features.device).split(ROW_CHUNK), strict=True):
        deviations = matmul(rows.double() - moments.means[row_labels], whitening)
        total += weights[row_labels] @ deviations.square().sum(1)
    return total.item()


def simplex_distance(moments: ClassMoments) -> tuple[float, float]:
    """Returns both parts of NC2, of norms and of angles (see `measure`)."""
    centred = centred_means(moments)
    if centred is None:
        return math.nan, math.nan
    norms = centred.norm(dim=1)
    unit = centred / norms[:, None]
    first, second = torch.triu_indices(len(unit), len(unit), offset=1, device=unit.device)
    cosines = (unit @ unit.T)[first, second]
    return (norms.std(correction=0) / norms.mean()).item(), (cosines + 1 / (len(unit) - 1)).abs().mean().item()


def duality_distance(moments: ClassMoments, probe: LinearProbe) -> float:
    """Returns NC3, the distance of the linear probe from the class means (see `measure`)."""
    centred = centred_means(moments)
    if centred is None:
        return math.nan
    means = centred * probe.scaling.inverse_std
    weights = probe.fit.weight.double().T[moments.counts > 0]
    return (weights / weights.norm() - means / means.norm()).norm().item()
