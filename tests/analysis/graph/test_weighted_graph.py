"""A graph of given weights is the graph of positive pairs that has the same ones."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.graph import PairGraph, top_eigenpairs
from analysis.graph.facts import path_lengths
from analysis.graph.labels import edge_weights
from analysis.graph.partition import cluster_weights, conductances, spectral_clusters, sweep_cut
from analysis.graph.weighted_graph import WeightedGraph
from tests.analysis.graph.graphs import cliques, dense, random_graph, ring

GRAPHS = {
    "connected": random_graph(60, 25, 3),
    "components": random_graph(14, 25, 2),
    "ring": ring(12),
    "cliques": cliques(5, 3, bridge=True),
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_all_that_is_asked_of_both_is_the_same(graph: PairGraph) -> None:
    weights, adjacency = dense(graph)[0], dense(graph)[2]
    same = WeightedGraph(7 * (weights + weights.T))  # the scale does not matter, and rounding is symmetric
    np.testing.assert_allclose(same.node_weights, graph.node_weights, atol=1e-15)
    assert (same.components == graph.components).all() and path_lengths(same) == path_lengths(graph)
    sources = np.arange(4)
    np.testing.assert_allclose(
        same.shortest_paths(sources, "probability"), graph.shortest_paths(sources, "probability"), atol=1e-12
    )
    k = graph.num_nodes
    ours, theirs = top_eigenpairs(same, k), top_eigenpairs(graph, k)
    np.testing.assert_allclose(ours.values, theirs.values, atol=1e-10)
    np.testing.assert_allclose(ours.vectors * ours.values @ ours.vectors.T, adjacency, atol=1e-9)
    clusters = spectral_clusters(graph, theirs, 3)
    np.testing.assert_allclose(cluster_weights(same, clusters, 4), cluster_weights(graph, clusters, 4), atol=1e-15)
    np.testing.assert_allclose(conductances(same, clusters, 4), conductances(graph, clusters, 4), atol=1e-12)
    assert edge_weights(same, clusters, 4) == pytest.approx(edge_weights(graph, clusters, 4), abs=1e-12)
    assert sweep_cut(same, theirs)[1:] == pytest.approx(sweep_cut(graph, theirs)[1:], abs=1e-12)


def test_eigenvalues_below_0_count_as_0() -> None:
    found = top_eigenpairs(WeightedGraph(np.array([[1.0, 2.0], [2.0, 1.0]])), 2)  # 1 and -1/3
    assert found.values.tolist() == [1, 0]
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(2), atol=1e-12)


@pytest.mark.parametrize("matrix", [np.eye(2)[:1], [[1, 2], [3, 1]], [[1, -1], [-1, 1]], [[1, 0], [0, 0]]])
def test_what_is_no_weights_is_refused(matrix: object) -> None:
    with pytest.raises(ValueError, match="symmetric matrix"):
        WeightedGraph(np.asarray(matrix, float))
