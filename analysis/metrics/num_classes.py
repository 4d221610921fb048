"""How many labels there are: what an accuracy is compared with."""

from __future__ import annotations

import math
from collections.abc import Iterator

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics.base import Measurement, MetricSpec

SPECS = (MetricSpec("num_classes", 1, math.inf, ""),)


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields the number of labels of each level, K; 1 / K is the accuracy of guessing them at random.

    The same for every layer: it is in the table so that whoever reads the table needs no data.
    """
    for level in levels:
        yield Measurement(level.name, "test", SPECS[0].name, float(level.num_classes))
