"""The nearest-neighbour vote against a loop, and scikit-learn."""

from __future__ import annotations

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from analysis.metrics import knn
from ray_ssl import health
from tests.analysis.metrics.blobs import blobs, measured


def naive(train: Tensor, labels: Tensor, row: Tensor) -> int:
    cosines = [(row @ other / row.norm() / other.norm()).item() for other in train]
    votes: dict[int, float] = {}
    for i in sorted(range(len(train)), key=lambda i: -cosines[i])[:20]:
        votes[int(labels[i])] = votes.get(int(labels[i]), 0) + torch.tensor(cosines[i] / 0.1).exp().item()
    return max(votes, key=lambda label: votes[label])


def test_accuracy_is_that_of_the_naive_loop() -> None:
    features, levels = blobs(150, 60, distance=1.5)
    values = measured(knn, features, levels)
    for level in levels:
        pairs = zip(features.test.double(), level.test.tolist(), strict=True)
        correct = sum(naive(features.train.double(), level.train, row) == label for row, label in pairs)
        assert values[level.name, "test", "knn_accuracy"] == correct / 60
        assert 0.2 < correct / 60 < 1


def test_accuracy_is_that_of_scikit_learn() -> None:
    features, levels = blobs(2000, 500, distance=2.0)
    for level in levels:
        model = KNeighborsClassifier(20, metric="cosine")
        model.set_params(weights=lambda distances: torch.tensor((1 - distances) / 0.1).exp().numpy())
        expected = model.fit(features.train.numpy(), level.train.numpy()).score(features.test, level.test)
        found = measured(knn, features, [level])[level.name, "test", "knn_accuracy"]
        assert found == pytest.approx(expected, abs=1e-6)


def test_queries_in_chunks_have_the_same_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    features, levels = blobs(distance=1.0)
    expected = measured(knn, features, levels)
    monkeypatch.setattr(health, "QUERY_CHUNK", 7)
    assert measured(knn, *blobs(distance=1.0)) == expected
    rows = features.train, levels[0].train, features.test, levels[0].test
    assert health.knn_accuracy(*rows) == expected["class", "test", "knn_accuracy"]


def test_with_few_training_images_all_of_them_vote() -> None:
    features, levels = blobs(num_train=5)
    assert 0 <= measured(knn, features, levels)["class", "test", "knn_accuracy"] <= 1
