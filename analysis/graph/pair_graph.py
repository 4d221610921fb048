"""The graph of positive pairs: nodes are views, an edge weighs the probability that two views come of one image.

Everything is computed from the sparse probabilities of views given images; the graph's N x N matrix is a product of
them that is never needed for eigenvectors, components or cuts. Memory is that of the probabilities, 12 bytes an entry,
in a few copies, and of the vectors that are asked for, 8 bytes a node each. `tests/benchmarks/graph.py` measures both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from ray_ssl.errors import UserError

Sparse = Any
"""A SciPy sparse array; its stubs do not say what arithmetic returns."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MAX_EDGES: Final = 200_000_000
"""Entries that the graph's own matrix may have where it is needed: 2.4 GB."""


@dataclass(frozen=True)
class PairGraph:
    """The graph of positive pairs of n images and N views (arXiv 2106.04156, section 3).

    With A(x | x0) the probability of view x of image x0 and images drawn uniformly, the weight of an edge is
    w(x, x') = mean over x0 of A(x | x0) A(x' | x0). All weights sum to 1; a node's weight w_x, its row sum, is the
    probability of the view. The normalised adjacency w(x, x') / sqrt(w_x w_x') is B^T B with B = A D^-1/2 / sqrt(n),
    D the diagonal of node weights, so its eigenvalues are 0 .. 1, and 1 is as frequent as there are components.

    Attributes:
        probabilities: float64 sparse [n, N]: A, rows sum to 1, no column is empty.

    Raises:
        ValueError: Something else.
    """

    probabilities: Sparse

    def __post_init__(self) -> None:
        matrix: Sparse = sparse.csr_array(self.probabilities, dtype=np.float64)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        sums = matrix.sum(1)
        if matrix.nnz == 0 or matrix.data.min() < 0 or not np.allclose(sums, 1, rtol=0, atol=1e-9):
            raise ValueError("each image's view probabilities must be 0 or more and sum to 1")
        if np.bincount(matrix.indices, minlength=matrix.shape[1]).min() == 0:
            raise ValueError("each node must be a view of some image")
        object.__setattr__(self, "probabilities", matrix)

    @property
    def num_images(self) -> int:
        """n."""
        return self.probabilities.shape[0]

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.probabilities.shape[1]

    @cached_property
    def node_weights(self) -> Floats:
        """w_x, float64 [N], above 0; they sum to 1."""
        return np.asarray(self.probabilities.mean(0)).ravel()

    @cached_property
    def factor(self) -> Sparse:
        """B [n, N], whose B^T B is the normalised adjacency."""
        scale = 1 / np.sqrt(self.node_weights * self.num_images)
        return (self.probabilities @ sparse.diags_array(scale)).tocsr()

    @property
    def eigenvalue_sum(self) -> float:
        """Sum of all eigenvalues of the normalised adjacency, its trace |B|^2, 1 .. N."""
        return float(self.factor.power(2).sum())

    @cached_property
    def image_posterior(self) -> Sparse:
        """Probability of each image given the view, sparse [N, n]; rows sum to 1."""
        scale = 1 / (self.node_weights * self.num_images)
        return (self.probabilities @ sparse.diags_array(scale)).T.tocsr()

    def weights(self) -> Sparse:
        """Returns w, sparse [N, N], symmetric, summing to 1: as many entries as there are pairs of views of an image.

        Raises:
            UserError: It might have more than `MAX_EDGES` entries.
        """
        most = int((np.diff(self.probabilities.indptr).astype(np.int64) ** 2).sum())
        if most > MAX_EDGES:
            raise UserError(
                f"the graph of {self.num_nodes} nodes has up to {most} edges, at most {MAX_EDGES} are written out: "
                "take fewer images or views"
            )
        return (self.probabilities.T @ self.probabilities / self.num_images).tocsr()

    def normalised_adjacency(self) -> Sparse:
        """Returns w(x, x') / sqrt(w_x w_x'), sparse [N, N]. Raises UserError as `weights`."""
        scale = sparse.diags_array(1 / np.sqrt(self.node_weights))
        return (scale @ self.weights() @ scale).tocsr()

    @cached_property
    def components(self) -> Integers:
        """The connected component of each node, int64 [N]; 0 is that of the first node, and so on."""
        return self._both_components[self.num_images :]

    @cached_property
    def image_components(self) -> Integers:
        """The component that all views of an image are in, int64 [n]."""
        return self._both_components[: self.num_images]

    @cached_property
    def _both_components(self) -> Integers:
        _, labels = csgraph.connected_components(self._bipartite, directed=False)
        _, first, found = np.unique(labels[self.num_images :], return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        of_label = np.empty(len(first), np.int64)
        of_label[labels[self.num_images :]] = rank[found]
        return of_label[labels]

    @cached_property
    def _bipartite(self) -> Sparse:
        """Images and nodes [n + N, n + N], an entry of 1 for each view of an image."""
        ones = self.probabilities.copy()
        ones.data = np.ones_like(ones.data)
        return sparse.block_array([[None, ones], [ones.T, None]], format="csr")

    def shortest_paths(self, sources: Integers, length: Literal["hops", "probability"] = "hops") -> Floats:
        """Returns the length of the shortest path from some nodes to all, float64 [S, N]; infinity where there is none.

        Args:
            sources: int64 [S] nodes.
            length: Of an edge from x to x'. "hops": 1 each. "probability": -log w(x, x') / w_x, so that a path is as
                long as minus the logarithm of the probability (nats) that a random walk of as many steps takes it.

        Raises:
            UserError: "probability" needs the matrix, see `weights`.
        """
        if length == "hops":  # through an image is one edge, and two of the bipartite graph
            start = sources + self.num_images
            return csgraph.dijkstra(self._bipartite, indices=start, unweighted=True)[:, self.num_images :] / 2
        return walk_lengths(self.weights(), self.node_weights, sources)

    def between(self, labels: Integers, num_labels: int) -> Floats:
        """Returns the weight between every two labels int64 [N] of nodes, float64 [C, C], symmetric, summing to 1."""
        shares = label_shares(self, labels, num_labels)
        return (shares.T @ shares).toarray() / self.num_images

    def inside(self, labels: Integers, num_labels: int) -> Floats:
        """Returns the weight inside each label int64 [N] of nodes, float64 [C]: the diagonal of `between`."""
        shares = label_shares(self, labels, num_labels)
        return np.asarray(shares.multiply(shares).sum(0)).ravel() / self.num_images

    def across(self, order: Integers) -> Floats:
        """Returns the weight between the first i + 1 nodes of an order int64 [N] and the others, float64 [N - 1].

        With p_i the probability that a view of image i is inside, the weight across a cut is mean p_i (1 - p_i): one
        sort of the view probabilities gives all cuts, in O(E log E) for E of them, without the graph's matrix.
        """
        rank = np.empty(self.num_nodes, np.int64)
        rank[order] = np.arange(self.num_nodes)
        matrix = self.probabilities
        rows = np.repeat(np.arange(self.num_images), np.diff(matrix.indptr))
        ranks = rank[matrix.indices]
        by_rank = np.lexsort((ranks, rows))
        entries = matrix.data[by_rank]
        total = np.cumsum(entries)
        before = total - entries
        before -= np.repeat(before[matrix.indptr[:-1]], np.diff(matrix.indptr))  # of the same image
        added = np.bincount(ranks[by_rank], entries * (1 - entries - 2 * before), self.num_nodes) / self.num_images
        return np.cumsum(added)[:-1]


def walk_lengths(edges: Sparse, node_weights: Floats, sources: Integers) -> Floats:
    """Returns the lengths of the shortest paths whose edges are -log w(x, x') / w_x; see `PairGraph.shortest_paths`.

    Args:
        edges: w, sparse [N, N]; its diagonal does not count.
        node_weights: w_x, float64 [N].
        sources: int64 [S] nodes.
    """
    edges = edges.copy()
    edges.setdiag(0)  # a walk that stays is never the shorter one
    edges.eliminate_zeros()
    steps = np.repeat(np.log(node_weights), np.diff(edges.indptr)) - np.log(edges.data)
    return csgraph.dijkstra(sparse.csr_array((steps, edges.indices, edges.indptr), shape=edges.shape), indices=sources)


def one_hot(labels: Integers, num_labels: int) -> Sparse:
    """Returns a row for each label int64 [N], a 1 in its column, sparse [N, C]."""
    places = np.arange(len(labels)), labels
    return sparse.csr_array((np.ones(len(labels)), places), shape=(len(labels), num_labels))


def label_shares(graph: PairGraph, labels: Integers, num_labels: int) -> Sparse:
    """Returns the probability that a view of an image has a label, sparse [n, C]; labels int64 [N] are of nodes."""
    return (graph.probabilities @ one_hot(labels, num_labels)).tocsr()
