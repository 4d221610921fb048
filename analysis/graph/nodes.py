"""The graph on which encoders are compared with its eigenvectors: the same one for every checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from analysis.graph.pair_graph import Floats
from analysis.graph.top import TopSpans, top_spans
from analysis.graph.top import fingerprint as of_top
from analysis.graph.views import Pixels, ViewFamily, build, node_pictures

CROP: Final = 7 / 8
"""Side of the crops over that of the images."""

MOST_VIEWS: Final = 2 * ViewFamily.num_shifts**2
"""Of an image."""


@dataclass(frozen=True)
class GraphNodes:
    """The nodes of a graph.

    Attributes:
        pictures: uint8 [N, S, S, 3]: one view of each, at full resolution (see `views.node_pictures`).
        weights: float64 [N]: probability of each.
        top: Top eigenvectors of the normalised adjacency.
    """

    pictures: Pixels
    weights: Floats
    top: TopSpans


def encoder_family(side: int) -> ViewFamily:
    """Returns the family for images of so many pixels: the default one, its crops 7/8 of the side."""
    return ViewFamily(crop_sizes=(max(ViewFamily.resolution, round(side * CROP)),))


def graph_nodes(images: Pixels) -> GraphNodes:
    """Returns the nodes of the graph of `encoder_family` on images uint8 [n, S, S, 3]."""
    family = encoder_family(images.shape[1])
    found = build(images, family)
    weights = np.array(found.graph.node_weights)
    return GraphNodes(node_pictures(images, found, family), weights, top_spans(found.graph))


def fingerprint() -> dict[str, Any]:
    """Returns what decides the graph, besides the images."""
    family = asdict(ViewFamily()) | {"crop_sizes": CROP}
    return {"view_family": family, **of_top()}
