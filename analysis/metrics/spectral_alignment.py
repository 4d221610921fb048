"""How close a layer's features come to the top eigenvectors of an exact graph of positive pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from analysis.features import LayerFeatures
from analysis.graph.alignment import NUM_NODES, Alignment, alignment, feature_basis
from analysis.graph.nodes import fingerprint
from analysis.labels import LabelLevel
from analysis.metrics.base import SPLITS, UNLABELLED, Measurement, MetricSpec
from analysis.tasks import GRAPH

SIZES: Final = (5, 10, 20, 50)
"""Numbers of eigenvectors that are compared with, k."""

SPECS = (
    *(
        MetricSpec(f"{name}_top{k}", 0, 1, "up", labelled=False)
        for k in SIZES
        for name in ("spectral_alignment", "spectral_coverage")
    ),
    MetricSpec(NUM_NODES, 1, math.inf, "", labelled=False),
)

GROUPS: Final = (GRAPH,)
ON_REQUEST: Final = True
NUMBERS_FROM: Final = fingerprint()
"""What changes the numbers, besides the images: another graph measures again."""


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields how close the features of a graph's nodes are to its top k eigenvectors, of both splits.

    Of the graph of training images and of that of test images (see `analysis.graph.nodes`), for k = 5 to 50, mean
    squared cosines of the principal angles between two spans, of rows scaled by sqrt(w_x):

    - spectral_alignment_topK: of the k strongest directions of the features. 1: they are the eigenvectors, up to
      rotation; k / N: unrelated.
    - spectral_coverage_topK: of all directions of the features. 1: the eigenvectors are linear functions of the
      features; D / N of D unrelated ones.

    And graph_num_nodes, N. NaN for a graph of fewer than k nodes. Features are the network's of one picture of each
    node, in full resolution and colour; the graph's own views are coarse and grey, so its eigenvectors are not those of
    the augmentation that the network was trained with.

    Raises:
        ValueError: The features come without the graphs.
    """
    if features.nodes is None:
        raise ValueError("spectral alignment needs LayerFeatures.nodes, given None")
    for split, rows, nodes in zip(SPLITS, (features.train, features.test), features.nodes, strict=True):
        basis = feature_basis(rows.cpu().double().numpy(), nodes.weights)
        for k in SIZES:
            there = k <= nodes.vectors.shape[1]
            found = alignment(basis, nodes.vectors[:, :k]) if there else Alignment(math.nan, math.nan)
            yield Measurement(UNLABELLED, split, f"spectral_alignment_top{k}", found.principal)
            yield Measurement(UNLABELLED, split, f"spectral_coverage_top{k}", found.whole)
        yield Measurement(UNLABELLED, split, NUM_NODES, float(len(nodes.weights)))
