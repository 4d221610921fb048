"""How close a layer's features come to the top eigenvectors of an exact graph of positive pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from analysis.features import LayerFeatures
from analysis.graph.alignment import NUM_EQUAL, NUM_NODES, feature_basis
from analysis.graph.nodes import fingerprint
from analysis.graph.top import SIZES as SIZES
from analysis.graph.top import UNKNOWN
from analysis.labels import LabelLevel
from analysis.metrics.base import SPLITS, UNLABELLED, Measurement, MetricSpec
from analysis.tasks import GRAPH

SPECS = (
    *(
        MetricSpec(f"{name}_top{k}", 0, 1, "up", labelled=False)
        for k in SIZES
        for name in ("spectral_alignment", "spectral_coverage")
    ),
    *(MetricSpec(f"{NUM_EQUAL}_top{k}", 0, math.inf, "", labelled=False) for k in SIZES),
    MetricSpec(NUM_NODES, 1, math.inf, "", labelled=False),
)

GROUPS: Final = (GRAPH,)
ON_REQUEST: Final = True
NUMBERS_FROM: Final = fingerprint() | {"repeated_eigenvalues": "with all their eigenvectors"}
"""What changes the numbers, besides the images: another graph measures again."""


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields how close the features of a graph's nodes are to its top k eigenvectors, of both splits.

    Of the graph of training images and of that of test images (see `analysis.graph.nodes`), for k = 5 to 50, mean
    squared cosines of the principal angles between two spans, of rows scaled by sqrt(w_x):

    - spectral_alignment_topK: of the k strongest directions of the features. 1: they are the eigenvectors, up to
      rotation; k / N: unrelated.
    - spectral_coverage_topK: of all directions of the features. 1: the eigenvectors are linear functions of the
      features; D / N of D unrelated ones.

    And graph_num_equal_topK, how many eigenvalues besides the top k equal the k-th: where it is above 0, k is tied, the
    top k eigenvectors are an arbitrary choice, and both are of the closest span of least loss instead (see
    `TopSpans.alignment`), to which a random one is closer than k / N. And graph_num_nodes, N. NaN for a graph of k
    nodes or fewer. Features are the network's of one picture of each node, in full resolution and colour; the graph's
    own views are coarse and grey, so its eigenvectors are not those of the augmentation that the network was trained
    with.

    Raises:
        ValueError: The features come without the graphs.
    """
    if features.nodes is None:
        raise ValueError("spectral alignment needs LayerFeatures.nodes, given None")
    for split, rows, nodes in zip(SPLITS, (features.train, features.test), features.nodes, strict=True):
        basis = feature_basis(rows.cpu().double().numpy(), nodes.weights)
        for k in SIZES:
            there = k < len(nodes.weights)  # every span of all dimensions is the same
            found = nodes.top.alignment(basis, k) if there else UNKNOWN
            yield Measurement(UNLABELLED, split, f"spectral_alignment_top{k}", found.principal)
            yield Measurement(UNLABELLED, split, f"spectral_coverage_top{k}", found.whole)
            yield Measurement(UNLABELLED, split, f"{NUM_EQUAL}_top{k}", nodes.top.num_equal(k) if there else math.nan)
        yield Measurement(UNLABELLED, split, NUM_NODES, float(len(nodes.weights)))
