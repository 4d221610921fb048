"""The linear probe of fine-tuning against scikit-learn, and the head that it becomes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import analysis.probe_path
from analysis.logistic import fit, fit_path, predict
from analysis.probe_path import fold, probe_path
from ray_ssl.errors import UserError
from tests.analysis.metrics.blobs import blobs

CS = (1e-7, 1e-5, 1e-3, 1e-1, 1e1)


def test_at_one_c_it_is_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis.probe_path, "TOLERANCE", 1e-6)
    features, levels = blobs(1500, 600, num_dims=12, num_classes=5, distance=1.0)
    x, labels = features.train.double().numpy(), levels[0].train.numpy()
    mean, std = x.mean(0), x.std(0)
    probe = probe_path((features.train, levels[0].train), (features.test, levels[0].test), 5, cs=(0.01,))
    theirs = LogisticRegression(C=0.01, tol=1e-8, max_iter=10_000).fit((x - mean) / std, labels)
    weight = theirs.coef_ / std
    bias = theirs.intercept_ - weight @ mean
    ours = torch.cat([probe.head.weight, probe.head.bias[:, None]], 1).double().numpy()
    difference = ours - np.hstack([weight, bias[:, None]])
    scores = features.test.double().numpy() @ difference[:, :-1].T + difference[:, -1]
    assert np.abs(scores - scores.mean(1, keepdims=True)).max() < 0.02  # a constant shifts all labels alike
    expected = theirs.predict((features.test.double().numpy() - mean) / std)
    assert (probe.head.predict(features.test).numpy() == expected).mean() > 0.995


def test_a_path_ends_where_each_fit_alone_ends() -> None:
    features, levels = blobs(800, 300, num_dims=10, num_classes=4, distance=1.5)
    penalties = [1 / (c * 800) for c in CS]
    scaling, fits = fit_path(features.train, levels[0].train, 4, penalties, 1e-5)
    for penalty, one in zip(penalties, fits, strict=True):
        alone = fit(features.train, [(levels[0].train, 4)], penalty, 1e-5)[1][0]
        assert one.converged
        assert one.loss == pytest.approx(alone.loss, rel=3e-5)
        head = fold(one, scaling)
        assert (head.predict(features.test) == predict(features.test, scaling, [one])[0]).all()


def test_the_smallest_of_the_best_cs_is_chosen_on_validation_alone() -> None:
    features, levels = blobs(400, 200, num_dims=6, num_classes=3, distance=1.0)
    probe = probe_path((features.train, levels[0].train), (features.test, levels[0].test), 3, CS)
    best = max(one["validation_accuracy"] for one in probe.path)
    assert [one["c"] for one in probe.path] == list(CS)
    assert probe.c == next(one["c"] for one in probe.path if one["validation_accuracy"] == best)
    assert probe.head.accuracy(features.test, levels[0].test) == best
    with pytest.raises(UserError, match=r"1 of 4 have none \(label 3 is the first\)"):
        probe_path((features.train, levels[0].train), (features.test, levels[0].test), 4)
