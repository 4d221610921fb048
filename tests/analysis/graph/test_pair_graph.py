"""The graph against dense matrices from the definition, and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse import csgraph

from analysis.graph import PairGraph, pair_graph
from ray_ssl.errors import UserError
from tests.analysis.graph.graphs import cliques, dense, random_graph, ring


def test_matrices_are_those_of_the_definition() -> None:
    graph = random_graph(40, 25, 3)
    weights, degrees, adjacency = dense(graph)
    np.testing.assert_allclose(graph.weights().toarray(), weights, atol=1e-15)
    np.testing.assert_allclose(graph.node_weights, degrees, atol=1e-15)
    np.testing.assert_allclose(graph.normalised_adjacency().toarray(), adjacency, atol=1e-14)
    np.testing.assert_allclose((graph.factor.T @ graph.factor).toarray(), adjacency, atol=1e-14)
    np.testing.assert_allclose(graph.image_posterior.sum(1), 1)
    assert weights.sum() == pytest.approx(1)


def test_components_are_those_of_the_matrix_in_order_of_their_first_node() -> None:
    graph = random_graph(60, 70, 2, seed=3)
    count, labels = csgraph.connected_components(dense(graph)[0] > 0, directed=False)
    assert 1 < count < 60 and graph.components.max() == count - 1
    same = graph.components[:, None] == graph.components
    assert (same == (labels[:, None] == labels)).all()
    assert (np.diff(np.unique(graph.components, return_index=True)[1]) > 0).all()
    for image, component in enumerate(graph.image_components):
        assert set(graph.components[graph.probabilities[[image]].indices]) == {component}


def test_shortest_paths() -> None:
    hops = ring(10).shortest_paths(np.array([0, 3]))
    steps = np.abs(np.arange(10) - np.array([[0], [3]]))
    assert (hops == np.minimum(steps, 10 - steps)).all()
    apart = cliques(3, 2, bridge=False).shortest_paths(np.array([0]), "probability")
    assert apart[0].tolist() == pytest.approx([0, np.log(4), np.log(4), *[np.inf] * 3])


def test_most_probable_walk_is_that_of_floyd_and_warshall() -> None:
    graph = random_graph(30, 20, 3, seed=1)
    weights, degrees, _ = dense(graph)
    lengths = -np.log(np.where(weights > 0, weights / degrees[:, None], 1))
    lengths[weights == 0] = np.inf
    np.fill_diagonal(lengths, 0)
    for middle in range(20):
        lengths = np.minimum(lengths, lengths[:, [middle]] + lengths[[middle]])
    np.testing.assert_allclose(graph.shortest_paths(np.arange(20), "probability"), lengths)


@pytest.mark.parametrize("matrix", [[[0.5, 0.4]], [[1.5, -0.5]], [[1.0, 0.0]], [[0.0]]])
def test_what_is_no_probability_is_refused(matrix: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"sum to 1|view of some image"):
        PairGraph(sparse.csr_array(np.array(matrix)))


def test_a_graph_whose_matrix_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = ring(10)
    monkeypatch.setattr(pair_graph, "MAX_EDGES", 39)
    with pytest.raises(UserError, match="up to 40 edges"):
        graph.weights()
