"""Eigenpairs against dense ones, closed forms, and whatever the order of the images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from analysis.graph import PairGraph, spectrum, top_eigenpairs
from ray_ssl.errors import UserError
from tests.analysis.graph.graphs import cliques, dense, random_graph, ring

SHAPES = {"more images": (200, 90, 3), "more nodes": (60, 150, 4), "many components": (70, 110, 2)}


@pytest.mark.parametrize("lanczos", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_eigenpairs_are_those_of_the_dense_matrix(
    shape: tuple[int, int, int], lanczos: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lanczos:
        monkeypatch.setattr(spectrum, "DENSE", 0)
    graph = random_graph(*shape, seed=2)
    adjacency = dense(graph)[2]
    values, vectors = top_eigenpairs(graph, 20)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(adjacency)[::-1][:20], atol=1e-10)
    np.testing.assert_allclose(adjacency @ vectors, vectors * values, atol=1e-10)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(20), atol=1e-10)
    assert values[0] == pytest.approx(1) and values.min() >= 0
    assert (vectors[np.abs(vectors).argmax(0), np.arange(20)] > 0).all()


def test_all_eigenpairs_of_few_images_have_an_orthonormal_null_space() -> None:
    graph = random_graph(6, 15, 4)
    values, vectors = top_eigenpairs(graph, 15)
    np.testing.assert_allclose(vectors * values @ vectors.T, dense(graph)[2], atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(15), atol=1e-12)
    assert np.linalg.matrix_rank(dense(graph)[2]) == 6 and (values[6:] == 0).all()


def test_ring_has_cosines_each_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "DENSE", 0)
    expected = np.sort((1 + np.cos(2 * np.pi * np.arange(300) / 300)) / 2)[::-1]
    np.testing.assert_allclose(top_eigenpairs(ring(300), 21).values, expected[:21], atol=1e-9)


def blocks_at_a_hub(num_blocks: int, size: int) -> PairGraph:
    """Groups of images that are alike but for which nodes are theirs, joined by one node: every eigenvalue of a group
    besides the first is that of all groups."""
    random = np.random.default_rng(0)
    block = random.random((size, size + 1)) * (random.random((size, size + 1)) < 0.6) + 0.5 * np.eye(size, size + 1)
    probabilities = np.hstack([np.kron(np.eye(num_blocks), block), np.full((num_blocks * size, 1), 0.15)])
    probabilities = probabilities[:, probabilities.sum(0) > 0]
    return PairGraph(sparse.csr_array(probabilities / probabilities.sum(1, keepdims=True)))


@pytest.mark.parametrize("k", [5, 20, 101])
def test_repeated_eigenvalues_of_one_component_have_all_their_eigenvectors(k: int) -> None:
    graph = blocks_at_a_hub(40, 8)
    assert graph.num_images > spectrum.DENSE and graph.components.max() == 0
    adjacency = dense(graph)[2]
    values, vectors = top_eigenpairs(graph, k)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(adjacency)[::-1][:k], atol=1e-10)
    np.testing.assert_allclose(adjacency @ vectors, vectors * values, atol=1e-10)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), atol=1e-10)
    assert (np.diff(values[1:]) > -1e-9).sum() > k // 2


def test_fewer_eigenvalues_above_0_than_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "DENSE", 0)
    few = random_graph(12, 48, 4).probabilities.toarray()
    graph = PairGraph(sparse.csr_array(np.repeat(few, 10, 0)))  # each image ten times: the rank is 12
    values, vectors = top_eigenpairs(graph, 20)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(dense(graph)[2])[::-1][:20].clip(0), atol=1e-9)
    assert (values[12:] == 0).all()
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(20), atol=1e-9)


def test_cliques_have_one_eigenvector_each_and_the_gap_counts_them() -> None:
    # Within a clique of s nodes every pair weighs the same: all other eigenvalues are (1 - 1 / (s - 1)) / 2.
    found = top_eigenpairs(cliques(6, 4, bridge=False), 7)
    assert found.values.tolist() == pytest.approx([1] * 4 + [(1 - 1 / 5) / 2] * 3)
    assert found.gaps.argmax() == 3
    indicator = np.repeat(np.eye(4), 6, axis=0) / np.sqrt(6)
    assert np.linalg.svd(indicator.T @ found.vectors[:, :4])[1] == pytest.approx(1)
    assert top_eigenpairs(cliques(6, 4, bridge=True), 7).gaps.argmax() == 3


def test_the_order_of_images_changes_nothing() -> None:
    graph = random_graph(200, 400, 5)
    shuffled = PairGraph(graph.probabilities[np.random.default_rng(0).permutation(200)])
    ours, theirs = top_eigenpairs(graph, 5), top_eigenpairs(shuffled, 5)
    np.testing.assert_allclose(ours.values, theirs.values, atol=1e-12)
    np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=1e-7)


@pytest.mark.parametrize("k", [0, 11])
def test_k_beyond_the_graph_is_refused(k: int) -> None:
    with pytest.raises(UserError, match=f"1 to the number of nodes, 10, given {k}"):
        top_eigenpairs(ring(10), k)
