"""CDNV and its parts against double loops and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics import cdnv
from tests.analysis.metrics.blobs import blobs, draw, measured


def naive(rows: Tensor, labels: Tensor, num_classes: int) -> dict[str, float]:
    """The formulas, one class and one pair at a time."""
    groups = [rows[labels == c].double() for c in range(num_classes) if (labels == c).any()]
    means = [g.mean(0) for g in groups]
    variances = [sum(((x - m) ** 2).sum().item() for x in g) / len(g) for g, m in zip(groups, means, strict=True)]
    distances, ratios = [], []
    for i in range(len(groups)):
        for j in range(i + 1, len(groups)):
            distances.append(((means[i] - means[j]) ** 2).sum().item())
            ratios.append((variances[i] + variances[j]) / (2 * distances[-1]))
    mean = {"cdnv": ratios, "class_variance": variances, "class_mean_distance": distances}
    return {name: sum(values) / len(values) for name, values in mean.items()}


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_values_are_those_of_the_naive_loops(offset: float) -> None:
    features, levels = blobs()
    features = LayerFeatures(features.train + offset, features.test + offset)
    values = measured(cdnv, features, levels)
    for level in levels:
        for split, rows, labels in (("train", features.train, level.train), ("test", features.test, level.test)):
            for name, value in naive(rows, labels, level.num_classes).items():
                assert values[level.name, split, name] == pytest.approx(value, rel=1e-9)


def test_two_gaussians_of_known_cdnv() -> None:
    """Spreads 1 and 2 in 4 dimensions, means 5 apart: Var = 4 and 16, CDNV = 20 / (2 * 25) = 0.4."""
    n = 50_000
    train = torch.cat([draw(n, 4, seed=1), 2 * draw(n, 4, seed=2) + torch.tensor([3.0, 4, 0, 0])])
    level = LabelLevel("class", torch.arange(2).repeat_interleave(n), torch.arange(2), 2)
    values = measured(cdnv, LayerFeatures(train, draw(2, 4)), [level])
    assert values["class", "train", "cdnv"] == pytest.approx(0.4, rel=0.02)
    assert values["class", "train", "class_variance"] == pytest.approx(10, rel=0.02)
    assert values["class", "train", "class_mean_distance"] == pytest.approx(25, rel=0.02)


def case(rows: list[list[float]], labels: list[int]) -> dict[str, float]:
    level = LabelLevel("class", torch.tensor(labels), torch.tensor(labels), 4)
    values = measured(cdnv, LayerFeatures(torch.tensor(rows), torch.tensor(rows)), [level])
    return {name: values["class", "train", name] for name in ("cdnv", "class_variance", "class_mean_distance")}


def test_one_class_has_no_pairs() -> None:
    values = case([[0.0], [2.0]], [3, 3])
    assert math.isnan(values["cdnv"]) and math.isnan(values["class_mean_distance"])
    assert values["class_variance"] == 1


def test_a_class_of_one_image_has_no_variance() -> None:
    both = case([[-1.0], [1], [9], [11]], [0, 0, 1, 1])
    values = case([[-1.0], [1], [9], [11], [40]], [0, 0, 1, 1, 2])
    assert (values["cdnv"], values["class_variance"]) == (both["cdnv"], both["class_variance"]) == (0.01, 1)
    assert values["class_mean_distance"] == pytest.approx((100 + 1600 + 900) / 3)


def test_where_every_class_has_one_image_only_distances_are_defined() -> None:
    values = case([[1.0], [3]], [0, 1])
    assert math.isnan(values["cdnv"]) and math.isnan(values["class_variance"])
    assert values["class_mean_distance"] == 4


def test_coincident_means_are_infinitely_mixed() -> None:
    values = case([[-1.0], [1], [-2], [2], [9]], [0, 0, 1, 1, 2])
    assert values["cdnv"] == math.inf and math.isfinite(values["class_mean_distance"])


def test_collapsed_features_have_no_cdnv() -> None:
    values = case([[1.0]] * 6, [0, 0, 1, 1, 2, 2])
    assert math.isnan(values["cdnv"]) and values["class_variance"] == values["class_mean_distance"] == 0
