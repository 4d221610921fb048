"""Clusters of the graph and how much of its weight they cut."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from analysis.graph.pair_graph import Floats, Integers
from analysis.graph.spectrum import Spectrum
from analysis.graph.weighted_graph import Graph
from ray_ssl.errors import UserError
from ray_ssl.rng import stream_seed

NUM_RESTARTS: Final = 5


class SweepCut(NamedTuple):
    """The best cut along the second eigenvector, and the bounds on the best of all cuts.

    Attributes:
        inside: bool [N], the side with at most half of the weight.
        conductance: Of the cut, 0 .. 1: the weight across it over that of the lighter side. An upper bound on the
            graph's.
        lower: (1 - second eigenvalue) / 2, a lower bound on the graph's.
        upper: sqrt(2 (1 - second eigenvalue)), which the cut's never exceeds (Cheeger's inequality).
    """

    inside: np.ndarray
    conductance: float
    lower: float
    upper: float


def spectral_clusters(graph: Graph, spectrum: Spectrum, num_clusters: int) -> Integers:
    """Returns the cluster of each node, int64 [N]: k-means on the rows of the first eigenvectors scaled to length 1.

    A node counts as much as its weight.

    Raises:
        UserError: Fewer eigenvectors than clusters, or fewer than 2 clusters.

    Source: Ng, Jordan and Weiss 2001; k-means is scikit-learn's, the best of 5 seeds.
    """
    from sklearn.cluster import KMeans  # takes seconds to import
    from threadpoolctl import threadpool_limits

    if not 2 <= num_clusters <= len(spectrum.values):
        raise UserError(f"clusters are 2 to the number of eigenvectors, {len(spectrum.values)}, given {num_clusters}")
    rows = spectrum.vectors[:, :num_clusters]
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    seed = stream_seed(0, "spectral clusters") % 2**32
    model = KMeans(num_clusters, random_state=seed).set_params(n_init=NUM_RESTARTS)
    with threadpool_limits(1):  # threads add their sums in the order in which they finish
        return model.fit_predict(rows, sample_weight=graph.node_weights).astype(np.int64)


def cluster_weights(graph: Graph, clusters: Integers, num_clusters: int) -> Floats:
    """Returns the weight between every two clusters, float64 [C, C], symmetric, summing to 1.

    Args:
        graph: N nodes.
        clusters: int64 [N], 0 .. C - 1.
        num_clusters: C.
    """
    return graph.between(clusters, num_clusters)


def conductances(graph: Graph, clusters: Integers, num_clusters: int) -> Floats:
    """Returns the conductance of each cluster, float64 [C], 0 .. 1; NaN of an empty one.

    It is the weight that leaves the cluster over all weight of the cluster: the probability that the other view of
    an image is outside, where one is inside. The largest one is an upper bound on the m-way expansion rho_m, the
    smallest such number of all partitions into m clusters, of which (1 - m-th eigenvalue) / 2 is a lower bound (Lee,
    Oveis Gharan and Trevisan 2014, arXiv 1111.1055).
    """
    volume = np.bincount(clusters, graph.node_weights, num_clusters)
    with np.errstate(invalid="ignore"):
        return np.clip(1 - graph.inside(clusters, num_clusters) / volume, 0, 1)


def sweep_cut(graph: Graph, spectrum: Spectrum) -> SweepCut:
    """Returns the best of the N - 1 cuts between nodes in the order of the second eigenvector over sqrt(w_x).

    Raises:
        UserError: A graph of one node, or a spectrum of one eigenvector.
    """
    if len(spectrum.values) < 2:
        raise UserError("a sweep cut needs two eigenvectors, hence two nodes")
    order = np.argsort(spectrum.vectors[:, 1] / np.sqrt(graph.node_weights), kind="stable")
    rank = np.empty(graph.num_nodes, np.int64)
    rank[order] = np.arange(graph.num_nodes)
    across = np.clip(graph.across(order), 0, None)
    volume = np.cumsum(graph.node_weights[order])[:-1]
    values = across / np.minimum(volume, 1 - volume)
    best = int(values.argmin())
    inside = rank <= best if volume[best] <= 0.5 else rank > best
    gap = max(0.0, 1 - float(spectrum.values[1]))
    return SweepCut(inside, float(values[best]), gap / 2, float(np.sqrt(2 * gap)))
