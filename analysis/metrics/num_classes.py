"""How many labels there are: what an accuracy is compared with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from analysis.labels import LabelLevel
from analysis.metrics.base import Measurement, MetricSpec
from analysis.sums import Layer, Statistic

SPECS = (MetricSpec("num_classes", 1, math.inf, ""),)

SUMS: tuple[Statistic[Any], ...] = ()


def measure(features: Layer, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields the number of labels of each level, K; 1 / K is the accuracy of guessing them at random.

    The same for every layer: it is in the table so that whoever reads the table needs no data.
    """
    for level in levels:
        yield Measurement(level.name, "test", SPECS[0].name, float(level.num_classes))
