"""What a graph looks like, in a few numbers: whether a family of views is of any use on a set of images."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from analysis.graph.pair_graph import Integers, PairGraph, one_hot
from analysis.graph.weighted_graph import Graph
from ray_ssl.rng import numpy_stream

ALL_SOURCES: Final = 500
"""Nodes of a component up to which paths are measured from each of them."""

NUM_SOURCES: Final = 32
"""Nodes that paths are measured from in a larger one: 0.1 s of 26,000 nodes."""


class GraphFacts(NamedTuple):
    """A graph in numbers.

    Attributes:
        num_images, num_nodes, num_components: Counts.
        largest_component: Its weight, 0 .. 1.
        shared: Probability that a view is one of two or more images.
        crossing: Probability that a step from an image to one of its views and on to an image of that view ends at
            another image, 0 (no edges between images) .. 1.
    """

    num_images: int
    num_nodes: int
    num_components: int
    largest_component: float
    shared: float
    crossing: float


def describe(graph: PairGraph) -> GraphFacts:
    """Returns the numbers."""
    images_of_node = np.bincount(graph.probabilities.indices, minlength=graph.num_nodes)
    mass = np.bincount(graph.components, graph.node_weights)
    stays = float(graph.probabilities.multiply(graph.image_posterior.T).sum() / graph.num_images)
    return GraphFacts(
        graph.num_images, graph.num_nodes, len(mass), float(mass.max()),
        float(graph.node_weights[images_of_node > 1].sum()), max(0.0, 1 - stays),
    )  # fmt: skip


class PathLengths(NamedTuple):
    """Shortest paths of the component of the largest weight, in edges (hops).

    Attributes:
        mean: From a source to any other node; NaN of a component of one node.
        longest: From any source: the diameter where all nodes are sources, else a lower bound of it.
        num_sources: Nodes that were measured from.
        num_nodes: Of the component.
    """

    mean: float
    longest: int
    num_sources: int
    num_nodes: int


def path_lengths(graph: Graph) -> PathLengths:
    """Returns them, from all nodes where there are `ALL_SOURCES` or fewer, else from `NUM_SOURCES` random ones."""
    inside = np.flatnonzero(graph.components == np.bincount(graph.components, graph.node_weights).argmax())
    sources = inside
    if len(inside) > ALL_SOURCES:
        sources = np.sort(numpy_stream(0, "sources of shortest paths").choice(inside, NUM_SOURCES, replace=False))
    hops = graph.shortest_paths(sources)[:, inside]
    others = len(inside) - 1
    mean = float(hops.sum() / (len(sources) * others)) if others else float("nan")
    return PathLengths(mean, int(hops.max()), len(sources), len(inside))


def crossing_purity(graph: PairGraph, labels: Integers, num_labels: int) -> tuple[float, float]:
    """Returns how often a step from one image to another (see `GraphFacts.crossing`) keeps the label, and chance.

    Args:
        graph: n images.
        labels: int64 [n], 0 .. num_labels - 1.
        num_labels: Of them.

    Returns:
        The probability, 0 .. 1, NaN where no step leaves its image; and that of two independent images.
    """
    counts = np.bincount(labels, minlength=num_labels)
    chance = float((counts / graph.num_images) @ (counts / graph.num_images))
    crossing = describe(graph).crossing
    if crossing < 1e-12:
        return float("nan"), chance
    posterior = (graph.image_posterior @ one_hot(labels, num_labels)).tocsr()  # of the label, by node
    reached = (graph.probabilities @ posterior).multiply(one_hot(labels, num_labels)).sum() / graph.num_images
    return float((reached - (1 - crossing)) / crossing), chance
