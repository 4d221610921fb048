"""Weight within labels by loops over pairs; a linear head never errs more than its bound."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.graph import top_eigenpairs
from analysis.graph.facts import crossing_purity, describe
from analysis.graph.labels import cluster_purity, error_bound, head_error, label_weights, node_labels
from tests.analysis.graph.graphs import cliques, dense, random_graph
from tests.analysis.graph.test_partition import planted


def test_label_of_a_node_is_the_most_probable_and_the_smallest_of_equals() -> None:
    graph = cliques(3, 1, bridge=False)  # each node is a view of two images, equally probable
    assert node_labels(graph, np.array([2, 0, 1]), 3).tolist() == [0, 1, 0]


@pytest.mark.parametrize("num_labels", [3, 40])
def test_weights_are_those_of_loops_over_pairs(num_labels: int) -> None:
    graph = random_graph(40, 30, 3)
    labels = np.arange(40) % num_labels
    of_node = node_labels(graph, labels, num_labels)
    weights, degrees, _ = dense(graph)
    pairs = [(x, y) for x in range(30) for y in range(30)]
    same = [weights[x, y] for x, y in pairs if of_node[x] == of_node[y]]
    other = [weights[x, y] for x, y in pairs if of_node[x] != of_node[y]]
    views = graph.probabilities.toarray()
    wrong = sum(views[i, x] for i in range(40) for x in range(30) if of_node[x] != labels[i]) / 40
    chance = sum(degrees[x] * degrees[y] for x, y in pairs if of_node[x] == of_node[y])
    expected = [sum(same), sum(other), chance, float(np.mean(same)) * 900, float(np.mean(other)) * 900, wrong]
    assert list(label_weights(graph, labels, num_labels)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [3, 4, 8])
@pytest.mark.parametrize("seed", range(3))
def test_no_head_errs_more_than_its_bound(seed: int, k: int) -> None:
    graph, of_node = planted(4, seed=seed)
    labels = np.arange(graph.num_images) % 4
    found = top_eigenpairs(graph, k + 1)
    features = found.vectors[:, :k] / np.sqrt(graph.node_weights)[:, None]
    bound = error_bound(graph, found, k, labels, 4)
    assert head_error(graph, features, labels, 4) <= bound
    if k == 4:  # as many as there are clusters: the bound says something, and the clusters are pure
        assert bound < 0.75
        assert cluster_purity(graph, of_node, labels, 4) == pytest.approx(1 - label_weights(graph, labels, 4)[-1])


def test_pure_components_are_solved_and_left_out_ones_have_no_bound() -> None:
    graph = cliques(4, 3, bridge=False)
    labels = np.repeat(np.arange(3), 6)
    found = top_eigenpairs(graph, 4)
    assert error_bound(graph, found, 3, labels, 3) == pytest.approx(0, abs=1e-12)
    assert head_error(graph, found.vectors[:, :3], labels, 3) == pytest.approx(0, abs=1e-12)
    assert error_bound(graph, found, 2, np.arange(18) % 2, 2) == np.inf


def test_facts_of_crossings() -> None:
    graph = random_graph(40, 60, 3)
    views, labels = graph.probabilities.toarray(), np.arange(40) % 4
    reached = views @ (views / views.sum(0)).T
    facts = describe(graph)
    assert facts.crossing == pytest.approx(1 - reached.diagonal().mean())
    assert facts.shared == pytest.approx(views[:, (views > 0).sum(0) > 1].sum() / 40)
    other = ~np.eye(40, dtype=bool)
    same = labels[:, None] == labels
    purity, chance = crossing_purity(graph, labels, 4)
    assert purity == pytest.approx(reached[other & same].sum() / reached[other].sum())
    assert chance == pytest.approx(0.25)
