"""Accuracy of a nearest-neighbour vote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics.base import Measurement, MetricSpec
from ray_ssl.health import nearest_neighbours, vote_accuracy

SPECS = (MetricSpec("knn_accuracy", 0, 1, "up"),)

GROUPS: Final = ("data", "sample")
ON_REQUEST: Final = True


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields the share of test images whose 20 nearest training images vote for their label, 0 (worst) to 1.

    The vote is that of `ray_ssl.health.knn_accuracy`: neighbours by cosine similarity s, each with weight
    exp(s / 0.1). All levels share one search. Of labels with equal votes the lowest is taken.

    Source: arXiv 1805.01978, section 3.4, which takes 200 neighbours of 1.3 million images and temperature 0.07.
    """
    found = features.shared("nearest neighbours", lambda f: nearest_neighbours(f.train, f.test))
    for level in levels:
        train, test = (labels.to(features.train.device) for labels in (level.train, level.test))
        yield Measurement(level.name, "test", SPECS[0].name, vote_accuracy(*found, train, test))
