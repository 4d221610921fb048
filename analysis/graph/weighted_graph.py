"""A graph whose weights are given one by one, such as estimated ones: dense, 8 bytes a pair of nodes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from analysis.graph.pair_graph import Floats, Integers, PairGraph, one_hot, walk_lengths


@dataclass(frozen=True)
class WeightedGraph:
    """A graph of N nodes with the weights w; it answers what a `PairGraph` does, but of images.

    Attributes:
        matrix: float64 [N, N], symmetric, 0 or more, no row of zeros: w but for a factor, which is made so that it sums
            to 1.

    Raises:
        ValueError: Something else.
    """

    matrix: Floats

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, np.float64)
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 0
        if not (square and (matrix == matrix.T).all() and (matrix >= 0).all() and (matrix.sum(1) > 0).all()):
            raise ValueError("weights must be a symmetric matrix of numbers that are 0 or more, no row without any")
        object.__setattr__(self, "matrix", matrix / matrix.sum())

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.matrix)

    @cached_property
    def node_weights(self) -> Floats:
        """See `PairGraph.node_weights`."""
        return self.matrix.sum(1)

    @cached_property
    def components(self) -> Integers:
        """See `PairGraph.components`."""
        _, labels = csgraph.connected_components(sparse.csr_array(self.matrix), directed=False)
        return labels.astype(np.int64)  # SciPy numbers them in the order of their first nodes

    def normalised_adjacency(self) -> Floats:
        """Returns w(x, x') / sqrt(w_x w_x'), float64 [N, N]."""
        root = np.sqrt(self.node_weights)
        return self.matrix / np.outer(root, root)

    def shortest_paths(self, sources: Integers, length: Literal["hops", "probability"] = "hops") -> Floats:
        """See `PairGraph.shortest_paths`."""
        edges = sparse.csr_array(self.matrix)
        if length == "hops":
            return csgraph.dijkstra(edges, indices=sources, unweighted=True)
        return walk_lengths(edges, self.node_weights, sources)

    def between(self, labels: Integers, num_labels: int) -> Floats:
        """See `PairGraph.between`."""
        members = one_hot(labels, num_labels)
        return members.T @ (members.T @ self.matrix).T

    def inside(self, labels: Integers, num_labels: int) -> Floats:
        """See `PairGraph.inside`."""
        return np.diag(self.between(labels, num_labels)).copy()

    def across(self, order: Integers) -> Floats:
        """See `PairGraph.across`."""
        ordered = self.matrix[np.ix_(order, order)]
        before = np.tril(ordered, -1).sum(1)  # weight between each node and those before it
        return np.cumsum(self.node_weights[order] - np.diag(ordered) - 2 * before)[:-1]


Graph: TypeAlias = PairGraph | WeightedGraph
"""What has a spectrum, clusters, cuts and paths."""
