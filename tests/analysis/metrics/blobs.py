"""Features with labels that the metric tests share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from analysis.connectivity.compared import Eigenvectors
from analysis.features import LayerFeatures
from analysis.graph.nodes import GraphNodes
from analysis.graph.top import TopSpans
from analysis.labels import LabelLevel, TargetFacts
from analysis.tasks import ESTIMATED

Measured = dict[tuple[str, str, str], float]
"""Value by (level, split, metric)."""


def draw(*shape: int, seed: int = 0) -> Tensor:
    """float32 standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def draw_labels(num_images: int, num_classes: int, seed: int = 0) -> Tensor:
    return torch.randint(num_classes, (num_images,), generator=torch.Generator().manual_seed(seed))


def nodes(count: int, seed: int) -> GraphNodes:
    """Nodes of unequal weight with 50 orthonormal vectors."""
    weights = draw(count, seed=seed).double().abs() + 0.1
    vectors = torch.linalg.qr(draw(count, min(count, 50), seed=seed).double())[0]
    return GraphNodes(
        np.zeros((count, 8, 8, 3), np.uint8), (weights / weights.sum()).numpy(), TopSpans(vectors.numpy())
    )


def blobs(
    num_train: int = 600, num_test: int = 200, num_dims: int = 8, num_classes: int = 6, distance: float = 3.0
) -> tuple[LayerFeatures, list[LabelLevel]]:
    """Gaussian classes of unit spread about centres `distance` from 0, off the origin; levels class and half."""
    centres = distance * torch.nn.functional.normalize(draw(num_classes, num_dims, seed=1)) + 1
    train_labels, test_labels = draw_labels(num_train, num_classes, 2), draw_labels(num_test, num_classes, 3)
    features = LayerFeatures(
        centres[train_labels] + draw(num_train, num_dims, seed=4),
        centres[test_labels] + draw(num_test, num_dims, seed=5),
    )
    # As noisy as the classes, so that the information stays far below what 200 images can show.
    features.inputs = (
        features.train + draw(num_train, num_dims, seed=6),
        features.test + draw(num_test, num_dims, seed=7),
    )
    features.nodes = nodes(num_train, 8), nodes(num_test, 9)
    facts = TargetFacts(0.5, train_labels, test_labels)  # for the metrics of targets; the others do not look at it
    level = LabelLevel("class", train_labels, test_labels, num_classes, facts)
    half = LabelLevel("half", train_labels // 2, test_labels // 2, (num_classes + 1) // 2, facts)
    return features, [level, half]


def blobs_for(metric) -> tuple[LayerFeatures, list[LabelLevel]]:
    """Blobs with levels of a group that the metric is measured on; classes are samples where that is the only one.

    A metric of the k strongest directions gets more than the largest k.
    """
    groups, num_dims = getattr(metric, "GROUPS", ("data",)), max(8, 1 + max(getattr(metric, "SIZES", (0,))))
    if groups == ESTIMATED:  # more nodes than the largest k
        features, levels = blobs(num_test=600, num_dims=num_dims, num_classes=60)
        of = nodes(60, 10)
        features.graph = Eigenvectors(np.arange(60), of.weights, of.top)
        return features, levels[:1]
    features, levels = blobs(num_dims=num_dims)
    if groups == ("sample",):
        levels = [replace(levels[0], name="sample")]
    if groups == ("domains",):
        domains = draw_labels(len(features.train), 2, 8), draw_labels(len(features.test), 2, 9)
        levels = [replace(levels[0], domains=domains)]
    return features, levels


def measured(metric, features: LayerFeatures, levels: list[LabelLevel]) -> Measured:
    """Runs a metric module."""
    return {(m.level, m.split, m.metric): m.value for m in metric.measure(features, levels)}
