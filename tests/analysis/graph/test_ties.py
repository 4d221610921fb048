"""Where eigenvalue k equals the next, features that minimise the loss are aligned, whichever span they found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from analysis.graph import PairGraph, Spectrum, ties, top_eigenpairs
from analysis.graph.alignment import alignment, cosines, feature_basis
from analysis.graph.contrastive import Training, learn, least_loss, population_loss
from analysis.graph.ties import at_a_gap, closest, minimisers, nearest_gaps, spectrum_with_ties
from ray_ssl.errors import UserError
from tests.analysis.graph.graphs import cliques, random_graph, ring

RANDOM = np.random.default_rng(0)


def aligned(graph: PairGraph, spectrum: Spectrum, k: int, features: np.ndarray) -> tuple[float, float]:
    basis = feature_basis(features, graph.node_weights)
    top = closest(basis, minimisers(graph, spectrum, k))
    return alignment(basis, top).principal, float(cosines(basis, top).min())


def minimiser(graph: PairGraph, k: int) -> np.ndarray:
    """Features of least loss, the tied directions turned at random."""
    values, vectors = top_eigenpairs(graph, graph.num_nodes)
    equal = np.abs(values - values[k - 1]) < 1e-9
    turned = vectors.copy()
    turned[:, equal] = vectors[:, equal] @ np.linalg.qr(RANDOM.standard_normal((equal.sum(), equal.sum())))[0]
    return turned[:, :k] * np.sqrt(values[:k]) / np.sqrt(graph.node_weights)[:, None]


@pytest.mark.parametrize(
    ("graph", "k", "num_equal"),
    [
        (cliques(4, 6, bridge=False), 3, 3), (ring(12), 2, 1), (ring(12), 4, 1), (ring(12), 3, 0),
        (cliques(5, 2, bridge=False), 4, 6), (ring(12), 11, 0), (random_graph(6, 20, 4), 8, 12),
    ],
)  # fmt: skip
def test_every_minimiser_is_aligned_and_nothing_else_is(graph: PairGraph, k: int, num_equal: int) -> None:
    spectrum = spectrum_with_ties(graph, [k], k + 1)
    assert minimisers(graph, spectrum, k).num_equal == num_equal
    for _ in range(5):
        features = minimiser(graph, k)
        assert population_loss(graph, features) == pytest.approx(least_loss(spectrum, k))
        assert aligned(graph, spectrum, k, features) == pytest.approx((1, 1))
        less = features + 0.3 * RANDOM.standard_normal(features.shape)
        assert max(aligned(graph, spectrum, k, less)) < 0.999
    few = feature_basis(minimiser(graph, k)[:, :1], graph.node_weights)
    spans = minimisers(graph, spectrum, k)
    count = spans.above.shape[1] + spans.num_chosen
    assert alignment(few, closest(few, spans)).principal <= 1 / count + 1e-9


def test_closest_is_no_further_than_any_other_minimiser_and_without_a_tie_the_top() -> None:
    graph, k = cliques(5, 2, bridge=False), 4
    spectrum = spectrum_with_ties(graph, [k], k + 1)
    spans = minimisers(graph, spectrum, k)
    basis = np.linalg.qr(RANDOM.standard_normal((10, k)))[0]
    best = alignment(basis, closest(basis, spans)).principal
    others = [feature_basis(minimiser(graph, k), graph.node_weights) for _ in range(200)]
    assert max(alignment(basis, one).principal for one in others) <= best + 1e-12
    untied = random_graph(30, 20, 3)
    top = top_eigenpairs(untied, 6)
    assert (closest(np.eye(20)[:, :5], minimisers(untied, top, 5)) == top.vectors[:, :5]).all()


def test_trained_features_of_six_components_are_aligned() -> None:
    graph = PairGraph(sparse.csr_array(np.kron(np.eye(6), np.full((1, 4), 0.25))))
    levels = np.eye(24, dtype=np.uint8).reshape(24, 24, 1, 1)
    spectrum = spectrum_with_ties(graph, [3], 4)
    found = [aligned(graph, spectrum, 3, one.features)[0] for one in learn(graph, levels, Training("table", 3, 300))]
    assert found[0] < 0.8 and found[-1] > 0.9999


def test_the_default_is_the_nearest_gap_and_too_large_a_tie_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = cliques(4, 6, bridge=False)
    spectrum = top_eigenpairs(graph, 8)
    assert nearest_gaps(graph, spectrum, 4) == [6] and at_a_gap(graph, spectrum, 4) == 6
    assert at_a_gap(graph, spectrum, 6) == 6 and nearest_gaps(graph, top_eigenpairs(graph, 3), 2) == [6]
    assert at_a_gap(graph, top_eigenpairs(graph, 3), 2) == 2
    monkeypatch.setattr(ties, "MOST_NUMBERS", 200)
    with pytest.raises(UserError, match=r"--k 8: eigenvalues 8 to 9 .* choose --k at a gap: 6$"):
        spectrum_with_ties(graph, [8], 9)
