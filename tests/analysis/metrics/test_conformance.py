"""What holds for every metric, those of tomorrow included."""

from __future__ import annotations

import pytest

from analysis.class_pairs import class_pairs, pair_level
from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics.base import UNLABELLED, Measurement, MetricSpec
from analysis.tasks import GROUPS, is_on_request, is_projection, metric_groups
from ray_ssl.plugins import plugin_module, plugin_names
from tests.analysis.metrics.blobs import blobs_for

PACKAGE = "analysis.metrics"
MEASURING = [name for name in plugin_names(PACKAGE) if not is_projection(name)]


def measure(metric, features: LayerFeatures, levels: list[LabelLevel]) -> list[Measurement]:
    """All that a metric yields; of one that compares whole networks, for two layers and one earlier epoch."""
    if not hasattr(metric, "measure_network"):
        return list(metric.measure(features, levels))
    narrow = LayerFeatures(features.train[:, :5], features.test[:, :5])
    found = list(metric.measure_network([features, narrow], {3: [narrow, features]}))
    assert {layer for layer, _ in found} == {0, 1}
    assert len({(layer, *m[:3]) for layer, m in found}) == len(found), "a number was yielded twice"
    return [m for layer, m in found if layer == 1]


def levels_of(metric, spec: MetricSpec, levels: list[LabelLevel]) -> set[str]:
    if hasattr(metric, "measure_network"):
        return {"layer-00"} if spec.name.endswith("between_layers") else {"epoch-000003"}
    if spec.paired:
        return {pair_level(level.name, *pair) for level in levels for pair in class_pairs(level.num_classes)}
    return {level.name for level in levels} if spec.labelled else {UNLABELLED}


@pytest.mark.parametrize("name", MEASURING)
def test_a_metric_yields_what_its_specs_say(name: str) -> None:
    metric = plugin_module(PACKAGE, name)
    features, levels = blobs_for(metric)
    specs: dict[str, MetricSpec] = {s.name: s for s in metric.SPECS}
    yielded = measure(metric, features, levels)
    assert {m.metric for m in yielded} == set(specs)
    for m in yielded:
        assert type(m.value) is float and specs[m.metric].low <= m.value <= specs[m.metric].high, m
        assert m.split in ("train", "test")
    for spec in metric.SPECS:
        assert {m.level for m in yielded if m.metric == spec.name} == levels_of(metric, spec, levels)
        assert spec.direction in ("up", "down", "")
    assert len({m[:3] for m in yielded}) == len(yielded), "a number was yielded twice"


@pytest.mark.parametrize("name", MEASURING)
def test_a_metric_is_deterministic_and_leaves_its_input_alone(name: str) -> None:
    metric = plugin_module(PACKAGE, name)
    features, levels = blobs_for(metric)
    before = features.train.clone(), features.test.clone(), levels[0].train.clone()
    first = measure(metric, features, levels)
    fresh, _ = blobs_for(metric)
    assert measure(metric, fresh, levels) == first
    assert all((a == b).all() for a, b in zip(before, (features.train, features.test, levels[0].train), strict=True))


@pytest.mark.parametrize("name", plugin_names(PACKAGE))
def test_a_metric_says_what_it_is_measured_on(name: str) -> None:
    metric = plugin_module(PACKAGE, name)
    assert metric_groups(name) and set(metric_groups(name)) <= set(GROUPS)
    assert isinstance(is_on_request(name), bool)
    assert [hasattr(metric, way) for way in ("measure", "measure_network", "project")].count(True) == 1


def test_metric_names_are_unique() -> None:
    names = [s.name for plugin in plugin_names(PACKAGE) for s in plugin_module(PACKAGE, plugin).SPECS]
    assert len(set(names)) == len(names)
