"""Which changes of the data leave a metric as it is, and how the others change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics import (
    alignment_uniformity,
    alpha_req,
    cdnv,
    kmeans,
    knn,
    lidar,
    linear_probe,
    ncc,
    neural_collapse,
    rank,
)
from tests.analysis.metrics.blobs import blobs, blobs_for, draw, measured

Case = tuple[LayerFeatures, list[LabelLevel]]
MODULES = [alignment_uniformity, alpha_req, cdnv, kmeans, knn, lidar, linear_probe, ncc, neural_collapse, rank]
METRICS = {s.name: module for module in MODULES for s in module.SPECS}
ALL = set(METRICS)
PROBE = {"linear_accuracy", "nc3", "nc4"}
KMEANS = {"kmeans_nmi", "kmeans_ari"}
UNIT = {"alignment", "uniformity", "knn_accuracy", "ncc_accuracy_normalised"}
COPIES = {"alignment", "uniformity", "knn_accuracy"}  # where an image and its copy are a pair or neighbours
# The probe's optimum is reached to a tolerance, and k-means, which starts at other images when their order is
# changed and ends elsewhere where clusters are not clear, may move an image that lies between two.
TOLERANCE = dict.fromkeys(PROBE, 0.01) | dict.fromkeys(KMEANS, 0.05)


def on_features(change: Callable[[Tensor], Tensor]) -> Callable[[LayerFeatures, list[LabelLevel]], Case]:
    return lambda f, levels: (LayerFeatures(change(f.train), change(f.test)), levels)


def permute_labels(f: LayerFeatures, levels: list[LabelLevel]) -> Case:
    changed = []
    for level in levels:
        order = torch.arange(level.num_classes).roll(1)
        changed.append(replace(level, train=order[level.train], test=order[level.test]))
    return f, changed


def shuffle_images(f: LayerFeatures, levels: list[LabelLevel]) -> Case:
    order = torch.arange(len(f.train)).roll(123).flip(0)
    return LayerFeatures(f.train[order], f.test), [replace(v, train=v.train[order]) for v in levels]


def duplicate(f: LayerFeatures, levels: list[LabelLevel]) -> Case:
    changed = [replace(v, train=v.train.repeat(2), test=v.test.repeat(2)) for v in levels]
    return LayerFeatures(f.train.repeat(2, 1), f.test.repeat(2, 1)), changed


def add_absent_class(f: LayerFeatures, levels: list[LabelLevel]) -> Case:
    return f, [replace(v, train=v.train + 1, test=v.test + 1, num_classes=v.num_classes + 2) for v in levels]


ROTATION = torch.linalg.qr(draw(8, 8, seed=9))[0]
SQUARED = {"class_variance", "class_mean_distance"}

# name: (change, metrics that stay as they are, factor of others)
TABLE: dict[str, tuple[Callable[[LayerFeatures, list[LabelLevel]], Case], set[str], dict[str, float]]] = {
    "labels permuted": (permute_labels, ALL, {}),
    "images shuffled": (shuffle_images, ALL - KMEANS, {}),
    "classes without images": (add_absent_class, ALL, {}),
    "data twice": (duplicate, ALL - KMEANS - COPIES - {"effective_rank"}, {}),  # epsilon aside, tested below
    "rotation": (on_features(lambda x: x @ ROTATION), ALL - PROBE, {}),  # standardised by dimension
    "translation": (on_features(lambda x: x + 10), ALL - UNIT - {"effective_rank"}, {}),
    "scale": (on_features(lambda x: 8 * x), ALL - SQUARED - {"lidar"}, dict.fromkeys(SQUARED, 64.0)),  # lidar: delta
    "scale by dimension": (on_features(lambda x: x * torch.logspace(-3, 3, 8)), PROBE - {"nc4"}, {}),
}


@pytest.mark.parametrize("case", TABLE)
def test_invariances(case: str) -> None:
    change, unchanged, factors = TABLE[case]
    for name in unchanged | set(factors):
        expected = measured(METRICS[name], *blobs_for(METRICS[name]))
        for key, value in measured(METRICS[name], *change(*blobs_for(METRICS[name]))).items():
            if key[2] == name:
                wanted = expected[key] * factors.get(name, 1.0)
                assert value == pytest.approx(wanted, rel=1e-4, abs=TOLERANCE.get(name, 1e-9)), key


def test_the_table_can_fail() -> None:
    """The changes the table leaves out do change these metrics."""
    for case, name in (
        ("translation", "effective_rank"),
        ("translation", "uniformity"),
        ("data twice", "alignment"),
        ("scale by dimension", "cdnv"),
        ("scale by dimension", "nc1"),
        ("scale by dimension", "alpha_req"),
        ("scale", "class_variance"),
    ):
        before, after = measured(METRICS[name], *blobs()), measured(METRICS[name], *TABLE[case][0](*blobs()))
        assert any(after[key] != pytest.approx(before[key], rel=1e-2) for key in before if key[2] == name)


@pytest.mark.parametrize("metric", MODULES, ids=lambda m: m.__name__)
def test_each_level_alone_equals_all_levels_together(metric) -> None:
    features, levels = blobs_for(metric)
    alone = {}
    for level in levels:
        alone |= measured(metric, blobs()[0], [level])
    assert alone == measured(metric, features, levels)


def test_features_that_are_not_finite_are_refused() -> None:
    bad = draw(10, 3)
    bad[4, 1] = torch.nan
    with pytest.raises(ValueError, match="training features must be finite: 1 of 10 rows"):
        LayerFeatures(bad, draw(10, 3))
    with pytest.raises(ValueError, match="test features must be finite"):
        LayerFeatures(draw(10, 3), draw(10, 3) / 0)
    with pytest.raises(ValueError, match="features must be finite"):
        rank.effective_rank(bad)
