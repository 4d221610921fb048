"""Linear CKA against HSIC by Gram matrices, closed forms and invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis.features import LayerFeatures
from analysis.metrics.cka import linear_cka, measure_network
from tests.analysis.metrics.blobs import draw


def hsic(k: np.ndarray, g: np.ndarray) -> float:
    n = len(k)
    centring = np.eye(n) - np.ones((n, n)) / n
    return np.trace(k @ centring @ g @ centring) / (n - 1) ** 2


def naive(first: Tensor, second: Tensor) -> float:
    x, y = first.double().numpy(), second.double().numpy()
    k, g = x @ x.T, y @ y.T
    return hsic(k, g) / math.sqrt(hsic(k, k) * hsic(g, g))


def related(num_rows: int, first: int, second: int) -> tuple[Tensor, Tensor]:
    x = draw(num_rows, first) + 1
    return x, x @ draw(first, second, seed=1) + 3 * draw(num_rows, second, seed=2) - 2


@pytest.mark.parametrize("shape", [(100, 5, 12), (40, 90, 7), (40, 7, 90), (40, 90, 60), (30, 30, 30)])
def test_value_is_that_of_the_gram_matrices(shape: tuple[int, int, int]) -> None:
    first, second = related(*shape)
    assert linear_cka(first, second) == pytest.approx(naive(first, second), rel=1e-9)
    assert 0.1 < linear_cka(first, second) < 0.99


@pytest.mark.parametrize("shape", [(100, 12), (30, 50)])
def test_rotation_scale_and_shift_change_nothing(shape: tuple[int, int]) -> None:
    first, second = related(shape[0], shape[1], 8)
    rotation = torch.linalg.qr(draw(shape[1], shape[1], seed=3))[0]
    moved = 7 * first @ rotation - 4
    assert linear_cka(first, first) == pytest.approx(1) and linear_cka(first, first) <= 1
    assert linear_cka(first, moved) == pytest.approx(1, abs=1e-6)
    assert linear_cka(moved, second) == pytest.approx(linear_cka(first, second), rel=1e-5)
    assert linear_cka(second, first) == pytest.approx(linear_cka(first, second), rel=1e-9)


def test_another_invertible_map_changes_it() -> None:
    first = draw(100, 8)
    assert linear_cka(first, first * torch.logspace(0, 2, 8)) < 0.6


def test_equal_parts_of_the_variance_in_common() -> None:
    """X = (a, b), Y = (a, c) of orthonormal columns: |Y^T X|^2 = 1 of norms sqrt 2 each, so CKA = 1 / 2."""
    columns = torch.linalg.qr(torch.cat([torch.ones(20, 1), draw(20, 3)], 1))[0][:, 1:]
    assert linear_cka(columns[:, :2], columns[:, [0, 2]]) == pytest.approx(0.5)
    assert linear_cka(columns[:, :1], columns[:, 2:]) == pytest.approx(0, abs=1e-10)


def test_constant_features_are_not_comparable() -> None:
    assert math.isnan(linear_cka(torch.ones(10, 3), draw(10, 3)))
    assert math.isnan(linear_cka(draw(10, 3), torch.zeros(10, 20)))


def layer(values: Tensor) -> LayerFeatures:
    return LayerFeatures(values[:0], values)


def test_a_network_is_compared_with_the_layers_before_and_with_earlier_epochs() -> None:
    now = [draw(50, width, seed=width) for width in (4, 6, 60)]
    then = [draw(50, width, seed=width + 1) + value for width, value in zip((4, 6, 60), now, strict=True)]
    compared = measure_network([layer(x) for x in now], {5: [layer(x) for x in then]})
    found = {(index, m.level): m for index, m in compared}
    assert set(found) == {(1, "layer-00"), (2, "layer-00"), (2, "layer-01")} | {(i, "epoch-000005") for i in range(3)}
    for (index, level), m in found.items():
        other = then[index] if level.startswith("epoch") else now[int(level[-2:])]
        assert m.metric == ("cka_between_epochs" if level.startswith("epoch") else "cka_between_layers")
        assert m.split == "test" and m.value == pytest.approx(naive(now[index], other), rel=1e-9)


def test_without_earlier_epochs_only_layers_are_compared() -> None:
    found = list(measure_network([layer(draw(9, 2)), layer(draw(9, 3))], {}))
    assert [(index, m.metric) for index, m in found] == [(1, "cka_between_layers")]


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="same images, got 10 and 9"):
        linear_cka(draw(10, 3), draw(9, 3))
