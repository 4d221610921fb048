"""How well labels and the graph agree: weight within and between labels, and the error a linear head can have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analysis.graph.pair_graph import Floats, Integers, PairGraph, Sparse, label_shares, one_hot
from analysis.graph.spectrum import Spectrum
from analysis.graph.weighted_graph import Graph


class EdgeWeights(NamedTuple):
    """Weight of edges within and between labels of nodes.

    Attributes:
        within: Weight of the edges inside a label, 0 .. 1; the rest, `between`, is across.
        between: See `within`: phi of `error_bound`.
        chance: `within` of a graph with the same node weights where views are paired at random.
        mean_within: Mean weight of a pair of nodes of one label, over that of all pairs.
        mean_between: Of two labels; NaN where there is one label only.
    """

    within: float
    between: float
    chance: float
    mean_within: float
    mean_between: float


class LabelWeights(NamedTuple):
    """Weight of edges within and between labels of images, each node having the most probable one of its images.

    Attributes:
        edges: Of the labels of nodes.
        label_error: Probability that a view's label is not that of the image it was made of, 0 .. 1: alpha of
            assumption 3.5 in arXiv 2106.04156, for the labels of views for which it is smallest.
    """

    edges: EdgeWeights
    label_error: float


def node_labels(graph: PairGraph, labels: Integers, num_labels: int) -> Integers:
    """Returns the most probable label of each node's image, int64 [N]; of equally probable ones the smallest.

    Args:
        graph: n images, N nodes.
        labels: int64 [n], 0 .. C - 1; all n different: level "sample".
        num_labels: C.
    """
    joint = labels_of_nodes(graph, labels, num_labels)
    joint.sum_duplicates()
    joint.sort_indices()
    node = np.repeat(np.arange(graph.num_nodes), np.diff(joint.indptr))
    # Rounding must not decide between labels that are equally probable; relative to the largest, for sums of many
    # images round to fewer decimals.
    largest = np.maximum.reduceat(joint.data, joint.indptr[:-1])
    order = np.lexsort((joint.indices, -np.round(joint.data / largest[node], 9), node))
    return joint.indices[order][joint.indptr[:-1]].astype(np.int64)


def labels_of_nodes(graph: PairGraph, labels: Integers, num_labels: int) -> Sparse:
    """Returns n times the probability of a view and its image's label, sparse [N, C]; see `node_labels`."""
    return (graph.probabilities.T @ one_hot(labels, num_labels)).tocsr()


def label_weights(graph: PairGraph, labels: Integers, num_labels: int) -> LabelWeights:
    """Returns the weight within and between labels; for the arguments see `node_labels`."""
    of_node = node_labels(graph, labels, num_labels)
    right = float(label_shares(graph, of_node, num_labels).multiply(one_hot(labels, num_labels)).sum())
    return LabelWeights(edge_weights(graph, of_node, num_labels), max(0.0, 1 - right / graph.num_images))


def edge_weights(graph: Graph, of_node: Integers, num_labels: int) -> EdgeWeights:
    """Returns the weight within and between labels int64 [N] of nodes, 0 .. num_labels - 1."""
    within = float(graph.inside(of_node, num_labels).sum())
    volume = np.bincount(of_node, graph.node_weights, num_labels)
    counts = np.bincount(of_node, minlength=num_labels).astype(float)
    same, pairs = float((counts**2).sum()), float(graph.num_nodes) ** 2
    other = pairs - same
    between = 0.0 if within > 1 - 1e-12 else 1 - within  # the rest is rounding
    mean_between = between * pairs / other if other else np.nan
    return EdgeWeights(within, between, float((volume**2).sum()), within * pairs / same, mean_between)


def cluster_purity(graph: PairGraph, clusters: Integers, labels: Integers, num_labels: int) -> float:
    """Returns the probability that a view's image has the label that is most frequent in the view's cluster.

    Args:
        graph: n images, N nodes.
        clusters: int64 [N].
        labels: int64 [n], 0 .. num_labels - 1.
        num_labels: Of them.
    """
    return cluster_agreement(labels_of_nodes(graph, labels, num_labels), clusters)[0]


def cluster_agreement(of_nodes: Sparse, clusters: Integers) -> tuple[float, float]:
    """Returns `cluster_purity`, and the normalised mutual information of a view's cluster and its image's label, 0 ..
    1: over the mean of both entropies, as scikit-learn's.

    Args:
        of_nodes: [N, C], see `labels_of_nodes`; the costly part, the same for all clusters.
        clusters: int64 [N].
    """
    joint = (one_hot(clusters, int(clusters.max()) + 1).T @ of_nodes).toarray() / of_nodes.sum()
    of_cluster, of_label = joint.sum(1), joint.sum(0)
    entropies = _entropy(of_cluster) + _entropy(of_label)
    shared = entropies - _entropy(joint.ravel())
    return float(joint.max(1).sum()), float(np.clip(2 * shared / entropies, 0, 1)) if entropies else 1.0


def _entropy(shares: Floats) -> float:
    there = shares[shares > 0]
    return -float(there @ np.log(there))


def head_error(graph: PairGraph, features: Floats, labels: Integers, num_labels: int) -> float:
    """Returns the error of the least-squares linear head on views, 0 .. 1, by view probability.

    The head is fitted to the one-hot labels of the nodes (see `node_labels`), weighted by node weight, without an
    intercept; it predicts the largest output. The error is the probability that this is not the label of the image.

    Args:
        graph: n images, N nodes.
        features: float [N, k].
        labels: int64 [n], 0 .. num_labels - 1.
        num_labels: Of them.
    """
    scale = np.sqrt(graph.node_weights)[:, None]
    targets = np.eye(num_labels)[node_labels(graph, labels, num_labels)]
    head = np.linalg.lstsq(features * scale, targets * scale, rcond=None)[0]
    predicted = (features @ head).argmax(1)
    right = label_shares(graph, predicted, num_labels).multiply(one_hot(labels, num_labels)).sum()
    return float(1 - right / graph.num_images)


def error_bound(graph: PairGraph, spectrum: Spectrum, k: int, labels: Integers, num_labels: int) -> float:
    """Returns an upper bound on `head_error` of the first k eigenvectors: 2 phi / (1 - lambda_(k+1)) + alpha.

    phi is the weight between labels and alpha their error (see `LabelWeights`), lambda_(k+1) the largest eigenvalue
    that is left out. It is empty where it is 1 or more. It is infinite where lambda_(k+1) is 1 (within 1e-12), as in a
    graph of more than k components, even where phi is 0: the head knows nothing of components that are left out.

    Proof: let u_c be the vector of sqrt(w_x) 1[label of x is c]. The sum over c of u_c^T (1 - Abar) u_c is phi, and
    what of u_c is outside the first k eigenvectors is stretched by 1 - lambda_(k+1) at least, so that least squares
    leave at most phi / (1 - lambda_(k+1)). Where the largest output is not a node's label, its squared error is 1/2 at
    least, hence the factor 2; nodes have another label than their image with probability alpha.

    Source: after arXiv 2106.04156, whose theorem has the form O(alpha / rho^2) with rho the sparsest partition into
    k / 2 parts; this is the version in eigenvalues, proved above, with constants of our own.

    Args:
        graph: n images, N nodes.
        spectrum: Of k + 1 eigenvalues or more.
        k: Eigenvectors that the head sees.
        labels: int64 [n], 0 .. num_labels - 1.
        num_labels: Of them.
    """
    found = label_weights(graph, labels, num_labels)
    left = 1 - float(spectrum.values[k])
    return float("inf") if left <= 1e-12 else 2 * found.edges.between / left + found.label_error
