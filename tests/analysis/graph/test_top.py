"""Encoders against the top eigenvectors where these are tied: a number of the graph, not of who solved it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from analysis.connectivity.compared import Eigenvectors, eigenvectors
from analysis.connectivity.estimated import estimate
from analysis.connectivity.groups import GroupErrors
from analysis.features import LayerFeatures
from analysis.graph import PairGraph, Spectrum, ties, top, top_eigenpairs
from analysis.graph.alignment import alignment, feature_basis
from analysis.graph.nodes import GraphNodes
from analysis.graph.top import SIZES, TopSpans, top_spans
from analysis.graph.weighted_graph import Graph
from analysis.labels import LabelLevel
from analysis.metrics import estimated_alignment, spectral_alignment
from tests.analysis.graph.graphs import cliques, random_graph, ring
from tests.analysis.metrics.blobs import draw, measured

RANDOM = np.random.default_rng(0)


def of_exact(graph: PairGraph, features: np.ndarray) -> dict[str, float]:
    """What the metric says of features of the nodes, without its prefix."""
    pictures = np.zeros((graph.num_nodes, 8, 8, 3), np.uint8)
    nodes = GraphNodes(pictures, np.array(graph.node_weights), top_spans(graph))
    rows = torch.from_numpy(features).float()
    layer = LayerFeatures(rows, rows, nodes=(nodes, nodes))
    found = measured(spectral_alignment, layer, [])
    return {name.removeprefix("spectral_"): value for (_, split, name), value in found.items() if split == "test"}


def of_estimated(graph: Eigenvectors, features: np.ndarray) -> dict[str, float]:
    """The same, of a picture of each group."""
    groups, rows = torch.arange(len(features)), torch.from_numpy(features).float()
    layer = LayerFeatures(rows, rows, graph=graph)
    found = measured(estimated_alignment, layer, [LabelLevel("class", groups, groups, len(features))])
    return {name.removeprefix("estimated_"): value for (_, split, name), value in found.items() if split == "test"}


def test_indicators_of_more_components_than_k_have_the_least_loss() -> None:
    graph = cliques(4, 30, bridge=False)
    indicators = np.eye(30)[graph.components]
    of_all = of_exact(graph, indicators)
    for k in (5, 10, 20):
        some = of_exact(graph, indicators[:, RANDOM.permutation(30)[:k]])  # any k components, any mixture of them
        mixed = of_exact(graph, indicators @ RANDOM.standard_normal((30, k)))
        for found in (of_all, some, mixed):
            assert found[f"alignment_top{k}"] == pytest.approx(1) and found[f"coverage_top{k}"] == pytest.approx(1)
            assert found[f"graph_num_equal_top{k}"] == 30 - k
    assert of_all["graph_num_equal_top50"] == 120 - 50  # its other eigenvalues are equal too: 4 nodes, a lazy walk
    inside = indicators[:, :1] * RANDOM.standard_normal((120, 5))  # 5 directions, all in one component
    assert of_exact(graph, inside)["alignment_top5"] <= 1 / 5 + 1e-9


def test_groups_that_nothing_is_confused_with_are_components() -> None:
    """60 groups, of which 30 are told apart from all others without an error, and 30 are confused in pairs."""
    errors = np.zeros((60, 60))
    for one in range(0, 30, 2):
        errors[one, one + 1] = errors[one + 1, one] = 0.3
    graph = eigenvectors(estimate(GroupErrors(errors, np.full(60, 0.5)), np.full(60, 100)))
    components = np.eye(60)
    components[:, 1:30:2] += components[:, 0:30:2]
    found = of_estimated(graph, components[:, [*range(1, 30, 2), *range(30, 60)]][:, RANDOM.permutation(45)[:20]])
    assert found["num_equal_top20"] == 25 and found["num_equal_top50"] == 10
    assert found["alignment_top20"] == pytest.approx(1) and found["coverage_top20"] == pytest.approx(1)
    assert found["alignment_top50"] == pytest.approx(20 / 50) and found["num_nodes"] == 60


@pytest.mark.parametrize("graph", [cliques(4, 30, bridge=False), ring(120), cliques(3, 22, bridge=False)])
def test_what_the_solver_returns_of_equal_eigenvalues_changes_nothing(
    graph: PairGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = RANDOM.standard_normal((graph.num_nodes, 80))

    def turned(of: Graph, k: int) -> Spectrum:
        """The top k of the same eigenvalues, each span of equal ones turned at random."""
        values, vectors = top_eigenpairs(of, of.num_nodes)
        turned = vectors.copy()
        for first in np.flatnonzero(np.diff(values, prepend=2) < -1e-9):
            equal = np.abs(values - values[first]) < 1e-9
            if equal.sum() > 1:
                turned[:, equal] = vectors[:, equal] @ ortho_group.rvs(int(equal.sum()), random_state=len(features))
        return Spectrum(values[:k], turned[:, :k])

    ours = of_exact(graph, features)
    monkeypatch.setattr(top, "top_eigenpairs", turned)
    monkeypatch.setattr(ties, "top_eigenpairs", turned)
    theirs = of_exact(graph, features)
    assert theirs == pytest.approx(ours, abs=1e-9)
    assert max(ours[f"graph_num_equal_top{k}"] for k in SIZES) > 0
    for k in SIZES:
        assert ours[f"coverage_top{k}"] >= ours[f"alignment_top{k}"] - 1e-12


def test_without_a_tie_it_is_the_top_eigenvectors_to_the_last_bit() -> None:
    for graph in (random_graph(400, 300, 5), random_graph(60, 55, 4)):
        vectors = top_eigenpairs(graph, 50).vectors
        basis = feature_basis(RANDOM.standard_normal((graph.num_nodes, 30)), graph.node_weights)
        spans = top_spans(graph)
        assert (spans.vectors == vectors).all() and not spans.ties
        assert all(spans.alignment(basis, k) == alignment(basis, vectors[:, :k]) for k in SIZES)


def test_a_tie_at_the_last_size_is_seen_and_one_too_large_to_compute_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = cliques(3, 60, bridge=False)
    assert set(top_spans(graph).ties) == set(SIZES) and top_spans(graph).num_equal(50) == 10
    monkeypatch.setattr(ties, "MOST_NUMBERS", 1000)
    graph = cliques(3, 22, bridge=False)  # 44 eigenvalues of 1/4 behind its 22 components
    spans = top_spans(graph)
    basis = feature_basis(draw(66, 8).numpy(), graph.node_weights)
    assert spans.ties[50] is None and math.isnan(spans.num_equal(50)) and math.isnan(spans.alignment(basis, 50).whole)
    assert spans.num_equal(20) == 2 and np.isfinite(spans.alignment(basis, 20)).all()
    assert TopSpans(spans.vectors).num_equal(50) == 0
