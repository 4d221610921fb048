"""Nearest class-centre (NCC) accuracy."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from analysis.blas import matmul
from analysis.labels import LabelLevel
from analysis.metrics.base import SPLITS, Measurement, MetricSpec
from analysis.moments import ROW_CHUNK, Total
from analysis.sums import CLASS_MOMENTS, UNIT_CLASS_MOMENTS, Images, Known, Layer, Statistic

SPECS = (MetricSpec("ncc_accuracy", 0, 1, "up"), MetricSpec("ncc_accuracy_normalised", 0, 1, "up"))


def _num_correct(images: Images, known: Known) -> Total:
    return _count_correct(images.features, images.labels, known(CLASS_MOMENTS, "train").means)


def _num_correct_unit(images: Images, known: Known) -> Total:
    return _count_correct(images.unit(), images.labels, known(UNIT_CLASS_MOMENTS, "train").means)


SUMS = (
    Statistic("nearest centres", _num_correct, after=(CLASS_MOMENTS,)),
    Statistic("nearest centres of unit features", _num_correct_unit, after=(UNIT_CLASS_MOMENTS,)),
)


def measure(features: Layer, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields the share of images whose nearest class centre is that of their own class, 0 (worst) to 1.

    A centre is the mean *training* feature of a class, for both splits. "ncc_accuracy" takes features as they
    are; for "ncc_accuracy_normalised" every feature is scaled to length 1 before the centres are taken (a zero
    feature stays zero; centres are not scaled again).

    Source: arXiv 2305.15614, section 2 (NCC); the normalised variant is ours.
    """
    for spec, num_correct in zip(SPECS, SUMS, strict=True):
        for level in levels:
            for split, labels in zip(SPLITS, (level.train, level.test), strict=True):
                correct = features.sums(num_correct, split, level).value.item()
                yield Measurement(level.name, split, spec.name, correct / len(labels))


def _count_correct(features: Tensor, labels: Tensor, centres: Tensor) -> Total:
    correct = nearest_centre(features, centres.to(features.device)) == labels.to(features.device)
    return Total(correct.double().sum())


def nearest_centre(features: Tensor, centres: Tensor) -> Tensor:
    """Returns argmin_c |f - mu_c| as int64 [N]; of equally near centres, the lowest label.

    Args:
        features: float [N, D].
        centres: float64 [K, D]; rows of NaN (classes without training images) are never predicted.
    """
    # |f - mu|^2 without |f|^2, which is the same for every centre.
    norms = centres.square().sum(1).nan_to_num(nan=torch.inf)  # [K]
    directions = centres.nan_to_num(nan=0.0).T  # [D, K]
    chunks = (matmul(rows.double(), directions) for rows in features.split(ROW_CHUNK))
    return torch.cat([products.mul_(-2).add_(norms).argmin(1) for products in chunks])
