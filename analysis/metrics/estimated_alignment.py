"""How close group means of a layer's features come to the top eigenvectors of the estimated graph of these groups."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from analysis.features import LayerFeatures
from analysis.graph.alignment import feature_basis
from analysis.graph.top import SIZES as SIZES
from analysis.graph.top import UNKNOWN, fingerprint
from analysis.labels import LabelLevel
from analysis.metrics.base import SPLITS, Measurement, MetricSpec
from analysis.sums import CLASS_MOMENTS
from analysis.tasks import ESTIMATED

NUM_NODES: Final = "estimated_num_nodes"
NUM_EQUAL: Final = "estimated_num_equal"

SPECS = (
    *(
        MetricSpec(f"{name}_top{k}", 0, 1, "up")
        for k in SIZES
        for name in ("estimated_alignment", "estimated_coverage")
    ),
    *(MetricSpec(f"{NUM_EQUAL}_top{k}", 0, math.inf, "") for k in SIZES),
    MetricSpec(NUM_NODES, 1, math.inf, ""),
)

GROUPS: Final = ESTIMATED
ON_REQUEST: Final = True
NUMBERS_FROM: Final = fingerprint()
"""What changes the numbers, besides the images and the estimate."""


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields how close the mean features of each group's views are to the top k eigenvectors, of both splits.

    Groups are classes (level class: a view of each training image, of each test image), or images (level sample: two
    draws of views of the same images), as `python -m analysis connectivity SWEEP --groups` estimated their graph. For
    k = 5 to 50, mean squared cosines of the principal angles between two spans, of rows scaled by the root of the
    node's weight:

    - estimated_alignment_topK: of the k strongest directions of the means, which are not centred. 1: they are the
      eigenvectors, up to rotation; k / N: unrelated.
    - estimated_coverage_topK: of all directions of the means; D / N of D unrelated ones.

    And estimated_num_equal_topK, how many eigenvalues besides the top k equal the k-th, as in a graph of more than k
    components, where errors that are no edge leave groups alone: above 0, k is tied, the top k eigenvectors are an
    arbitrary choice, and both are of the closest span of least loss instead (see `TopSpans.alignment`), to which a
    random one is closer than k / N. And estimated_num_nodes, N. NaN where the graph has k nodes or fewer, or a group
    has no picture.

    Why means: features that minimise the spectral contrastive loss on views are top eigenvectors f of the graph of
    views (arXiv 2106.04156). B f, with B the graph's factor (see `PairGraph`) and groups in the place of images, are
    those of the graph of groups that common views join, and its rows are mean features of a group's views. The weights
    of that graph are not errors, as those of the estimated one are, but 0 where the least errors are (see
    `analysis.connectivity.estimated`).

    Raises:
        ValueError: The features come without the graph.
    """
    graph = features.graph
    if graph is None:
        raise ValueError("estimated alignment needs LayerFeatures.graph, given None")
    num_nodes = len(graph.groups)
    for level in levels:
        for split in SPLITS:
            moments = features.sums(CLASS_MOMENTS, split, level)
            means = moments.means[graph.groups].cpu().numpy()
            basis = feature_basis(means, graph.weights) if np.isfinite(means).all() else None
            for k in SIZES:
                there = k < num_nodes
                found = graph.top.alignment(basis, k) if basis is not None and there else UNKNOWN
                yield Measurement(level.name, split, f"estimated_alignment_top{k}", found.principal)
                yield Measurement(level.name, split, f"estimated_coverage_top{k}", found.whole)
                equal = graph.top.num_equal(k) if there else math.nan
                yield Measurement(level.name, split, f"{NUM_EQUAL}_top{k}", equal)
            yield Measurement(level.name, split, NUM_NODES, float(num_nodes))
