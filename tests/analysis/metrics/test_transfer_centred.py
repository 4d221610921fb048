"""Centred feature averaging: the paper's own heads on features like the paper's, and what centring is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.features import LayerFeatures
from analysis.metrics import transfer, transfer_centred
from analysis.metrics.transfer import POWERS, averaging_heads
from ray_ssl.data.base import EXTRA
from tests.analysis.metrics.blobs import draw, measured
from tests.analysis.metrics.test_transfer import NUM, butterfly, naive


def centred(features: LayerFeatures, rows: torch.Tensor) -> LayerFeatures:
    mean = features.train[rows].mean(0)
    return LayerFeatures(features.train - mean, features.test - mean)


@pytest.mark.parametrize("power", POWERS)
def test_it_is_feature_averaging_of_what_is_left_of_the_mean_of_both_domains(power: int) -> None:
    features, level = butterfly(1.0, 0.8, 0.6)
    assert level.domains is not None
    domains = level.domains[0].clone()
    domains[::7] = EXTRA  # which no head learns from, and no mean either
    features.train[::7] += 3
    level = replace(level, domains=(domains, level.domains[1]))
    found = measured(transfer_centred, features, [level])
    for (split, name), value in naive(centred(features, domains < EXTRA), level, power).items():
        assert found["class", split, f"{name}_accuracy_centred_pfa{power}"] == pytest.approx(value, abs=1e-12)


def test_of_embeddings_as_in_the_theory_it_says_what_the_paper_s_heads_say() -> None:
    features, level = butterfly(0.3, 0.8, 0.2)
    assert level.domains is not None
    rest = 0.5 * draw(NUM, 5, seed=3).double()
    rest[:, 0] += features.train[:, 1]
    rest -= rest.mean(0)  # eigenvectors of the graph are orthogonal to the first, which is constant
    train = torch.cat([torch.ones(NUM, 1, dtype=torch.float64), rest], 1)
    test = torch.cat([torch.ones(NUM, 1, dtype=torch.float64), draw(NUM, 5, seed=4).double()], 1)
    embeddings = LayerFeatures(train, test)
    for ours, theirs in zip(
        averaging_heads(centred(embeddings, level.domains[0] < EXTRA), level),
        averaging_heads(embeddings, level), strict=True,
    ):  # fmt: skip
        assert torch.equal(ours.test, theirs.test) and 0 < theirs.test.double().mean() < 1


def test_features_that_are_never_negative_need_it() -> None:
    """Two classes of different norm on top of a large mean: uncentred, the larger norm is predicted of all images."""
    features, level = butterfly(1.0, 0.5, 0.0)
    away = torch.tensor([20.0, 21.0, 22.0, 23.0])
    moved = LayerFeatures(features.train + away, features.test + away)
    before, after = (measured(transfer_centred, one, [level]) for one in (features, moved))
    uncentred = measured(transfer, moved, [level])
    for power in POWERS:
        name = f"target_accuracy_centred_pfa{power}"
        assert after["class", "test", name] == pytest.approx(before["class", "test", name], abs=0.01)
        assert after["class", "test", name] > 0.99
    assert uncentred["class", "test", "target_accuracy_pfa3"] == pytest.approx(0.5, abs=0.02)
    assert np.isclose(uncentred["class", "test", "target_accuracy_logistic"], 1.0, atol=0.01)
