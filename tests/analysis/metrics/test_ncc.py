"""NCC against double loops over its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics import ncc
from tests.analysis.metrics.blobs import blobs, draw, draw_labels, measured


def naive_accuracy(train: Tensor, train_labels: Tensor, rows: Tensor, labels: Tensor, num_classes: int) -> float:
    centres = {c: train[train_labels == c].double().mean(0) for c in range(num_classes) if (train_labels == c).any()}
    correct = 0
    for row, label in zip(rows.double(), labels.tolist(), strict=True):
        correct += min(centres, key=lambda c: ((row - centres[c]) ** 2).sum().item()) == label
    return correct / len(rows)


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0])
def test_accuracy_is_that_of_the_naive_loop(distance: float) -> None:
    features, levels = blobs(distance=distance)
    values = measured(ncc, features, levels)
    for level in levels:
        for split, rows, labels in (("train", features.train, level.train), ("test", features.test, level.test)):
            naive = naive_accuracy(features.train, level.train, rows, labels, level.num_classes)
            assert values[level.name, split, "ncc_accuracy"] == naive
            unit = [x / x.norm(dim=1, keepdim=True) for x in (features.train, rows)]
            naive = naive_accuracy(unit[0], level.train, unit[1], labels, level.num_classes)
            assert values[level.name, split, "ncc_accuracy_normalised"] == naive


def test_separated_blobs_are_told_apart() -> None:
    assert set(measured(ncc, *blobs(num_dims=32, distance=40.0)).values()) == {1.0}


def test_random_labels_are_at_chance() -> None:
    level = LabelLevel("random", draw_labels(4000, 10, 1), draw_labels(4000, 10, 2), 10)
    values = measured(ncc, LayerFeatures(draw(4000, 16, seed=3), draw(4000, 16, seed=4)), [level])
    assert values["random", "test", "ncc_accuracy"] == pytest.approx(0.1, abs=0.02)


def test_ties_go_to_the_lowest_label_and_absent_classes_are_never_predicted() -> None:
    nan = torch.full((1, 2), torch.nan)
    centres = torch.cat([nan, torch.tensor([[1.0, 0], [-1, 0], [1, 0]]), nan]).double()
    rows = torch.tensor([[0.0, 5], [1, 0], [-2, 0]])
    assert ncc.nearest_centre(rows, centres).tolist() == [1, 1, 2]


def test_far_from_the_origin_close_centres_are_still_told_apart() -> None:
    near, _ = blobs(num_dims=2)
    labels = draw_labels(600, 2)
    train = torch.stack([labels.float() * 0.5, near.train[:, 0] * 0], 1) + 4096
    level = LabelLevel("class", labels, labels, 2)
    assert measured(ncc, LayerFeatures(train, train), [level])["class", "test", "ncc_accuracy"] == 1.0
