"""Eigenvectors of the normalised adjacency, by Lanczos on the sparse factor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from analysis.graph.pair_graph import Floats, Integers, PairGraph, Sparse
from analysis.graph.weighted_graph import Graph, WeightedGraph
from ray_ssl.errors import UserError
from ray_ssl.rng import numpy_stream

DENSE: Final = 256
"""Images or nodes of a component up to which its eigenvectors are those of a dense matrix."""

ZERO: Final = 1e-10
"""Eigenvalues below it are rounding: of a graph with few images all but n are exactly 0."""


SAME: Final = 1e-10
"""Eigenvalues that differ by no more may be one that is repeated: either of its eigenvectors will do."""

_LOOSE: Final = 1e-6
"""Of the residual when the question is whether there is an eigenvalue: it is right to about the square of this."""

_Apply = Callable[[Floats], Floats]
"""A symmetric operator, from float64 [size] to float64 [size]."""


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


_BelowOne = Callable[[int, Integers, Floats, int], tuple[Floats, Floats]]
"""From a component, its nodes, its top eigenvector and a number m to the m largest eigenpairs besides, above 0."""


def top_eigenpairs(graph: Graph, k: int) -> Spectrum:
    """Returns the k largest eigenvalues and eigenvectors.

    Every component has its own: their eigenvalue 1, which Lanczos would find once or twice of many, is known in
    closed form (its vector is sqrt(w_x)), and only the others are searched for, on images or nodes, whichever are
    fewer. With as many components as k or more, the vectors are those of the heaviest components. Equal eigenvalues
    have no unique vectors, only a unique span. Estimated weights may have eigenvalues below 0, which count as 0.

    Args:
        graph: N nodes.
        k: 1 .. N.

    Raises:
        UserError: No such k.
    """
    if not 1 <= k <= graph.num_nodes:
        raise UserError(f"k is 1 to the number of nodes, {graph.num_nodes}, given {k}")
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
        below_one = _of_factor(graph) if isinstance(graph, PairGraph) else _of_weights(graph)
        for component in heaviest:
            nodes = nodes_of[component]
            top = np.sqrt(weights[nodes] / mass[component])
            values, vectors = below_one(component, nodes, top, k - num_components)
            found += [(value, nodes, vector) for value, vector in zip(values, vectors.T, strict=True)]
    best = sorted(range(len(found)), key=lambda i: -found[i][0])[:k]
    values, vectors = np.zeros(k), np.zeros((graph.num_nodes, k))
    for column, i in enumerate(best):
        values[column], nodes, vector = found[i]
        vectors[nodes, column] = vector * np.sign(vector[np.abs(vector).argmax()])
    return Spectrum(values, _completed(vectors, len(best)))


def _of_factor(graph: PairGraph) -> _BelowOne:
    rows = np.argsort(graph.image_components, kind="stable")
    rows_of = np.split(rows, np.cumsum(np.bincount(graph.image_components))[:-1])
    return lambda component, nodes, top, most: _below_one(graph.factor[rows_of[component]][:, nodes], top, most)


def _of_weights(graph: WeightedGraph) -> _BelowOne:
    adjacency = graph.normalised_adjacency()

    def below_one(component: int, nodes: Integers, top: Floats, most: int) -> tuple[Floats, Floats]:
        values, vectors = _dense(adjacency[np.ix_(nodes, nodes)], top, min(most, len(nodes) - 1))
        return np.minimum(values[values > ZERO], 1.0), vectors[:, values > ZERO]

    return below_one


def _dense(matrix: Floats, first: Floats, most: int) -> tuple[Floats, Floats]:
    """The largest eigenpairs of a symmetric matrix [M, M] besides `first`, whose eigenvalue is 1."""
    values, vectors = np.linalg.eigh(matrix - np.outer(first, first))
    return values[::-1][:most], vectors[:, ::-1][:, :most]


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
        values, vectors = _dense((wide @ tall).toarray(), first, most)
    else:
        values, vectors = _largest(lambda x: wide @ (tall @ x), first, most)
    above = values > ZERO
    values, vectors = np.minimum(values[above], 1.0), vectors[:, above]
    return values, tall @ vectors / np.sqrt(values) if of_rows else vectors


def _largest(apply: _Apply, first: Floats, most: int) -> tuple[Floats, Floats]:
    """The `most` largest eigenpairs of a symmetric operator besides `first`, whose eigenvalue is 1.

    Lanczos from one vector meets one eigenvector of each eigenvalue, and says that it converged where an eigenvalue is
    repeated and others of its eigenvectors are missing. So it is asked again beside all that was found, until what is
    left has no eigenvalue above the smallest: as often as the largest multiplicity, once where nothing is repeated.
    """
    values, vectors = _lanczos(apply, first[:, None], most)
    count = min(most, 16)
    while True:
        edge = values[most - 1]
        known = np.hstack([first[:, None], vectors])
        if _lanczos(apply, known, 1, _LOOSE)[0][0] <= edge + SAME:
            return values[:most], vectors[:, :most]
        more, directions = _lanczos(apply, known, max(1, min(count, len(first) - known.shape[1] - 1)))
        order = np.argsort(-np.append(values, more), kind="stable")
        values, vectors = np.append(values, more)[order], np.hstack([vectors, directions])[:, order]
        count = min(most, 2 * count) if more[-1] > edge else count


def _lanczos(apply: _Apply, known: Floats, most: int, tolerance: float = 0.0) -> tuple[Floats, Floats]:
    """The largest eigenpairs that Lanczos finds of an operator on what is orthogonal to `known`, orthonormal [size, m];
    the first column has eigenvalue 1.
    """
    size, num_known = known.shape
    first, rest = known[:, 0], known[:, 1:]
    start = numpy_stream(0, "Lanczos", num_known - 1).standard_normal(size)
    start -= first * (first @ start)
    start -= rest @ (rest.T @ start)

    def besides(x: Floats) -> Floats:
        if num_known == 1:
            return apply(x) - first * (first @ x)
        x = apply(x - known @ (known.T @ x))
        return x - known @ (known.T @ x)

    # Their stubs know no dtype, without which it draws random numbers to find out, and no tolerance but 0.
    make: Any = LinearOperator
    solve: Any = eigsh
    operator = make((size, size), matvec=besides, dtype=np.float64)
    width = min(size, max(2 * most + 1, 40))
    values, vectors = solve(operator, most, which="LA", v0=start, ncv=width, tol=tolerance)
    return values[::-1], vectors[:, ::-1]


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
