"""Nearest class-centre (NCC) accuracy."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics.base import ROW_CHUNK, Measurement, MetricSpec, class_moments, split_labels, unit_features

SPECS = (MetricSpec("ncc_accuracy", 0, 1, "up"), MetricSpec("ncc_accuracy_normalised", 0, 1, "up"))


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields the share of images whose nearest class centre is that of their own class, 0 (worst) to 1.

    A centre is the mean *training* feature of a class, for both splits. "ncc_accuracy" takes features as they
    are; for "ncc_accuracy_normalised" every feature is scaled to length 1 before the centres are taken (a zero
    feature stays zero; centres are not scaled again).

    Source: arXiv 2305.15614, section 2 (NCC); the normalised variant is ours.
    """
    both = (features.train, features.test), unit_features(features)
    for spec, (train, test) in zip(SPECS, both, strict=True):
        for level in levels:
            centres = class_moments(train, level.train, level.num_classes).means
            for split, rows, labels in split_labels(train, test, level):
                correct = nearest_centre(rows, centres) == labels
                yield Measurement(level.name, split, spec.name, correct.double().mean().item())


def nearest_centre(features: Tensor, centres: Tensor) -> Tensor:
    """Returns argmin_c |f - mu_c| as int64 [N]; of equally near centres, the lowest label.

    Args:
        features: float [N, D].
        centres: float64 [K, D]; rows of NaN (classes without training images) are never predicted.
    """
    # |f - mu|^2 without |f|^2, which is the same for every centre.
    norms = centres.square().sum(1).nan_to_num(nan=torch.inf)  # [K]
    directions = centres.nan_to_num(nan=0.0).T  # [D, K]
    nearest = [torch.addmm(norms, rows.double(), directions, alpha=-2).argmin(1) for rows in features.split(ROW_CHUNK)]
    return torch.cat(nearest)
