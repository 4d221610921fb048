"""The spectral loss on a graph is a matrix factorisation, and its minimum is the top eigenvectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.graph import top_eigenpairs
from analysis.graph.alignment import alignment, cosines, feature_basis
from analysis.graph.contrastive import START, Learned, Training, learn, least_loss, marks, population_loss
from ray_ssl.methods.spectral import spectral_terms
from tests.analysis.graph.graphs import cliques, dense, random_graph
from tests.analysis.graph.test_partition import planted


def last(training: Training) -> Learned:
    graph, _ = planted(4)
    levels = np.eye(48, dtype=np.uint8).reshape(48, 48, 1, 1)
    return list(learn(graph, levels, training))[-1]


def test_loss_is_that_of_pairs_and_of_a_factorisation() -> None:
    graph = random_graph(30, 20, 3)
    weights, degrees, adjacency = dense(graph)
    features = np.random.default_rng(0).standard_normal((20, 4))
    products = features @ features.T
    pairs = -2 * (weights * products).sum() + (np.outer(degrees, degrees) * products**2).sum()
    scaled = features * np.sqrt(degrees)[:, None]
    factorised = np.square(adjacency - scaled @ scaled.T).sum() - np.square(adjacency).sum()
    assert population_loss(graph, features) == pytest.approx(pairs) == pytest.approx(factorised)


def test_loss_is_what_batches_of_the_training_estimate() -> None:
    graph = random_graph(40, 20, 3)
    features = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    random = np.random.default_rng(1)
    views = graph.probabilities.toarray()
    views /= views.sum(1, keepdims=True)
    estimates = []
    for _ in range(400):
        images = random.integers(40, size=64)
        z0, z1 = (features[[random.choice(20, p=views[i]) for i in images]] for _ in range(2))
        estimates.append(spectral_terms(z0, z1, clip_norm=False)["loss"].item())
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(population_loss(graph, features.numpy()), abs=4 * error)


def test_eigenvectors_reach_the_least_loss_and_nothing_near_is_below() -> None:
    graph = random_graph(30, 20, 3)
    found = top_eigenpairs(graph, 5)
    best = found.vectors * np.sqrt(found.values) / np.sqrt(graph.node_weights)[:, None]
    assert population_loss(graph, best) == pytest.approx(least_loss(found, 5))
    near = best + 0.05 * np.random.default_rng(0).standard_normal((50, *best.shape))
    assert min(population_loss(graph, one) for one in near) > least_loss(found, 5)


def test_free_features_begin_small_and_never_do_worse_than_features_of_zero() -> None:
    graph, _ = planted(4)
    levels = np.eye(48, dtype=np.uint8).reshape(48, 48, 1, 1)
    for k, seed in [(k, seed) for k in (4, 20, 40) for seed in (0, 1)]:
        found = list(learn(graph, levels, Training("table", k, 60, seed), range(61)))
        lengths = np.linalg.norm(np.sqrt(graph.node_weights)[:, None] * found[0].features, axis=0)
        assert lengths.mean() == pytest.approx(START, rel=0.15)
        assert max(one.loss for one in found) < 0


def test_free_features_become_the_top_eigenvectors() -> None:
    graph, _ = planted(4)
    found = top_eigenpairs(graph, 5)
    assert found.gaps.argmax() == 3
    learned = last(Training("table", 4, 300))
    basis = feature_basis(learned.features, graph.node_weights)
    assert cosines(basis, found.vectors[:, :4]).min() > 0.9999
    assert learned.loss == pytest.approx(least_loss(found, 4), rel=1e-4)
    assert population_loss(graph, learned.features) == learned.loss


def test_no_loss_is_below_the_least() -> None:
    graph = random_graph(300, 200, 4)
    levels, least = np.zeros((200, 1, 1, 1), np.uint8), least_loss(top_eigenpairs(graph, 3), 3)
    losses = [one.loss for one in learn(graph, levels, Training("table", 3, 900), range(600, 901, 10))]
    assert min(losses) >= least * (1 + 1e-9) and losses[-1] == pytest.approx(least, rel=1e-6)


def test_a_network_comes_near_and_starts_far() -> None:
    graph, _ = planted(4)
    vectors = top_eigenpairs(graph, 4).vectors
    start, end = (
        alignment(feature_basis(last(Training("network", 4, steps)).features, graph.node_weights), vectors).principal
        for steps in (1, 200)
    )
    assert start < 0.6 < 0.98 < end


def test_same_seed_same_features_and_steps_do_not_depend_on_which_are_looked_at() -> None:
    graph = cliques(4, 3, bridge=True)
    levels = np.random.default_rng(0).integers(0, 2, (graph.num_nodes, 2, 2, 1)).astype(np.uint8)
    for kind in ("table", "network"):
        one, other = (list(learn(graph, levels, Training(kind, 3, 20, seed), at)) for seed, at in ((0, None), (0, [7])))
        assert [found.step for found in one] == marks(20) and other[0].step == 7
        again = list(learn(graph, levels, Training(kind, 3, 20, 0), [7]))
        assert (other[0].features == again[0].features).all()
        apart = list(learn(graph, levels, Training(kind, 3, 20, 1), [7]))
        assert (other[0].features != apart[0].features).any()
