"""Alignment and uniformity against loops over pairs, and closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.special import hyp0f1
from torch import Tensor

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics import alignment_uniformity
from analysis.metrics.alignment_uniformity import MAX_ROWS, uniformity
from tests.analysis.metrics.blobs import blobs, draw, measured


def naive_alignment(rows: Tensor, labels: Tensor) -> float:
    """The mean over images of the mean over others of their label."""
    unit = rows.double() / rows.double().norm(dim=1, keepdim=True)
    means = []
    for i in range(len(unit)):
        others = [j for j in range(len(unit)) if j != i and labels[j] == labels[i]]
        if others:
            means.append(sum(((unit[i] - unit[j]) ** 2).sum().item() for j in others) / len(others))
    return sum(means) / len(means)


def naive_uniformity(rows: Tensor) -> float:
    unit = rows.double() / rows.double().norm(dim=1, keepdim=True)
    return torch.pdist(unit).square().mul(-2).exp().mean().log().item()


def test_values_are_those_of_the_naive_loops() -> None:
    features, levels = blobs(60, 40)
    levels[0].train[0] = 6  # alone with its label
    levels[0] = replace(levels[0], num_classes=8)
    values = measured(alignment_uniformity, features, levels)
    for split, rows in (("train", features.train), ("test", features.test)):
        for level in levels:
            labels = level.train if split == "train" else level.test
            assert values[level.name, split, "alignment"] == pytest.approx(naive_alignment(rows, labels), rel=1e-6)
        assert values["none", split, "uniformity"] == pytest.approx(naive_uniformity(rows), rel=1e-6)


def test_rows_in_chunks_are_no_others() -> None:
    rows = torch.nn.functional.normalize(draw(1300, 5))
    assert uniformity(rows) == pytest.approx(naive_uniformity(rows), rel=1e-6)


def test_orthogonal_and_opposite_points() -> None:
    level = LabelLevel("class", torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0]), 2)
    features = LayerFeatures(torch.eye(4) * 3, torch.tensor([[1.0, 2], [-1, -2]]))
    values = measured(alignment_uniformity, features, [level])
    assert values["class", "train", "alignment"] == pytest.approx(2)
    assert values["class", "test", "alignment"] == pytest.approx(4)
    assert values["none", "train", "uniformity"] == pytest.approx(-4)
    assert values["none", "test", "uniformity"] == pytest.approx(-8)


@pytest.mark.parametrize("num_dims", [3, 16])
def test_points_all_over_the_sphere(num_dims: int) -> None:
    """E exp(-2 (2 - 2u)) = exp(-4) 0F1(D / 2; 4) for the cosine u of two uniform points."""
    rows = torch.nn.functional.normalize(draw(MAX_ROWS + 900, num_dims))
    assert uniformity(rows) == pytest.approx(-4 + math.log(hyp0f1(num_dims / 2, 4)), abs=0.02)


def test_of_many_rows_a_fixed_choice_is_taken() -> None:
    rows = torch.nn.functional.normalize(draw(MAX_ROWS + 900, 3))
    assert uniformity(rows) == uniformity(rows.clone())
    repeated = torch.cat([rows[:1].expand(MAX_ROWS, -1), rows[MAX_ROWS:]])
    assert -4 < uniformity(repeated) < -0.05  # not the first rows


def test_collapsed_features_are_one_point() -> None:
    features, levels = blobs(40, 20)
    flat = LayerFeatures(torch.ones_like(features.train), torch.zeros_like(features.test))
    assert all(value == pytest.approx(0, abs=1e-9) for value in measured(alignment_uniformity, flat, levels).values())


def test_without_a_pair_neither_is_defined() -> None:
    level = LabelLevel("class", torch.arange(3), torch.tensor([0]), 3)
    values = measured(alignment_uniformity, LayerFeatures(draw(3, 4), draw(1, 4)), [level])
    assert math.isnan(values["class", "train", "alignment"]) and math.isnan(values["none", "test", "uniformity"])
    assert math.isfinite(values["none", "train", "uniformity"])


def test_views_have_alignment_only() -> None:
    features, (level, _) = blobs()
    assert {k[2] for k in measured(alignment_uniformity, features, [replace(level, name="sample")])} == {"alignment"}
