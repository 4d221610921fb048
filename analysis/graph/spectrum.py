"""Eigenvectors of the normalised adjacency, by Lanczos on the sparse factor."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from analysis.graph.pair_graph import Floats, PairGraph, Sparse, require_rank
from ray_ssl.rng import numpy_stream

DENSE: Final = 256
"""Images or nodes of a component up to which its eigenvectors are those of a dense matrix."""

ZERO: Final = 1e-10
"""Eigenvalues below it are rounding: of a graph with few images all but n are exactly 0."""


class Spectrum(NamedTuple):
    """The largest eigenvalues of the normalised adjacency and their eigenvectors.

    Attributes:
        values: float64 [k], 1 first, descending, 0 .. 1.
        vectors: float64 [N, k], orthonormal; the entry of each that is largest in size is positive.
    """

    values: Floats
    vectors: Floats

    @property
    def gaps(self) -> Floats:
        """float64 [k - 1]: how much each eigenvalue is above the next; the largest one suggests how many clusters."""
        return -np.diff(self.values)


def top_eigenpairs(graph: PairGraph, k: int) -> Spectrum:
    """Returns the k largest eigenvalues and eigenvectors.

    Every component has its own: their eigenvalue 1, which Lanczos would find once or twice of many, is known in
    closed form (its vector is sqrt(w_x)), and only the others are searched for, on images or nodes, whichever are
    fewer. With as many components as k or more, the vectors are those of the heaviest components. Equal eigenvalues
    have no unique vectors, only a unique span.

    Args:
        graph: N nodes.
        k: 1 .. N.

    Raises:
        UserError: No such k.
    """
    require_rank(k, graph)
    components, weights = graph.components, graph.node_weights
    num_components = int(components.max()) + 1
    mass = np.bincount(components, weights)
    nodes_of = np.split(np.argsort(components, kind="stable"), np.cumsum(np.bincount(components))[:-1])
    heaviest = np.argsort(-mass, kind="stable")[:k]
    found: list[tuple[float, Any, Floats]] = []
    for component in heaviest:
        nodes = nodes_of[component]
        found.append((1.0, nodes, np.sqrt(weights[nodes] / mass[component])))
    if num_components < k:
        rows = np.argsort(graph.image_components, kind="stable")
        rows_of = np.split(rows, np.cumsum(np.bincount(graph.image_components))[:-1])
        for component in heaviest:
            nodes = nodes_of[component]
            part = graph.factor[rows_of[component]][:, nodes]
            values, vectors = _below_one(part, np.sqrt(weights[nodes] / mass[component]), k - num_components)
            found += [(value, nodes, vector) for value, vector in zip(values, vectors.T, strict=True)]
    best = sorted(range(len(found)), key=lambda i: -found[i][0])[:k]
    values, vectors = np.zeros(k), np.zeros((graph.num_nodes, k))
    for column, i in enumerate(best):
        values[column], nodes, vector = found[i]
        vectors[nodes, column] = vector * np.sign(vector[np.abs(vector).argmax()])
    return Spectrum(values, _completed(vectors, len(best)))


def _below_one(factor: Sparse, top: Floats, most: int) -> tuple[Floats, Floats]:
    """The largest eigenpairs of a component besides `top`, those above 0: values [m], vectors [nodes, m]."""
    num_rows, num_columns = factor.shape
    of_rows = num_rows <= num_columns
    size, most = min(num_rows, num_columns), min(most, min(num_rows, num_columns) - 1)
    if most == 0:
        return np.zeros(0), np.zeros((num_columns, 0))
    transposed = factor.T.tocsr()
    wide, tall = (factor, transposed) if of_rows else (transposed, factor)
    first = np.full(num_rows, num_rows**-0.5) if of_rows else top
    if size <= DENSE or most > size // 2:
        values, vectors = np.linalg.eigh((wide @ tall).toarray() - np.outer(first, first))
        values, vectors = values[::-1][:most], vectors[:, ::-1][:, :most]
    else:
        start = numpy_stream(0, "Lanczos").standard_normal(size)
        start -= first * (first @ start)
        make: Any = LinearOperator  # its stubs know no dtype, without which it draws random numbers to find out
        operator = make((size, size), matvec=lambda x: wide @ (tall @ x) - first * (first @ x), dtype=np.float64)
        values, vectors = eigsh(operator, most, which="LA", v0=start, ncv=min(size, max(2 * most + 1, 40)))
        values, vectors = values[::-1], vectors[:, ::-1]
    above = values > ZERO
    values, vectors = np.minimum(values[above], 1.0), vectors[:, above]
    return values, tall @ vectors / np.sqrt(values) if of_rows else vectors


def _completed(vectors: Floats, known: int) -> Floats:
    """Fills the columns after the known ones with orthonormal vectors: all eigenvalues above 0 are among those."""
    missing = vectors.shape[1] - known
    if missing:
        random = numpy_stream(0, "null space").standard_normal((len(vectors), missing))
        for _ in range(2):  # once more, for what rounding left
            random -= vectors[:, :known] @ (vectors[:, :known].T @ random)
            random = np.linalg.qr(random)[0]
        vectors[:, known:] = random * np.sign(random[np.abs(random).argmax(0), np.arange(missing)])
    return vectors
