"""Neural collapse against loops over its definitions, and at collapse itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics import linear_probe, ncc, neural_collapse
from analysis.metrics.linear_probe import linear_probes
from tests.analysis.metrics.blobs import blobs, draw, measured

NC1_TO_NC3 = ("nc1", "nc2_norm", "nc2_angle", "nc3")


def naive(rows: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """NC1 and NC2 of classes that all have images, one image and one pair at a time."""
    num_classes, num_dims = int(labels.max()) + 1, rows.shape[1]
    means = [rows[labels == c].mean(0) for c in range(num_classes)]
    centre = sum(means) / num_classes
    within, between = np.zeros((num_dims, num_dims)), np.zeros((num_dims, num_dims))
    for c, mean in enumerate(means):
        members = rows[labels == c]
        for row in members:
            within += np.outer(row - mean, row - mean) / len(members) / num_classes
        between += np.outer(mean - centre, mean - centre) / num_classes
    norms = [np.linalg.norm(mean - centre) for mean in means]
    angles = []
    for i in range(num_classes):
        for j in range(num_classes):
            if i != j:
                cosine = (means[i] - centre) @ (means[j] - centre) / norms[i] / norms[j]
                angles.append(abs(cosine + 1 / (num_classes - 1)))
    return {
        "nc1": np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / num_classes,
        "nc2_norm": float(np.std(norms) / np.mean(norms)),
        "nc2_angle": float(np.mean(angles)),
    }


@pytest.mark.parametrize("num_dims", [3, 8, 20])
def test_values_are_those_of_the_naive_loops(num_dims: int) -> None:
    features, levels = blobs(num_dims=num_dims)
    values = measured(neural_collapse, features, levels)
    for level in levels:
        for name, value in naive(features.train.double().numpy(), level.train.numpy()).items():
            assert values[level.name, "train", name] == pytest.approx(value, rel=1e-8)


def simplex(num_classes: int = 5, num_each: int = 40) -> tuple[Tensor, Tensor]:
    """The vertices of a simplex about a point off the origin, rotated; all images of a class at its vertex."""
    rotation = torch.linalg.qr(draw(8, 8, seed=3).double())[0][:num_classes]
    vertices = (torch.eye(num_classes).double() - 1 / num_classes) @ rotation
    return (vertices + 2).repeat_interleave(num_each, 0).float(), torch.arange(num_classes).repeat_interleave(num_each)


def of(train: Tensor, labels: Tensor, num_classes: int) -> dict[str, float]:
    level = LabelLevel("class", labels, labels, num_classes)
    return {k[2]: v for k, v in measured(neural_collapse, LayerFeatures(train, train), [level]).items()}


def test_at_collapse_all_are_zero() -> None:
    """NC3 is of standardised features: theirs is a simplex too where it lies along the axes."""
    values = of(*simplex(), 5)
    assert [values[n] for n in ("nc1", "nc2_norm", "nc2_angle", "nc4")] == pytest.approx([0] * 4, abs=1e-5)
    along_axes = of(torch.eye(5).repeat_interleave(40, 0), torch.arange(5).repeat_interleave(40), 5)
    assert along_axes == pytest.approx(dict.fromkeys(along_axes, 0.0), abs=1e-3)


def test_spread_of_known_size() -> None:
    """Classes at +-2 on one axis with images at +-1 about them: Sigma_W = 1, Sigma_B = 4, K = 2."""
    values = of(torch.tensor([[-3.0], [-1], [1], [3]] * 50), torch.tensor([0, 0, 1, 1] * 50), 2)
    assert values["nc1"] == pytest.approx(1 / 4 / 2)
    assert values["nc2_norm"] == pytest.approx(0, abs=1e-12) and values["nc2_angle"] == pytest.approx(0, abs=1e-12)


def test_every_class_counts_alike() -> None:
    features, (level, _) = blobs(num_train=60)
    first = level.train == 0
    train = torch.cat([features.train, features.train[first], features.train[first]])
    labels = torch.cat([level.train, level.train[first], level.train[first]])
    once, thrice = of(features.train, level.train, 6), of(train, labels, 6)
    assert [thrice[n] for n in NC1_TO_NC3[:3]] == pytest.approx([once[n] for n in NC1_TO_NC3[:3]])


def test_duality_and_disagreement_are_those_of_the_linear_probe() -> None:
    features, (level, _) = blobs(distance=1.0)
    (probe,) = linear_probes(features, [level])
    x = (features.train.double() - features.train.double().mean(0)) / features.train.double().std(0, correction=0)
    means = torch.stack([x[level.train == c].mean(0) for c in range(6)])
    means -= means.mean(0)
    weights = probe.fit.weight.T.double()
    values = measured(neural_collapse, features, [level])
    expected = (weights / weights.norm() - means / means.norm()).norm().item()
    assert values["class", "train", "nc3"] == pytest.approx(expected, rel=1e-6) and expected > 0.1
    centres = torch.stack([features.train[level.train == c].double().mean(0) for c in range(6)])
    for split, rows, predicted in (("train", features.train, probe.train), ("test", features.test, probe.test)):
        nearest = [((row - centres) ** 2).sum(1).argmin().item() for row in rows.double()]
        share = sum(a != b for a, b in zip(nearest, predicted.tolist(), strict=True)) / len(rows)
        assert values["class", split, "nc4"] == pytest.approx(share) and share > 0


def test_the_probe_is_fitted_once_for_both_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    features, levels = blobs()
    both = measured(neural_collapse, features, levels)
    expected = measured(linear_probe, *blobs())
    monkeypatch.setattr(linear_probe, "fit", None)
    assert measured(linear_probe, features, levels) == expected
    assert measured(neural_collapse, features, levels) == both


def test_other_labels_under_the_same_name_are_another_probe() -> None:
    features, (level, _) = blobs()
    measured(linear_probe, features, [level])
    other = LabelLevel("class", level.train.flip(0), level.test, 6)
    assert measured(linear_probe, features, [other]) == measured(linear_probe, blobs()[0], [other])


def test_what_is_not_defined_is_nan() -> None:
    flat, labels = torch.full((40, 3), 0.1), torch.arange(40) % 4
    for values in (of(flat, labels, 4), of(draw(40, 3), labels * 0, 4)):
        assert all(math.isnan(values[name]) for name in NC1_TO_NC3)
        assert 0 <= values["nc4"] <= 1
    alone = of(draw(4, 3), torch.arange(4), 4)
    assert math.isnan(alone["nc1"]) and alone["nc2_norm"] > 0


def test_accuracies_bound_the_disagreement() -> None:
    """Where one is right and the other wrong they differ: nc4 >= |linear accuracy - NCC accuracy|."""
    features, levels = blobs(distance=1.0)
    values = {k: v for m in (linear_probe, ncc, neural_collapse) for k, v in measured(m, features, levels).items()}
    for level in ("class", "half"):
        gap = abs(values[level, "test", "linear_accuracy"] - values[level, "test", "ncc_accuracy"])
        assert values[level, "test", "nc4"] >= gap - 1e-12
