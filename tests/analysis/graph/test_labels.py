"""Weight within labels by loops over pairs; a linear head never errs more than its bound."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from analysis.graph import top_eigenpairs
from analysis.graph.facts import ALL_SOURCES, crossing_purity, describe, path_lengths
from analysis.graph.labels import cluster_purity, error_bound, head_error, label_weights, node_labels
from analysis.graph.pair_graph import PairGraph
from tests.analysis.graph.graphs import cliques, dense, of_edges, random_graph, ring
from tests.analysis.graph.test_partition import planted


def test_label_of_a_node_is_the_most_probable_and_the_smallest_of_equals() -> None:
    graph = cliques(3, 1, bridge=False)  # each node is a view of two images, equally probable
    assert node_labels(graph, np.array([2, 0, 1]), 3).tolist() == [0, 1, 0]


def test_rounding_of_sums_of_many_images_decides_between_no_labels() -> None:
    rng, num_images = np.random.default_rng(0), 4000  # of two labels, each image in one of 7 views: sums of 1 / 7
    labels = np.repeat([0, 1], num_images // 2)
    entries = np.full((num_images, 7), 1 / 7)
    for _ in range(10):
        order = rng.permutation(num_images)
        graph = PairGraph(sparse.csr_array(entries))
        assert node_labels(graph, labels[order], 2).tolist() == [0] * 7


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
    edges, label_error = label_weights(graph, labels, num_labels)
    assert [*edges, label_error] == pytest.approx(expected, abs=1e-12)


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
        assert cluster_purity(graph, of_node, labels, 4) == pytest.approx(
            1 - label_weights(graph, labels, 4).label_error
        )


def test_pure_components_are_solved_and_left_out_ones_have_no_bound() -> None:
    graph = cliques(4, 3, bridge=False)
    labels = np.repeat(np.arange(3), 6)
    found = top_eigenpairs(graph, 4)
    assert error_bound(graph, found, 3, labels, 3) == pytest.approx(0, abs=1e-12)
    assert head_error(graph, found.vectors[:, :3], labels, 3) == pytest.approx(0, abs=1e-12)
    assert error_bound(graph, found, 2, np.arange(18) % 2, 2) == np.inf
    # Of components that are not among the eigenvectors the head knows nothing, pure as they are.
    assert error_bound(graph, found, 2, labels, 3) == np.inf
    assert head_error(graph, found.vectors[:, :2], labels, 3) > 0.3
    assert label_weights(graph, labels, 3).edges.mean_between == 0


def test_isolated_images_have_no_bound_unless_each_has_an_eigenvector() -> None:
    graph, labels = PairGraph(sparse.eye_array(12)), np.arange(12) % 3
    found = top_eigenpairs(graph, 12)
    assert error_bound(graph, found, 4, labels, 3) == np.inf
    assert head_error(graph, found.vectors[:, :4], labels, 3) > 0.3
    assert head_error(graph, found.vectors, labels, 3) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("num_views", [1, 2, 4])
def test_bound_holds_on_small_graphs_connected_or_not(num_views: int) -> None:
    """Labels of images at random, and those of components, which no edge crosses."""
    finite = 0
    for seed in range(25):
        graph = random_graph(16, 12, num_views, seed)
        scale = np.sqrt(graph.node_weights)[:, None]
        found = top_eigenpairs(graph, 12)
        of_components = graph.image_components % 3
        for labels in (np.random.default_rng(seed).integers(3, size=16), of_components):
            for k in (2, 4, 7):
                bound = error_bound(graph, found, k, labels, 3)
                assert head_error(graph, found.vectors[:, :k] / scale, labels, 3) <= bound + 1e-9
                finite += np.isfinite(bound)
    assert finite > 0 or num_views == 1  # 12 isolated nodes have more components than k


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


def test_path_lengths_are_those_of_the_largest_component() -> None:
    path = of_edges([(i, i + 1) for i in range(9)] + [(10, 11)])  # 10 nodes in a row, and two elsewhere
    mean = np.mean([abs(i - j) for i in range(10) for j in range(10) if i != j])
    assert path_lengths(path) == (pytest.approx(mean), 9, 10, 10)
    size = 2 * ALL_SOURCES
    found = path_lengths(ring(size))  # all sources see the same
    assert found.num_sources < size == found.num_nodes and found.longest == size // 2
    assert found.mean == pytest.approx((size / 2) ** 2 / (size - 1))
    assert np.isnan(path_lengths(PairGraph(sparse.eye_array(3))).mean)
