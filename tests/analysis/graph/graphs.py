"""Small graphs of positive pairs with known properties."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from analysis.graph import PairGraph


def random_graph(num_images: int, num_nodes: int, num_views: int, seed: int = 0) -> PairGraph:
    """Each image has some random views of random probabilities; every node is a view of some image."""
    random = np.random.default_rng(seed)
    rows = np.repeat(np.arange(num_images), num_views)
    columns = random.integers(num_nodes, size=num_images * num_views)
    columns[:num_nodes] = random.permutation(num_nodes)
    matrix = sparse.coo_array((random.random(len(rows)) + 0.1, (rows, columns)), shape=(num_images, num_nodes)).tocsr()
    return PairGraph(sparse.diags_array(1 / matrix.sum(1)) @ matrix)


def of_edges(edges: list[tuple[int, int]]) -> PairGraph:
    """An image for each edge, whose two views are its ends: w is half the lazy walk's."""
    matrix = np.zeros((len(edges), 1 + max(map(max, edges))))
    for row, ends in enumerate(edges):
        matrix[row, list(ends)] = 0.5
    return PairGraph(sparse.csr_array(matrix))


def ring(num_nodes: int) -> PairGraph:
    """A cycle; its eigenvalues are (1 + cos(2 pi j / N)) / 2."""
    return of_edges([(i, (i + 1) % num_nodes) for i in range(num_nodes)])


def cliques(size: int, num_cliques: int, bridge: bool) -> PairGraph:
    """Complete graphs; with `bridge` one edge from each to the next."""
    edges = [(c * size + i, c * size + j) for c in range(num_cliques) for i in range(size) for j in range(i)]
    edges += [(c * size, c * size - 1) for c in range(1, num_cliques)] if bridge else []
    return of_edges(edges)


def dense(graph: PairGraph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """w, w_x and the normalised adjacency by the definition, in loops over images."""
    views = graph.probabilities.toarray()
    weights = np.sum([np.outer(row, row) for row in views], axis=0) / len(views)
    degrees = weights.sum(1)
    return weights, degrees, weights / np.sqrt(np.outer(degrees, degrees))
