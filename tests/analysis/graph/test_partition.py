"""Cuts and clusters against all cuts of a small graph, and against scikit-learn."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from analysis.graph import PairGraph, top_eigenpairs
from analysis.graph.partition import cluster_weights, conductances, spectral_clusters, sweep_cut
from ray_ssl.errors import UserError
from tests.analysis.graph.graphs import cliques, dense, random_graph, ring


def naive_conductance(weights: np.ndarray, inside: np.ndarray) -> float:
    volume = weights.sum(1)
    return weights[inside][:, ~inside].sum() / min(volume[inside].sum(), volume[~inside].sum())


@pytest.mark.parametrize("seed", range(5))
def test_sweep_cut_is_the_best_in_its_order_and_keeps_cheegers_bounds(seed: int) -> None:
    graph = random_graph(25, 12, 3, seed)
    weights, degrees, _ = dense(graph)
    found = top_eigenpairs(graph, 2)
    cut = sweep_cut(graph, found)
    order = np.argsort(found.vectors[:, 1] / np.sqrt(degrees))
    prefixes = [np.isin(np.arange(12), order[: i + 1]) for i in range(11)]
    assert cut.conductance == pytest.approx(min(naive_conductance(weights, inside) for inside in prefixes))
    assert naive_conductance(weights, cut.inside) == pytest.approx(cut.conductance)
    assert degrees[cut.inside].sum() <= 0.5 + 1e-12
    every = [np.array(bits, bool) for bits in product((0, 1), repeat=12)]
    best = min(naive_conductance(weights, inside) for inside in every if 0 < inside.sum() < 12)
    assert cut.lower <= best <= cut.conductance + 1e-12 <= cut.upper + 1e-12


def test_barbell_is_cut_at_its_bridge() -> None:
    graph = cliques(5, 2, bridge=True)
    cut = sweep_cut(graph, top_eigenpairs(graph, 2))
    assert set(np.flatnonzero(cut.inside)) in ({0, 1, 2, 3, 4}, {5, 6, 7, 8, 9})
    assert cut.conductance == pytest.approx(0.25 / (10 + 0.5))  # of 21 images the bridge is one; half its pairs stay


def test_two_components_are_cut_apart_for_nothing() -> None:
    graph = cliques(4, 2, bridge=False)
    cut = sweep_cut(graph, top_eigenpairs(graph, 2))
    assert (cut.conductance, cut.lower, cut.upper) == pytest.approx((0, 0, 0), abs=1e-7)
    assert cut.inside.sum() == 4


def test_weights_of_clusters_and_their_conductance_are_those_of_the_matrix() -> None:
    graph = random_graph(50, 30, 4)
    weights, degrees, _ = dense(graph)
    clusters = np.arange(30) % 4
    members = np.eye(5)[clusters]
    np.testing.assert_allclose(cluster_weights(graph, clusters, 5), members.T @ weights @ members, atol=1e-15)
    expected = [weights[clusters == c][:, clusters != c].sum() / degrees[clusters == c].sum() for c in range(4)]
    np.testing.assert_allclose(conductances(graph, clusters, 5), [*expected, np.nan], atol=1e-12)


def planted(num_clusters: int, num_images: int = 300, seed: int = 0) -> tuple[PairGraph, np.ndarray]:
    """Views mostly of the own cluster's 12 nodes; and each node's cluster."""
    random = np.random.default_rng(seed)
    of_node = np.repeat(np.arange(num_clusters), 12)
    views = random.random((num_images, len(of_node))) * (random.random((num_images, len(of_node))) < 0.3)
    views *= np.where(of_node == (np.arange(num_images) % num_clusters)[:, None], 1, 0.01)
    return PairGraph(views / views.sum(1, keepdims=True)), of_node


def test_spectral_clusters_are_the_planted_ones_and_scikit_learns() -> None:
    graph, truth = planted(4)
    found = spectral_clusters(graph, top_eigenpairs(graph, 4), 4)
    theirs = SpectralClustering(4, affinity="precomputed", random_state=0).fit_predict(dense(graph)[0])
    assert adjusted_rand_score(found, truth) == adjusted_rand_score(found, theirs) == 1
    values = top_eigenpairs(graph, 4).values
    assert (1 - values[3]) / 2 <= conductances(graph, found, 4).max() < 0.3


@pytest.mark.parametrize("count", [1, 4])
def test_more_clusters_than_eigenvectors_are_refused(count: int) -> None:
    graph = ring(6)
    with pytest.raises(UserError, match=f"number of eigenvectors, 3, given {count}"):
        spectral_clusters(graph, top_eigenpairs(graph, 3), count)
    with pytest.raises(UserError, match="two eigenvectors"):
        sweep_cut(graph, top_eigenpairs(graph, 1))
