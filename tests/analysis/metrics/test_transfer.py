"""Heads of the source against their formulas, and what they make of the butterfly of two classes in two domains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics import transfer
from analysis.tasks import find_tasks, groups_of_data
from ray_ssl.data.base import EXTRA
from tests.analysis.metrics.blobs import blobs_for, draw, measured

NUM = 400


def butterfly(class_axis: float, domain_axis: float, both: float, seed: int = 0) -> tuple[LayerFeatures, LabelLevel]:
    """Four clusters: features tell the class, the domain, and which of the two pairs of opposite corners."""

    def split(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        labels, domains = torch.arange(NUM) % 2, torch.arange(NUM) // 2 % 2  # balanced: averages weigh classes by size
        c, d = 2.0 * labels - 1, 2.0 * domains - 1
        means = torch.stack((torch.full((NUM,), 1.0), class_axis * c, domain_axis * d, both * c * d), 1)
        return means + 0.05 * draw(NUM, 4, seed=seed), labels, domains

    (train, train_labels, train_domains), (test, test_labels, test_domains) = split(seed), split(seed + 10)
    level = LabelLevel("class", train_labels, test_labels, 2, domains=(train_domains, test_domains))
    return LayerFeatures(train, test), level


def naive(features: LayerFeatures, level: LabelLevel, power: int) -> dict[tuple[str, str], float]:
    """Feature averaging, image by image."""
    assert level.domains is not None
    train, labels, domains = features.train.double().numpy(), level.train.numpy(), level.domains[0].numpy()
    unlabelled = [f for f, d in zip(train, domains, strict=True) if d != EXTRA]
    sigma = sum(np.outer(f, f) for f in unlabelled) / len(unlabelled)
    source = [(f, y) for f, y, d in zip(train, labels, domains, strict=True) if d == 0]
    found = {}
    for split, images, truth, where in (
        ("train", train, labels, domains),
        ("test", features.test.double().numpy(), level.test.numpy(), level.domains[1].numpy()),
    ):
        for number, name in enumerate(("source", "target")):
            right = []
            for f, y in [(f, y) for f, y, d in zip(images, truth, where, strict=True) if d == number]:
                scores = []
                for label in range(level.num_classes):
                    b = sum((g for g, other in source if other == label), np.zeros(len(f))) / len(source)
                    scores.append(f @ np.linalg.matrix_power(sigma, power - 1) @ b)
                right.append(np.argmax(scores) == y)
            found[split, name] = float(np.mean(right))
    return found


@pytest.mark.parametrize("power", transfer.POWERS)
def test_feature_averaging_is_its_formula(power: int) -> None:
    features, (level, *_) = blobs_for(transfer)
    assert level.domains is not None
    domains = level.domains[0].clone()
    domains[::7] = EXTRA  # which no head learns from
    level = replace(level, domains=(domains, level.domains[1]))
    found = measured(transfer, features, [level])
    for (split, name), value in naive(features, level, power).items():
        assert found["class", split, f"{name}_accuracy_pfa{power}"] == pytest.approx(value, abs=1e-12)


def test_target_labels_change_no_prediction() -> None:
    features, level = butterfly(1.0, 2.0, 0.5)
    assert level.domains is not None
    hidden = torch.where(level.domains[0] == 0, level.train, 1 - level.train)
    for one, other in zip(
        transfer.source_heads(features, level).values(),
        transfer.source_heads(features, replace(level, train=hidden)).values(),
        strict=True,
    ):
        assert torch.equal(one.train, other.train) and torch.equal(one.test, other.test)


def test_a_head_transfers_where_classes_are_told_apart_alike_in_both_domains() -> None:
    features, level = butterfly(1.0, 1.2, 0.0)
    found = measured(transfer, features, [level])
    assert all(found["class", "test", f"target_accuracy_{head}"] > 0.99 for head in transfer.HEADS)
    features, level = butterfly(0.0, 1.2, 1.0)
    mirrored = measured(transfer, features, [level])
    assert all(mirrored["class", "test", f"source_accuracy_{head}"] > 0.99 for head in transfer.HEADS)
    assert all(mirrored["class", "test", f"target_accuracy_{head}"] < 0.01 for head in transfer.HEADS)


def test_all_levels_are_those_that_the_data_has() -> None:
    assert not any(task.endswith("@domains") for task in find_tasks(None, ["all"]))
    assert "transfer@domains" in find_tasks(None, ["all"], groups_of_data("subpopulations"))
