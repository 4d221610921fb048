"""What holds for every metric, those of tomorrow included."""

from __future__ import annotations

import pytest

from analysis.metrics.base import UNLABELLED, MetricSpec
from ray_ssl.plugins import plugin_module, plugin_names
from tests.analysis.metrics.blobs import blobs

PACKAGE = "analysis.metrics"


@pytest.mark.parametrize("name", plugin_names(PACKAGE))
def test_a_metric_yields_what_its_specs_say(name: str) -> None:
    metric = plugin_module(PACKAGE, name)
    features, levels = blobs()
    specs: dict[str, MetricSpec] = {s.name: s for s in metric.SPECS}
    yielded = list(metric.measure(features, levels))
    assert {m.metric for m in yielded} == set(specs)
    for m in yielded:
        assert type(m.value) is float and specs[m.metric].low <= m.value <= specs[m.metric].high, m
        assert m.split in ("train", "test")
    for spec in metric.SPECS:
        expected = {level.name for level in levels} if spec.labelled else {UNLABELLED}
        assert {m.level for m in yielded if m.metric == spec.name} == expected
        assert spec.direction in ("up", "down", "")
    assert len({m[:3] for m in yielded}) == len(yielded), "a number was yielded twice"


@pytest.mark.parametrize("name", plugin_names(PACKAGE))
def test_a_metric_is_deterministic_and_leaves_its_input_alone(name: str) -> None:
    metric = plugin_module(PACKAGE, name)
    features, levels = blobs()
    before = features.train.clone(), features.test.clone(), levels[0].train.clone()
    first = list(metric.measure(features, levels))
    fresh, _ = blobs()
    assert list(metric.measure(fresh, levels)) == first
    assert all((a == b).all() for a, b in zip(before, (features.train, features.test, levels[0].train), strict=True))


def test_metric_names_are_unique() -> None:
    names = [s.name for plugin in plugin_names(PACKAGE) for s in plugin_module(PACKAGE, plugin).SPECS]
    assert len(set(names)) == len(names)
