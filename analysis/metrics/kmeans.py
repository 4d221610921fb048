"""Agreement of k-means clusters with labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics.base import Measurement, MetricSpec
from ray_ssl.rng import stream_seed, torch_stream

SPECS = (MetricSpec("kmeans_nmi", 0, 1, "up"), MetricSpec("kmeans_ari", -0.5, 1, "up"))

GROUPS: Final = ("data",)
ON_REQUEST: Final = True
ONE_LAYER_AT_A_TIME: Final = True  # scikit-learn's number of threads is the process's

MAX_ROWS: Final = 10_000
"""Training rows that are clustered at most, a fixed random choice."""

NUM_RESTARTS: Final = 3
"""Clusterings from different k-means++ seeds; the one of least squared distance is taken."""


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields normalised mutual information and adjusted Rand index of k-means clusters and labels.

    There are as many clusters as labels that occur. Both are 1 where the clusters are the labels and 0 where they
    have nothing in common; NMI (normalised by the mean of both entropies) is a little above 0 by chance, ARI is 0 on
    average and can fall below. NaN where only one label occurs. Levels with the same number share the clusters.

    Source: scikit-learn's `KMeans`, `normalized_mutual_info_score` and `adjusted_rand_score`.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score  # takes seconds to import

    rows = chosen_rows(len(features.train))
    for level in levels:
        labels = level.train.cpu()[rows]
        num_clusters = len(labels.unique())
        nmi = ari = math.nan
        if num_clusters > 1:
            clusters = _clusters(features, num_clusters)
            nmi = normalized_mutual_info_score(labels, clusters)
            ari = adjusted_rand_score(labels, clusters)
        yield Measurement(level.name, "train", "kmeans_nmi", float(nmi))
        yield Measurement(level.name, "train", "kmeans_ari", float(ari))


def _clusters(features: LayerFeatures, num_clusters: int) -> Tensor:
    def compute(layer: LayerFeatures) -> Tensor:
        return cluster(layer.train[chosen_rows(len(layer.train)).to(layer.train.device)], num_clusters)

    return features.shared(f"{num_clusters} k-means clusters", compute)


def chosen_rows(num_rows: int) -> Tensor:
    """Returns which of `num_rows` training rows are clustered, int64 [at most MAX_ROWS], on the CPU."""
    if num_rows <= MAX_ROWS:
        return torch.arange(num_rows)
    return torch.randperm(num_rows, generator=torch_stream(0, "k-means rows"))[:MAX_ROWS]


def cluster(features: Tensor, num_clusters: int) -> Tensor:
    """Returns the k-means cluster of each row of float [N, D], int64 [N]; deterministic.

    Where fewer than `num_clusters` rows differ, there are fewer clusters.
    """
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    seed = stream_seed(0, "k-means seeds") % 2**32
    model = KMeans(num_clusters, random_state=seed).set_params(n_init=NUM_RESTARTS)
    # Threads add their sums in the order in which they finish.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # that there are fewer clusters
        return torch.from_numpy(model.fit_predict(features.cpu().numpy())).long()
