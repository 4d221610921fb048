"""Purity by a naive count, directions by scikit-learn, heads that see no others, and where nothing is defined."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics import cluster_purity, kmeans, linear_probe
from analysis.metrics.cluster_purity import purity, strongest
from tests.analysis.metrics.blobs import Measured, blobs, draw, draw_labels, measured


def of_size(values: Measured, k: int) -> Measured:
    return {key: value for key, value in values.items() if key[2].endswith(f"_top{k}")}


def test_purity_is_that_of_a_count_and_the_one_of_the_textbook() -> None:
    """Seventeen things in three clusters, of which 5, 4 and 3 have the label of most."""
    clusters = torch.tensor([0] * 6 + [1] * 6 + [2] * 5)
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 2, 0, 0, 2, 2, 2])
    assert purity(clusters, labels) == pytest.approx(12 / 17)
    clusters, labels = draw_labels(300, 9, 1), draw_labels(300, 4, 2) + 3
    naive = sum(Counter(labels[clusters == c].tolist()).most_common(1)[0][1] for c in set(clusters.tolist()))
    assert purity(clusters, labels) == pytest.approx(naive / 300)


def test_separated_blobs_are_pure_and_solved_and_the_gap_comes_after_them() -> None:
    """Six centres lie in five dimensions about their mean."""
    features, levels = blobs(num_dims=32, distance=40.0)
    values = measured(cluster_purity, features, levels)
    for level in ("class", "half"):
        assert values[level, "train", "cluster_purity_top10"] == values[level, "test", "linear_accuracy_top5"] == 1.0
    gaps = [values["none", "train", f"feature_eigengap_top{k}"] for k in (5, 10, 20)]
    assert gaps[0] > 0.05 > 100 * max(gaps[1:])


def test_labels_that_features_do_not_know_are_as_pure_as_by_chance() -> None:
    level = LabelLevel("random", draw_labels(4000, 4, 1), draw_labels(2000, 4, 2), 4)
    values = measured(cluster_purity, LayerFeatures(draw(4000, 8), draw(2000, 8, seed=3)), [level])
    assert values["random", "train", "cluster_purity_top5"] == pytest.approx(0.26, abs=0.02)
    assert values["random", "test", "linear_accuracy_top5"] == pytest.approx(0.25, abs=0.03)


def test_directions_and_eigengaps_are_scikit_learns() -> None:
    features, levels = blobs(num_dims=12)
    model = PCA().fit(features.train.double().numpy())
    share = model.explained_variance_ratio_
    values = measured(cluster_purity, features, levels)
    for k in (5, 10):
        assert values["none", "train", f"feature_eigengap_top{k}"] == pytest.approx(share[k - 1] - share[k], rel=1e-9)
    found = strongest(features)
    for rows, split in ((found.train, features.train), (found.test, features.test)):
        wanted = np.abs(model.transform(split.double().numpy()))
        assert np.allclose(np.abs(rows.numpy()), wanted, atol=1e-4)


def test_head_and_clusters_see_the_strongest_directions_alone() -> None:
    """Labels that only a weak direction knows are not found; those of a strong one are, as well as by themselves."""
    rows, weak, strong = draw(1500, 7), draw_labels(1500, 2, 1), draw_labels(1500, 2, 2)
    rows *= torch.tensor([9.0, 8.0, 7.0, 6.0, 5.0, 0.2, 0.1])
    rows[:, 0] += 60.0 * strong
    rows[:, 6] = 0.5 * weak.float() + 0.01 * rows[:, 6]
    features = LayerFeatures(rows[:1000], rows[1000:])
    levels = [LabelLevel(name, labels[:1000], labels[1000:], 2) for name, labels in (("w", weak), ("s", strong))]
    values = measured(cluster_purity, features, levels)
    assert values["w", "test", "linear_accuracy_top5"] == pytest.approx(0.5, abs=0.06)
    assert values["w", "train", "cluster_purity_top5"] < 0.6
    assert values["s", "test", "linear_accuracy_top5"] > 0.99 and values["s", "train", "cluster_purity_top5"] > 0.99
    assert measured(linear_probe, features, levels)["w", "test", "linear_accuracy"] > 0.99


def test_rotation_translation_and_scale_change_nothing() -> None:
    features, levels = blobs(distance=9.0)
    rotation = torch.linalg.qr(draw(8, 8, seed=9))[0]
    moved = LayerFeatures(3 * features.train @ rotation + 10, 3 * features.test @ rotation + 10)
    expected = of_size(measured(cluster_purity, features, levels), 5)
    assert of_size(measured(cluster_purity, moved, levels), 5) == pytest.approx(expected, abs=1e-4)


def test_each_level_alone_equals_all_levels_together() -> None:
    features, levels = blobs()
    alone = {}
    for level in levels:
        alone |= measured(cluster_purity, blobs()[0], [level])
    together = measured(cluster_purity, features, levels)
    assert of_size(alone, 5) == of_size(together, 5)


def test_of_many_rows_a_fixed_choice_is_clustered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmeans, "MAX_ROWS", 200)
    features, (level, _) = blobs(num_dims=32, distance=40.0)
    order = level.train.argsort()  # the first 200 rows are two classes
    sizes: list[int] = []
    real = cluster_purity.cluster
    monkeypatch.setattr(cluster_purity, "cluster", lambda rows, k: sizes.append(len(rows)) or real(rows, k))
    shuffled = LayerFeatures(features.train[order], features.test), replace(level, train=level.train[order])
    values = measured(cluster_purity, shuffled[0], [shuffled[1]])
    assert set(sizes) == {200} and values["class", "train", "cluster_purity_top10"] == 1.0


def test_not_a_number_where_there_are_not_more_features_or_not_as_many_directions() -> None:
    features, levels = blobs(num_dims=20)
    values = measured(cluster_purity, features, levels)
    assert len(values) == 5 * 5
    for k in (5, 10, 20, 50, 100):
        assert all(math.isnan(value) == (k >= 20) for value in of_size(values, k).values())
    flat = LayerFeatures(torch.full_like(features.train, 0.1), features.test)
    assert all(math.isnan(value) for value in measured(cluster_purity, flat, levels).values())
    mixed = draw(7, 20)  # 20 features, seven directions
    low = LayerFeatures(features.train[:, :7] @ mixed, features.test[:, :7] @ mixed)
    values = measured(cluster_purity, low, levels)
    assert not any(map(math.isnan, of_size(values, 5).values())) and all(map(math.isnan, of_size(values, 10).values()))
