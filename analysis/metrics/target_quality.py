"""What a target of graded randomness is: how random, how near to the classes, how rich in labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from analysis.labels import LabelLevel
from analysis.metrics.base import Measurement, MetricSpec
from analysis.sums import Layer, Split, Statistic
from analysis.tasks import TARGETS

GROUPS = (TARGETS,)

SPECS = (
    MetricSpec("target_randomness", 0, 1, ""),
    MetricSpec("target_agreement", 0, 1, ""),
    MetricSpec("target_entropy", 0, math.inf, ""),
    MetricSpec("target_num_used", 1, math.inf, ""),
    MetricSpec("target_largest_share", 0, 1, ""),
)

SUMS: tuple[Statistic[Any], ...] = ()


def measure(features: Layer, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields five numbers of each target's labels on each split.

    They are the same for every layer: they are in the table so that whoever reads the table needs no data.

    Args:
        features: Not looked at.
        levels: Targets; levels without `target` facts have no such numbers.

    Yields:
        target_randomness: Measured when the target was made, 0 (semantic) to 1 (random), of the target as a whole: the
            same on both splits. target_agreement: share of the split's labels equal to the class, 0..1.
            target_entropy: of the labels' shares, in nats, 0 (one label) to log K. target_num_used: labels that occur.
            target_largest_share: of the most frequent label, 0..1, the accuracy of always guessing it.

    Source:
        arXiv 2305.15614; what randomness means between its two ends is defined in `ray_ssl.teacher_targets`.
    """
    for level in levels:
        if level.target is None:
            continue
        both: tuple[tuple[Split, torch.Tensor, torch.Tensor], ...] = (
            ("train", level.train, level.target.train_classes),
            ("test", level.test, level.target.test_classes),
        )
        for split, labels, classes in both:
            shares = torch.bincount(labels).double() / len(labels)
            values = (
                level.target.randomness,
                float((labels == classes).double().mean()),
                float(torch.special.entr(shares).sum()),
                float((shares > 0).sum()),
                float(shares.max()),
            )
            for spec, value in zip(SPECS, values, strict=True):
                yield Measurement(level.name, split, spec.name, value)
