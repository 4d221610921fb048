"""The two-layer linear network: simulated fine-tuning against its closed forms and conserved quantities."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from analysis.linear_distortion import (
    TwoLayer,
    descend,
    distortion,
    flow,
    limit_of_one_direction,
    linear_probe,
)

K, D, M = 3, 8, 4
"""Features, inputs, dimensions of the training inputs."""


def problem(seed: int, dims: int = M) -> tuple[TwoLayer, np.ndarray, np.ndarray, np.ndarray]:
    """A pretrained network with a random head, the right head, training inputs, directions orthogonal to them."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(D, D)))[0]
    x = rng.normal(size=(40, dims)) @ axes[:, :dims].T
    features = np.linalg.qr(rng.normal(size=(D, K)))[0].T
    return TwoLayer(0.3 * rng.normal(size=K), features), rng.normal(size=K), x, axes[:, dims:].T


def test_features_orthogonal_to_the_training_inputs_do_not_move() -> None:
    start, right, x, outside = problem(0)
    y = x @ start.features.T @ right
    end = flow(start, x, y, time=20, num_steps=2000)
    assert end.loss(x, y) < 1e-6 * start.loss(x, y)
    assert distortion(start, end, outside).max() < 1e-12
    assert distortion(start, end, x).min() > 1e-3
    mixed = x[:6] + outside[:1]  # half outside: only the part inside moves
    assert distortion(start, end, mixed) == pytest.approx(distortion(start, end, x[:6]), rel=1e-9)


def test_the_balance_is_conserved_by_the_flow_and_by_small_steps() -> None:
    start, right, x, _ = problem(1)
    y = x @ start.features.T @ right
    end = flow(start, x, y, time=10, num_steps=1000)
    assert not np.allclose(end.head, start.head, atol=0.1)
    assert end.balance == pytest.approx(start.balance, abs=1e-7)
    drift = [np.abs(descend(start, x, y, r, round(10 / r)).balance - start.balance).max() for r in (0.02, 0.01)]
    assert drift[1] == pytest.approx(drift[0] / 2, rel=0.1)  # of first order in the rate


@pytest.mark.parametrize("seed", range(4))
def test_one_direction_ends_where_the_closed_form_says(seed: int) -> None:
    start, right, x, _ = problem(seed, dims=1)
    direction = x[0] / np.linalg.norm(x[0])
    slope = float(right @ start.features @ direction)
    expected = limit_of_one_direction(start, direction, slope)
    end = flow(start, x, x @ direction * slope, time=60, num_steps=3000)
    assert end.head == pytest.approx(expected.head, abs=1e-6)
    assert end.features == pytest.approx(expected.features, abs=1e-6)
    steps = descend(start, x, x @ direction * slope, rate=1e-3, num_steps=60_000)
    closed, simulated = (distortion(start, network, direction[None])[0] for network in (expected, steps))
    assert simulated == pytest.approx(closed, rel=5e-3)
    assert expected.balance == pytest.approx(start.balance, abs=1e-12)
    assert expected.predict(direction[None])[0] == pytest.approx(slope)


def test_one_feature_of_one_input_follows_a_logistic_curve() -> None:
    # p = v b with v = b: dp/dt = 4 a p (w - p).
    x, start, w = np.array([[1.0], [-2.0], [0.5]]), TwoLayer(np.array([0.4]), np.array([[0.4]])), 1.7
    a = np.square(x).mean()
    for time in (0.1, 0.3, 1.0):
        end = flow(start, x, w * x[:, 0], time, 400)
        p = w / (1 + (w / 0.16 - 1) * math.exp(-4 * a * w * time))
        assert end.head[0] * end.features[0, 0] == pytest.approx(p, rel=1e-8)


def test_with_the_probes_head_nothing_moves_where_the_features_are_right() -> None:
    start, right, x, outside = problem(2)
    y = x @ start.features.T @ right
    probed = linear_probe(start.features, x, y)
    assert probed.head == pytest.approx(right)
    end = flow(probed, x, y, time=20, num_steps=500)
    assert distortion(probed, end, x).max() < 1e-10
    assert end.predict(outside) == pytest.approx(outside @ start.features.T @ right)


def test_fine_tuning_errs_outside_the_more_the_worse_its_head_and_lp_ft_does_not() -> None:
    start, right, x, outside = problem(3, dims=1)
    direction = x[0] / np.linalg.norm(x[0])
    slope, truth = float(right @ start.features @ direction), outside @ start.features.T @ right
    away = np.random.default_rng(5).normal(size=K)
    errors = []
    for head_error in (0.0, 0.5, 1.0, 2.0, 4.0):
        begun = TwoLayer(right + head_error * away, start.features)
        end = limit_of_one_direction(begun, direction, slope)
        assert end.loss(direction[None], np.array([slope])) < 1e-18  # all are perfect in distribution
        errors.append(float(np.sqrt(np.square(end.predict(outside) - truth).mean())))
    assert errors[0] < 1e-12
    assert all(b > 1.5 * a for a, b in pairwise(errors[1:]))
