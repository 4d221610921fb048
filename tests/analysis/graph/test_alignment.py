"""Angles between subspaces against SciPy, closed forms and invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from analysis.features import LayerFeatures
from analysis.graph.alignment import (
    NUM_DRAWS,
    alignment,
    cosines,
    feature_basis,
    random_alignment,
    random_alignment_with_constant,
    random_smallest_cosine,
)
from analysis.metrics import spectral_alignment
from tests.analysis.metrics.blobs import blobs, draw, nodes

RANDOM = np.random.default_rng(0)
WEIGHTS = RANDOM.random(80) + 0.1
WEIGHTS /= WEIGHTS.sum()
VECTORS = np.linalg.qr(RANDOM.standard_normal((80, 6)))[0]
FEATURES = RANDOM.standard_normal((80, 9)) + 1


def test_cosines_are_those_of_scipys_angles() -> None:
    basis = feature_basis(FEATURES, WEIGHTS)
    angles = subspace_angles(FEATURES * np.sqrt(WEIGHTS)[:, None], VECTORS)
    np.testing.assert_allclose(cosines(basis, VECTORS), np.cos(angles[::-1]), atol=1e-12)
    assert alignment(basis, VECTORS).whole == pytest.approx(np.square(np.cos(angles)).mean())


def test_strongest_directions_are_those_of_a_naive_projection() -> None:
    scaled = FEATURES * np.sqrt(WEIGHTS)[:, None]
    strongest = np.linalg.eigh(scaled @ scaled.T)[1][:, -6:]
    projected = strongest @ strongest.T @ VECTORS
    found = alignment(feature_basis(FEATURES, WEIGHTS), VECTORS)
    assert found.principal == pytest.approx(np.square(projected).sum() / 6)
    assert found.principal < found.whole


def test_eigenvectors_up_to_any_map_are_aligned_and_few_directions_only_in_part() -> None:
    mixed = VECTORS / np.sqrt(WEIGHTS)[:, None] @ RANDOM.standard_normal((6, 6))
    assert alignment(feature_basis(mixed, WEIGHTS), VECTORS) == pytest.approx((1, 1))
    few = VECTORS[:, :2] / np.sqrt(WEIGHTS)[:, None]
    assert alignment(feature_basis(few, WEIGHTS), VECTORS) == pytest.approx((1 / 3, 1 / 3))
    assert cosines(feature_basis(few, WEIGHTS), VECTORS).tolist() == pytest.approx([1, 1, 0, 0, 0, 0])
    assert alignment(feature_basis(np.zeros((80, 4)), WEIGHTS), VECTORS) == (0, 0)


def test_random_spans_are_as_close_as_the_closed_form_says() -> None:
    rng, flat = np.random.default_rng(1), np.full(60, 1 / 60)
    for k in (3, 12):
        fixed = np.linalg.qr(rng.standard_normal((60, k)))[0]
        draws = [alignment(feature_basis(rng.standard_normal((60, k)), flat), fixed).principal for _ in range(400)]
        assert abs(np.mean(draws) - random_alignment(k, 60)) < 4 * np.std(draws) / np.sqrt(len(draws))
        assert 4 * np.std(draws) / np.sqrt(len(draws)) < 0.1 * random_alignment(k, 60)


def test_noise_with_a_mean_is_as_close_as_a_random_span_that_holds_the_constant() -> None:
    rng, weights = np.random.default_rng(1), np.full(300, 1 / 300)
    k, first = 10, np.full((300, 1), 300**-0.5)
    inside = [np.linalg.qr(np.hstack([first, rng.standard_normal((300, k - 1))]))[0] for _ in range(200)]
    draws = [alignment(feature_basis(rng.standard_normal((300, k)) + 30, weights), fixed).principal for fixed in inside]
    assert np.mean(draws) == pytest.approx(random_alignment_with_constant(k, 300), rel=0.02)
    rectified = [alignment(feature_basis(rng.standard_normal((300, 64)).clip(0), weights), fixed) for fixed in inside]
    near = np.mean([one.principal for one in rectified])
    assert abs(near - random_alignment_with_constant(k, 300)) < 0.02 < near - random_alignment(k, 300)


def test_metric_sees_each_splits_own_graph_and_keeps_under_rotation_and_scale() -> None:
    features, _ = blobs()
    found = {(m.split, m.metric): m.value for m in spectral_alignment.measure(features, [])}
    assert features.nodes is not None
    for split, rows, of in zip(("train", "test"), (features.train, features.test), features.nodes, strict=True):
        basis = feature_basis(rows.double().numpy(), of.weights)
        assert of.top.alignment(basis, 5) == alignment(basis, of.top.vectors[:, :5])
        assert found[split, "spectral_alignment_top5"] == pytest.approx(
            alignment(basis, of.top.vectors[:, :5]).principal
        )
        assert found[split, "spectral_coverage_top20"] == pytest.approx(alignment(basis, of.top.vectors[:, :20]).whole)
    rotation = torch.linalg.qr(draw(8, 8, seed=9))[0]
    turned = LayerFeatures(3 * features.train @ rotation, 3 * features.test @ rotation, nodes=features.nodes)
    again = {(m.split, m.metric): m.value for m in spectral_alignment.measure(turned, [])}
    assert again == pytest.approx(found, rel=1e-4)


def test_a_graph_of_few_nodes_has_no_number_and_features_need_a_graph() -> None:
    few = nodes(30, 1)
    features = LayerFeatures(draw(30, 4), draw(30, 4), nodes=(few, few))
    found = {m.metric: m.value for m in spectral_alignment.measure(features, [])}
    assert np.isnan(found["spectral_alignment_top50"]) and found["spectral_coverage_top20"] > 0
    with pytest.raises(ValueError, match=r"needs LayerFeatures\.nodes"):
        list(spectral_alignment.measure(LayerFeatures(draw(30, 4), draw(30, 4)), []))


@pytest.mark.parametrize(("k", "num_nodes"), [(3, 12), (3, 5), (4, 4)])
def test_the_smallest_cosine_of_random_spans_is_that_of_gaussian_ones(k: int, num_nodes: int) -> None:
    random = np.random.default_rng(0)
    spans = [np.linalg.qr(random.standard_normal((num_nodes, k)))[0] for _ in range(2000)]
    drawn = [cosines(span, np.eye(num_nodes)[:, :k]).min() for span in spans]
    error = np.std(drawn) * np.sqrt(1 / 2000 + 1 / NUM_DRAWS)
    assert random_smallest_cosine(k, num_nodes) == pytest.approx(np.mean(drawn), abs=4 * error + 1e-9)


def test_the_smallest_cosine_of_two_random_lines_in_a_plane() -> None:
    assert random_smallest_cosine(1, 2) == pytest.approx(2 / np.pi, abs=4 * np.sqrt(0.5 - (2 / np.pi) ** 2) / 16)
