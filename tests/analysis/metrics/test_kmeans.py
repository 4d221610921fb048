"""Clusters of separated blobs and of noise; what levels share."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from sklearn.cluster import KMeans

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics import kmeans
from tests.analysis.metrics.blobs import blobs, draw, draw_labels, measured


def test_separated_blobs_are_their_clusters() -> None:
    features, levels = blobs(num_dims=32, distance=40.0)
    values = measured(kmeans, features, levels[:1])
    assert values == {("class", "train", "kmeans_nmi"): 1.0, ("class", "train", "kmeans_ari"): 1.0}


def test_random_labels_have_nothing_in_common_with_clusters() -> None:
    level = LabelLevel("random", draw_labels(4000, 10, 1), draw_labels(10, 10, 2), 10)
    values = measured(kmeans, LayerFeatures(draw(4000, 8, seed=3), draw(10, 8)), [level])
    assert values["random", "train", "kmeans_ari"] == pytest.approx(0, abs=0.01)
    assert values["random", "train", "kmeans_nmi"] == pytest.approx(0, abs=0.02)


def test_two_labels_merged_are_known_numbers() -> None:
    """Four clusters, found; of the four labels two are swapped for half of their images.

    Clusters and labels then share all but one bit of half of the images: I = 2 - 1/2 bits of 2, so NMI = 3/4.
    """
    labels = torch.arange(4).repeat_interleave(200)
    rows = 50 * torch.eye(4)[labels] + draw(800, 4)
    mixed = labels.clone()
    mixed[0:100], mixed[200:300] = 1, 0
    level = LabelLevel("class", mixed, mixed[:1], 4)
    values = measured(kmeans, LayerFeatures(rows, rows[:1]), [level])
    assert values["class", "train", "kmeans_nmi"] == pytest.approx(0.75)


def test_restarts_are_at_least_as_good_as_one() -> None:
    features, _ = blobs(1000, distance=3.0)
    clusters = kmeans.cluster(features.train, 6)
    centres = torch.stack([features.train[clusters == c].mean(0) for c in range(6)])
    inertia = (features.train - centres[clusters]).square().sum().item()
    best = KMeans(6, random_state=1).set_params(n_init=20).fit(features.train.numpy())
    assert inertia <= -1.02 * best.score(features.train.numpy())


def test_the_order_and_the_number_of_images_do_not_decide() -> None:
    features, (level, _) = blobs(distance=9.0)
    expected = measured(kmeans, features, [level])
    order = torch.arange(600).roll(123).flip(0).repeat(2)
    moved = LayerFeatures(features.train[order], features.test), [replace(level, train=level.train[order])]
    assert measured(kmeans, *moved) == pytest.approx(expected, abs=1e-9)


def test_levels_with_as_many_labels_share_their_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = kmeans.cluster
    monkeypatch.setattr(kmeans, "cluster", lambda rows, number: calls.append(number) or real(rows, number))
    features, (level, half) = blobs()
    measured(kmeans, features, [level, half, replace(level, name="other", train=level.train.flip(0))])
    assert calls == [6, 3]


def test_of_many_rows_a_fixed_choice_is_clustered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmeans, "MAX_ROWS", 200)
    features, (level, _) = blobs(num_dims=32, distance=40.0)
    order = level.train.argsort()  # the first 200 rows are two classes
    features, level = LayerFeatures(features.train[order], features.test), replace(level, train=level.train[order])
    values = measured(kmeans, features, [level])
    assert set(values.values()) == {1.0}
    assert measured(kmeans, LayerFeatures(features.train, features.test), [level]) == values


def test_one_label_is_not_defined_and_collapsed_features_are_one_cluster() -> None:
    features, (level, _) = blobs()
    only = replace(level, train=torch.zeros_like(level.train))
    assert all(math.isnan(value) for value in measured(kmeans, features, [only]).values())
    flat = LayerFeatures(torch.full_like(features.train, 0.1), features.test)
    assert set(measured(kmeans, flat, [level]).values()) == {0.0}
