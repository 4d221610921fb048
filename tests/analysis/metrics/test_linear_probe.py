"""The linear probe against scikit-learn's LogisticRegression on the same objective."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from analysis import logistic
from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.logistic import Fit, fit, predict
from analysis.metrics import linear_probe
from analysis.newton import LabelSetSolver
from tests.analysis.metrics.blobs import blobs, draw, draw_labels, measured

PENALTY = linear_probe.PENALTY


def standardised(rows: Tensor, train: Tensor) -> np.ndarray:
    """By NumPy, in float64; constant dimensions become 0."""
    x, reference = rows.double().numpy(), train.double().numpy()
    std = reference.std(0)
    constant = std <= 1e-6 * np.abs(reference.mean(0))
    return np.where(constant, 0, (x - reference.mean(0)) / np.where(constant, 1, std))


def objective(x: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> float:
    scores = x @ weight + bias
    log_total = np.logaddexp.reduce(scores, axis=1)
    return float((log_total - scores[np.arange(len(x)), labels]).mean() + PENALTY / 2 * (weight**2).sum())


def optimum(x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's weight [D, K] and bias [K], in float64 to a tolerance far below ours.

    Two classes are one sigmoid there: W = (-v/2, v/2) has |W|^2 = |v|^2 / 2, so its penalty on v is half of ours.
    """
    two = len(np.unique(labels)) == 2
    model = LogisticRegression(C=(2 if two else 1) / (PENALTY * len(x)), tol=1e-8, max_iter=100_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its line search cannot improve any further
        model.fit(x, labels)
    weight, bias = model.coef_.T, np.asarray(model.intercept_)
    return (np.hstack([-weight, weight]) / 2, np.hstack([-bias, bias]) / 2) if two else (weight, bias)


def overlapping() -> tuple[LayerFeatures, LabelLevel]:
    features, levels = blobs(1500, 600, num_dims=12, num_classes=5, distance=1.0)
    return features, levels[0]


def separable() -> tuple[LayerFeatures, LabelLevel]:
    features, levels = blobs(1000, 400, num_dims=12, num_classes=5, distance=12.0)
    return features, levels[0]


def badly_scaled() -> tuple[LayerFeatures, LabelLevel]:
    features, level = overlapping()
    scales = torch.logspace(-5, 5, 12)
    return LayerFeatures(features.train * scales + 3, features.test * scales + 3), level


def heavy_tailed() -> tuple[LayerFeatures, LabelLevel]:
    features, level = overlapping()
    return LayerFeatures(features.train.exp(), features.test.exp()), level


def collinear() -> tuple[LayerFeatures, LabelLevel]:
    features, level = overlapping()
    mixing = draw(12, 24, seed=7)
    return LayerFeatures(features.train @ mixing, features.test @ mixing), level


def partly_constant() -> tuple[LayerFeatures, LabelLevel]:
    features, level = overlapping()
    train, test = features.train.clone(), features.test.clone()
    train[:, 3] = test[:, 3] = 0.1
    train[:, 5], test[:, 5] = 0, 7
    return LayerFeatures(train, test), level


def fewer_images_than_dimensions() -> tuple[LayerFeatures, LabelLevel]:
    features, levels = blobs(60, 200, num_dims=100, num_classes=5, distance=4.0)
    return features, levels[0]


def two_unbalanced_classes() -> tuple[LayerFeatures, LabelLevel]:
    train, test = draw(2000, 6, seed=1), draw(800, 6, seed=2)
    labels = [(x[:, 0] + 0.5 * draw(len(x), seed=3) > 1.5).long() for x in (train, test)]
    return LayerFeatures(train, test), LabelLevel("rare", labels[0], labels[1], 2)


CASES: list[Callable[[], tuple[LayerFeatures, LabelLevel]]] = [
    overlapping, separable, badly_scaled, heavy_tailed, collinear, partly_constant,
    fewer_images_than_dimensions, two_unbalanced_classes,
]  # fmt: skip


def fitted(features: LayerFeatures, level: LabelLevel, tolerance: float) -> tuple[Fit, Tensor]:
    scaling, (one,) = fit(features.train, [(level.train, level.num_classes)], PENALTY, tolerance)
    return one, predict(features.test, scaling, [one])[0]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_optimum_is_that_of_scikit_learn(case: Callable[[], tuple[LayerFeatures, LabelLevel]]) -> None:
    features, level = case()
    x, x_test = (standardised(rows, features.train) for rows in (features.train, features.test))
    labels = level.train.numpy()
    weight, bias = optimum(x, labels)
    best = objective(x, labels, weight, bias)
    accuracy = np.mean((x_test @ weight + bias).argmax(1) == level.test.numpy())
    one, predicted = fitted(features, level, linear_probe.TOLERANCE)
    reached = objective(x, labels, one.weight.double().numpy(), one.bias.double().numpy())
    assert one.converged
    assert one.loss == pytest.approx(reached, rel=1e-4)
    assert best * (1 - 1e-6) <= reached <= best * (1 + 1e-3)
    assert (predicted == level.test).double().mean().item() == pytest.approx(accuracy, abs=0.005)


@pytest.mark.parametrize("case", [overlapping, badly_scaled, collinear], ids=lambda c: c.__name__)
def test_weights_are_those_of_scikit_learn(case: Callable[[], tuple[LayerFeatures, LabelLevel]]) -> None:
    features, level = case()
    weight, bias = optimum(standardised(features.train, features.train), level.train.numpy())
    one, _ = fitted(features, level, 1e-8)
    scale = np.abs(weight).max()
    assert np.abs(one.weight.numpy() - weight).max() <= 0.01 * scale
    ours = one.bias.numpy() - one.bias.numpy().mean()  # a shift of all intercepts changes nothing
    assert np.abs(ours - (bias - bias.mean())).max() <= 0.01 * max(1, scale)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_the_estimated_distance_to_the_optimum_is_true(case: Callable[[], tuple[LayerFeatures, LabelLevel]]) -> None:
    features, level = case()
    best, _ = fitted(features, level, 1e-8)
    for tolerance in (1e-1, 1e-2, 1e-3):
        one, _ = fitted(features, level, tolerance)
        assert one.converged
        assert one.excess <= tolerance
        assert (one.loss - best.loss) / one.loss <= 2 * tolerance


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_a_start_from_a_part_of_the_rows_leads_to_the_same_optimum(
    case: Callable[[], tuple[LayerFeatures, LabelLevel]], monkeypatch: pytest.MonkeyPatch
) -> None:
    features, level = case()
    best, _ = fitted(features, level, 1e-8)
    usual, _ = fitted(features, level, linear_probe.TOLERANCE)
    monkeypatch.setattr(logistic, "_MIN_START_ROWS", 1)
    monkeypatch.setattr(logistic, "_FEW_ROWS", len(features.train))
    one, _ = fitted(features, level, linear_probe.TOLERANCE)
    assert not one.weight.equal(usual.weight)
    assert one.converged and (one.loss - best.loss) / one.loss <= 1e-3
    rare = LabelLevel("rare", torch.zeros_like(level.train), torch.zeros_like(level.test), 2)
    rare.train[logistic._row_order(len(rare.train))[-1]] = 1  # not in the part: no start, no infinite intercept
    assert fitted(features, rare, 1e-3)[0].bias.isfinite().all()


def test_each_step_takes_the_hessian_of_other_rows() -> None:
    rows = torch.arange(3 * 2048.0)[:, None]
    solver = LabelSetSolver(rows, torch.arange(len(rows)) % 2, 2, torch.ones(1), PENALTY, torch.zeros(1, 2))
    taken = []
    for solver.turn in range(4):
        taken.append(solver.hessian_rows[:, 0])
    assert torch.cat(taken[:3]).equal(rows[:, 0]) and taken[3].equal(taken[0])


def test_absent_classes_change_nothing_and_are_never_predicted() -> None:
    features, level = overlapping()
    one, predicted = fitted(features, level, 1e-3)
    moved = LabelLevel("moved", level.train * 2 + 1, level.test * 2 + 1, 12)
    other, other_predicted = fitted(features, moved, 1e-3)
    assert (other_predicted == predicted * 2 + 1).all()
    assert torch.equal(other.weight[:, 1:11:2], one.weight) and other.bias[0] == -torch.inf


def test_one_class_and_constant_features_are_no_error() -> None:
    features, _ = blobs()
    only = LabelLevel("only", torch.full((600,), 2), torch.full((200,), 2), 4)
    assert set(measured(linear_probe, features, [only]).values()) == {1.0}
    labels = torch.arange(600).clamp_max(400) % 3
    flat = LayerFeatures(torch.full((600, 5), 0.3), torch.full((200, 5), 0.3))
    level = LabelLevel("class", labels, torch.ones(200, dtype=torch.int64), 3)
    majority = labels.bincount().max().item() / 600
    assert measured(linear_probe, flat, [level])["class", "train", "linear_accuracy"] == pytest.approx(majority)


def test_separated_blobs_are_told_apart_and_random_labels_are_at_chance() -> None:
    assert set(measured(linear_probe, *blobs(num_dims=32, distance=40.0)).values()) == {1.0}
    level = LabelLevel("random", draw_labels(4000, 10, 1), draw_labels(4000, 10, 2), 10)
    values = measured(linear_probe, LayerFeatures(draw(4000, 16, seed=3), draw(4000, 16, seed=4)), [level])
    assert values["random", "test", "linear_accuracy"] == pytest.approx(0.1, abs=0.02)
    assert 0.1 < values["random", "train", "linear_accuracy"] < 0.2


def test_without_rotation_the_optimum_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    features, level = collinear()
    rotated, _ = fitted(features, level, 1e-4)
    monkeypatch.setattr(logistic, "MAX_ROTATED", 2)
    plain, _ = fitted(features, level, 1e-4)
    assert plain.converged and plain.loss == pytest.approx(rotated.loss, rel=1e-4)


def test_a_fit_that_falls_short_warns_with_the_gradient_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    features, level = heavy_tailed()
    monkeypatch.setattr(linear_probe, "TOLERANCE", 1e-30)
    with pytest.warns(RuntimeWarning, match=r"level 'class' did not converge: gradient norm \d"):
        list(linear_probe.measure(features, [level]))


def test_sorted_images_are_no_harder() -> None:
    """The rows of the subsampled Hessian must not be the first class only."""
    features, levels = blobs(8000, 100, num_classes=6)
    order = levels[0].train.argsort()
    one, _ = fitted(
        LayerFeatures(features.train[order], features.test),
        LabelLevel("class", levels[0].train[order], levels[0].test, 6),
        1e-3,
    )
    assert one.converged
