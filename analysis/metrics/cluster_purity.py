"""How pure in labels the clusters of a layer's strongest directions are, and what a linear head of these reaches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import torch
from torch import Tensor

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics import linear_probe
from analysis.metrics.base import UNLABELLED, Measurement, MetricSpec
from analysis.metrics.kmeans import chosen_rows, cluster
from analysis.moments import ROW_CHUNK
from analysis.sums import MOMENTS

SIZES: Final = (5, 10, 20, 50, 100)
"""Numbers of directions, and of clusters in them, k."""

SPECS = tuple(
    spec
    for k in SIZES
    for spec in (
        MetricSpec(f"cluster_purity_top{k}", 0, 1, "up"),
        MetricSpec(f"linear_accuracy_top{k}", 0, 1, "up"),
        MetricSpec(f"feature_eigengap_top{k}", 0, 1, "up", labelled=False),
    )
)

GROUPS: Final = ("data",)
ON_REQUEST: Final = True
ONE_LAYER_AT_A_TIME: Final = True  # scikit-learn's number of threads is the process's

LEAST_VARIANCE: Final = 1e-12
"""Variance along a direction, over the mean squared length of a feature, below which it is rounding."""


class Directions(NamedTuple):
    """Strongest directions of a layer, the eigenvectors of the covariance of its training features.

    Attributes:
        eigenvalues: float64 [D], falling: variances along all directions.
        rank: Directions along which the features vary.
        train: float32 [N, K] centred training features along the first K = min(rank, SIZES[-1]).
        test: float32 [M, K] of the test images, centred likewise.
    """

    eigenvalues: Tensor
    rank: int
    train: Tensor
    test: Tensor


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields, for k = 5 to 100, how well k clusters agree with labels and a linear head of k directions does.

    The k directions are the strongest of the centred training features: eigenvectors of their covariance.

    - cluster_purity_topK: share of training images whose label is the most frequent one of their cluster; of k
      k-means clusters of the features along these directions. 1: every cluster has one label; the share of the most
      frequent label: clusters say nothing (a little above it by chance, the more so the larger k).
    - linear_accuracy_topK: of the project's linear probe on these k numbers an image, test images.
    - feature_eigengap_topK: k-th eigenvalue of the covariance less the next, over the sum of all; no labels.

    All NaN where k is not below the number of features, or the features vary along fewer than k directions.

    arXiv 2106.04156 proves that a linear head on the top k eigenvectors of the graph of positive pairs has a small
    error where clusters of the graph are pure in labels and the gap after the k-th eigenvalue is large. Features of
    an encoder span these eigenvectors only where it minimises the spectral contrastive loss; the second moments of
    its views then have the graph's eigenvalues. Of other encoders the theory says nothing, and this measures whether
    purity, gap and accuracy go together all the same. `sweeps/graph.py` has the eigenvectors, and a bound.

    Source: after arXiv 2106.04156; purity as in Manning, Raghavan and Schuetze 2008, section 16.3.
    """
    found = strongest(features)
    rows = chosen_rows(len(features.train))
    total = found.eigenvalues.sum()
    for k in SIZES:
        there = k < len(found.eigenvalues) and k <= found.rank
        gap, purities, accuracies = math.nan, [math.nan] * len(levels), [math.nan] * len(levels)
        if there:
            gap = float((found.eigenvalues[k - 1] - found.eigenvalues[k]) / total)
            clusters = cluster(found.train[rows.to(found.train.device), :k], k)
            purities = [purity(clusters, level.train.cpu()[rows]) for level in levels]
            accuracies = _accuracies(LayerFeatures(found.train[:, :k], found.test[:, :k]), levels)
        yield Measurement(UNLABELLED, "train", f"feature_eigengap_top{k}", gap)
        for level, of_clusters, of_head in zip(levels, purities, accuracies, strict=True):
            yield Measurement(level.name, "train", f"cluster_purity_top{k}", of_clusters)
            yield Measurement(level.name, "test", f"linear_accuracy_top{k}", of_head)


def strongest(features: LayerFeatures) -> Directions:
    """Returns the strongest directions of a layer and its features along them."""
    moments = features.sums(MOMENTS, "train")
    values, vectors = torch.linalg.eigh(moments.scatter / moments.num_images)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    rank = int((values > LEAST_VARIANCE * (values.sum() + moments.mean.square().sum())).sum())
    vectors = vectors[:, : min(rank, SIZES[-1])]
    train, test = (
        torch.cat([((rows.double() - moments.mean) @ vectors).float() for rows in split.split(ROW_CHUNK)])
        for split in (features.train, features.test)
    )
    return Directions(values, rank, train, test)


def purity(clusters: Tensor, labels: Tensor) -> float:
    """Returns the share of images whose label is the most frequent one of their cluster, 0 (excluded) to 1.

    Args:
        clusters: int64 [N], 0 or more.
        labels: int64 [N], 0 or more.
    """
    num_labels = int(labels.max()) + 1
    counts = torch.bincount(clusters * num_labels + labels, minlength=(int(clusters.max()) + 1) * num_labels)
    return counts.view(-1, num_labels).amax(1).sum().item() / len(labels)


def _accuracies(layer: LayerFeatures, levels: list[LabelLevel]) -> list[float]:
    """Test accuracy of the linear probe at each level."""
    return [found.value for found in linear_probe.measure(layer, levels) if found.split == "test"]
