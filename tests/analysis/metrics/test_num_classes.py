"""The number of classes is that of the data, whatever images happen to be measured."""

from __future__ import annotations

from dataclasses import replace

from analysis.metrics import num_classes
from tests.analysis.metrics.blobs import blobs, measured


def test_every_level_has_its_own_and_absent_classes_count() -> None:
    features, levels = blobs(num_classes=6)
    assert measured(num_classes, features, levels) == {
        ("class", "test", "num_classes"): 6.0,
        ("half", "test", "num_classes"): 3.0,
    }
    levels[0] = replace(levels[0], num_classes=100)
    assert measured(num_classes, features, levels)["class", "test", "num_classes"] == 100
