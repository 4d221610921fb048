"""Alignment of positive pairs and uniformity on the sphere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from analysis.blas import matmul
from analysis.labels import LabelLevel
from analysis.metrics.base import SPLITS, UNLABELLED, Measurement, MetricSpec
from analysis.moments import ChosenRows, ClassMoments
from analysis.sums import UNIT_CLASS_MOMENTS, Images, Known, Layer, Statistic
from ray_ssl.rng import torch_stream

SPECS = (MetricSpec("alignment", 0, 4, "down"), MetricSpec("uniformity", -8, 0, "", labelled=False))

GROUPS: Final = ("data", "sample")

MAX_ROWS: Final = 4096
"""Rows that uniformity takes at most, a fixed random choice: 8 million pairs."""

PAIR_CHUNK: Final = 512


def _chosen_unit_rows(images: Images, _: Known) -> ChosenRows:
    return ChosenRows.of(images.unit(), images.start, _choice(images.total))


UNIT_ROWS = Statistic("unit features for uniformity", _chosen_unit_rows, labelled=False)
SUMS: Final = (UNIT_CLASS_MOMENTS, UNIT_ROWS)


def measure(features: Layer, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields alignment of every level and uniformity, of features scaled to length 1, for both splits.

    - alignment: E|f(x) - f(y)|^2, x any image and y another one of the same label: 0 where each label is one
      point, 4 where pairs are opposite. At level "sample" the pairs are views of one image, as in the paper.
      Images that are alone with their label are left out; NaN where all are.
    - uniformity: log E exp(-2 |f(x) - f(y)|^2) over pairs of different rows x, y: 0 where all features are one
      point, -4 for orthogonal ones, and never below -8. NaN with fewer than two rows. It looks at no label and
      is a property of the images as they are: level "sample", whose rows are views, yields alignment only.

    Source: Wang and Isola 2020, arXiv 2005.10242, alpha = 2 and t = 2. A zero feature stays zero.
    """
    for level in levels:
        for split in SPLITS:
            value = alignment(features.sums(UNIT_CLASS_MOMENTS, split, level))
            yield Measurement(level.name, split, "alignment", value)
    if any(level.name != "sample" for level in levels):
        for split in SPLITS:
            yield Measurement(UNLABELLED, split, "uniformity", _uniformity(features.sums(UNIT_ROWS, split).rows))


def alignment(moments: ClassMoments) -> float:
    """Returns the mean squared distance of two different images of one class, x drawn from all images.

    The mean over the pairs of n images is 2 n / (n - 1) times their variance: no loop over pairs.
    """
    counts, variances = (values[moments.counts > 1] for values in (moments.counts, moments.variances))
    distances = 2 * counts / (counts - 1) * variances
    return ((counts * distances).sum() / counts.sum()).item()


def uniformity(unit: Tensor) -> float:
    """Returns log E exp(-2 |f(x) - f(y)|^2) over pairs of different rows of float [N, D]."""
    return _uniformity(unit[_choice(len(unit)).to(unit.device)])


def _choice(num_rows: int) -> Tensor:
    """The rows that uniformity takes, int64 [min(N, MAX_ROWS)]."""
    if num_rows <= MAX_ROWS:
        return torch.arange(num_rows)
    return torch.randperm(num_rows, generator=torch_stream(0, "uniformity rows"))[:MAX_ROWS]


def _uniformity(chosen: Tensor) -> float:
    rows = chosen.double()
    norms = rows.square().sum(1)
    total = -rows.new_full((), len(rows))  # a row and itself are no pair: each adds exp(0)
    for part, part_norms in zip(rows.split(PAIR_CHUNK), norms.split(PAIR_CHUNK), strict=True):
        squared = matmul(part, rows.T).mul_(-2).add_(part_norms[:, None]).add_(norms)
        total += squared.mul_(-2).exp_().sum()
    num_pairs = len(rows) * (len(rows) - 1)
    return min(0.0, math.log(total.item() / num_pairs)) if num_pairs else math.nan
