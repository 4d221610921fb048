"""Distances of domains: closed forms, and what they do not depend on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from analysis.features import LayerFeatures
from analysis.metrics import domain_distance
from ray_ssl.data.base import EXTRA
from tests.analysis.metrics.blobs import draw, measured
from tests.analysis.metrics.test_transfer import butterfly

KEY = ("class", "test")


@pytest.mark.parametrize(("class_axis", "domain_axis"), [(1.0, 0.5), (1.0, 3.0)])
def test_distances_are_those_of_the_centres(class_axis: float, domain_axis: float) -> None:
    features, level = butterfly(class_axis, domain_axis, 0.0)
    found = measured(domain_distance, features, [level])
    assert found[*KEY, "domain_distance"] == pytest.approx(domain_axis / class_axis, rel=0.05)
    assert found[*KEY, "domain_distance_of_class"] == pytest.approx(domain_axis / class_axis, rel=0.05)
    assert found[*KEY, "domain_accuracy"] > 0.99


def test_classes_that_change_places_are_apart_though_their_domains_are_not() -> None:
    features, level = butterfly(0.0, 0.0, 1.0)
    found = measured(domain_distance, features, [level])
    assert found[*KEY, "domain_distance"] < 0.2
    assert found[*KEY, "domain_distance_of_class"] == pytest.approx(1, rel=0.05)


def test_mixed_domains_are_not_told_apart() -> None:
    features, level = butterfly(1.0, 0.0, 0.0)
    assert measured(domain_distance, features, [level])[*KEY, "domain_accuracy"] == pytest.approx(0.5, abs=0.1)


def test_scale_rotation_and_extra_images_change_nothing() -> None:
    features, level = butterfly(1.0, 0.7, 0.3)
    assert level.domains is not None
    turn = torch.linalg.qr(draw(4, 4))[0]
    moved = LayerFeatures(3 * features.train @ turn, 3 * features.test @ turn)
    more = torch.cat((moved.train, 100 * draw(50, 4))), torch.cat((level.train, torch.zeros(50, dtype=torch.int64)))
    domains = torch.cat((level.domains[0], torch.full((50,), EXTRA))), level.domains[1]
    extra = replace(level, train=more[1], domains=domains)
    one = measured(domain_distance, features, [level])
    other = measured(domain_distance, LayerFeatures(more[0], moved.test), [extra])
    for key, value in one.items():
        assert math.isclose(value, other[key], rel_tol=1e-3, abs_tol=0.005), key
