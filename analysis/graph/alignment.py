"""How close features of the graph's nodes come to its top eigenvectors: angles between subspaces."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from analysis.graph.pair_graph import Floats
from ray_ssl.rng import numpy_stream

NUM_NODES: Final = "graph_num_nodes"
EIGENVALUE_SUM: Final = "graph_eigenvalue_sum"
NUM_STEPS: Final = "graph_num_steps"
NUM_EQUAL: Final = "graph_num_equal"
"""Metrics that say what features are of: nodes N of the graph; the sum of all its eigenvalues, 1 .. N, which hardly two
graphs share; full-batch steps of the whole training, of which those that are done are the epoch; eigenvectors besides
the top k whose eigenvalue equals the k-th, 0 where the span of the top k is the only one of least loss."""

NUM_DRAWS: Final = 256
"""Random spans whose smallest cosine is averaged: a standard error of some 4 per cent of it."""

RELATIVE_RANK: float = 1e-6
"""Directions below this part of the largest singular value are rounding of float32."""


class Alignment(NamedTuple):
    """Closeness of features to the top k eigenvectors, both after scaling rows by sqrt(w_x).

    Attributes:
        principal: Mean squared cosine of the principal angles between the span of the k strongest directions of the
            features (their first left singular vectors) and that of the eigenvectors, 0 .. 1; of fewer than k
            directions those that lack count 0. That of a random span is `random_alignment`.
        whole: The same with all directions of the features: the share of the eigenvectors that some linear map of the
            features gives, about D / N of D random ones, and never below `principal`.
    """

    principal: float
    whole: float


def feature_basis(features: Floats, node_weights: Floats) -> Floats:
    """Returns an orthonormal basis of the rows sqrt(w_x) f(x), the strongest direction first, float64 [N, rank].

    Args:
        features: float [N, D], not centred: the top eigenvector is that of constant features.
        node_weights: float64 [N].
    """
    scaled = np.asarray(features, np.float64) * np.sqrt(node_weights)[:, None]
    directions, strength, _ = np.linalg.svd(scaled, full_matrices=False)
    return directions[:, strength > RELATIVE_RANK * max(strength[0], 1e-300)]


def cosines(basis: Floats, vectors: Floats) -> Floats:
    """Returns the cosines of the principal angles between the spans of two orthonormal bases, descending, 0 .. 1.

    Args:
        basis: float64 [N, D].
        vectors: float64 [N, k].

    Returns:
        float64 [k]; 0 for those beyond D.
    """
    found = np.linalg.svd(basis.T @ vectors, compute_uv=False) if basis.shape[1] else np.zeros(0)
    return np.pad(np.minimum(found, 1), (0, vectors.shape[1] - len(found)))


def random_alignment(k: Any, num_nodes: Any) -> Any:
    """Returns the expected `Alignment.principal` of a uniformly random span of k dimensions: k / N.

    The mean squared cosine is tr(P Q) / k, with P the projection on the random span and Q that on the eigenvectors.
    No direction is preferred, so that E[P] is a multiple of the identity; its trace is k, so E[P] = (k / N) 1, and
    E[tr(P Q)] / k = (k / N) tr(Q) / k = k / N.
    """
    return k / num_nodes


def random_alignment_with_constant(k: Any, num_nodes: Any) -> Any:
    """Returns the expected `Alignment.principal` of a random span of k dimensions that holds the first eigenvector:
    (1 + (k - 1)^2 / (N - 1)) / k.

    That one, the root of the node's weight, is the constant feature: spans of features with a mean, such as those after
    a ReLU, hold it nearly, whatever they learned. The other k - 1 dimensions are as in `random_alignment`.
    """
    return (1 + (k - 1) ** 2 / (num_nodes - 1)) / k


@cache
def random_smallest_cosine(k: int, num_nodes: int) -> float:
    """Returns the expected smallest of `cosines` of a uniformly random span of k dimensions with a fixed one: the mean
    of `NUM_DRAWS` seeded draws.

    The span is that of a Gaussian matrix [N, k], and the fixed one that of the first k axes. Of its other N - k rows
    only R of their QR decomposition matters, whose entries are independent: normal above the diagonal, roots of chi
    squares on it (Bartlett's decomposition).

    Args:
        k: 1 .. N.
        num_nodes: N.
    """
    random, rest = numpy_stream(0, f"random spans of {k} in {num_nodes}"), num_nodes - k
    found = []
    for _ in range(NUM_DRAWS):
        inside = random.standard_normal((k, k))
        if rest < k:
            outside = random.standard_normal((rest, k))
        else:
            outside = np.triu(random.standard_normal((k, k)), 1)
            np.fill_diagonal(outside, np.sqrt(random.chisquare(rest - np.arange(k))))
        basis = np.linalg.qr(np.vstack([inside, outside]))[0]
        found.append(np.linalg.svd(basis[:k], compute_uv=False)[-1])
    return float(np.mean(found))


def alignment(basis: Floats, vectors: Floats) -> Alignment:
    """Returns how close features are to eigenvectors.

    Where the k-th and the next eigenvalue are nearly equal, so are many other spans as good: read it with the gap.

    Args:
        basis: See `feature_basis`.
        vectors: float64 [N, k], orthonormal: `Spectrum.vectors`.
    """
    overlap = np.square(basis.T @ vectors).sum(1) / vectors.shape[1]
    return Alignment(float(min(1, overlap[: vectors.shape[1]].sum())), float(min(1, overlap.sum())))
