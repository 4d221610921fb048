"""UMAP: the same points on every call, what lies apart stays apart, the same pictures for all checkpoints."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel, sample_level
from analysis.metrics import umap
from analysis.metrics.base import Point
from ray_ssl.errors import UserError
from tests.analysis.metrics.blobs import draw, draw_labels


def level(name: str = "class", num_images: int = 900, num_classes: int = 8) -> LabelLevel:
    labels = draw_labels(num_images, num_classes)
    names = tuple(f"name {label}" for label in range(num_classes))
    return LabelLevel(name, labels[:10], labels, num_classes, names=names)


def test_separated_blobs_stay_separated_and_every_call_gives_the_same_points():
    labels = torch.arange(2).repeat_interleave(30)
    features = 10 * labels[:, None] + draw(60, 5)
    level = LabelLevel("class", labels, labels, 2, names=("left", "right"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = list(umap.project(LayerFeatures(features[:0], features), [level]))
        same = umap.embed(torch.zeros(20, 3))  # as those of a collapsed network
    assert list(umap.project(LayerFeatures(features[:0], features.clone()), [level])) == first
    assert [(p.point, p.label, p.label_name) for p in first] == [
        (i, i // 30, ("left", "right")[i // 30]) for i in range(60)
    ]
    places = np.array([(p.x, p.y) for p in first])
    centres = np.stack([places[:30].mean(0), places[30:].mean(0)])
    nearest = ((places[:, None] - centres) ** 2).sum(2).argmin(1)
    assert nearest.tolist() == labels.tolist()
    assert same.shape == (20, 2) and np.isfinite(same).all()
    assert torch.get_num_threads() == 1  # as before


def test_shown_are_five_labels_and_at_most_100_test_images_of_each():
    of_class = level()
    rows = umap.shown_rows(of_class)
    assert rows.equal(umap.shown_rows(of_class)) and rows.equal(rows.unique())
    counts = torch.bincount(of_class.test[rows], minlength=8)
    every = torch.bincount(of_class.test, minlength=8)
    assert (counts > 0).sum() == 5
    assert all(int(c) == min(100, int(e)) for c, e in zip(counts, every, strict=True) if c)
    absent = LabelLevel("class", of_class.test, of_class.test, 800)
    assert len(torch.unique(of_class.test[umap.shown_rows(absent)])) == 5  # labels without pictures are passed over


def test_of_level_sample_all_training_views_of_five_images_are_shown():
    of_samples = sample_level(20, 120, 3)
    rows = umap.shown_rows(of_samples)
    assert torch.bincount(of_samples.train[rows], minlength=20).unique().tolist() == [0, 120]
    assert len(rows) == 5 * 120


def test_of_domains_two_classes_that_both_have_are_shown_in_both(monkeypatch):
    monkeypatch.setattr(umap, "embed", lambda features: features.numpy()[:, :2])
    labels, domains = draw_labels(900, 4), draw_labels(900, 2, 8)
    domains[labels == 1] = 0  # a class that the target lacks
    names = ("disc", "ring", "star", "cross")
    level = LabelLevel("class", labels, labels, 4, names=names, domains=(domains, domains), domain_names=("a", "b"))
    found = list(umap.project(LayerFeatures(draw(1, 3), draw(900, 3)), [level]))
    assert {p.level for p in found} == {"domains"}
    assert all(p.label == 2 * labels[p.point] + domains[p.point] for p in found)
    assert all(p.label_name == f"{names[labels[p.point]]}, {'ab'[domains[p.point]]}" for p in found)
    shown = {p.label for p in found}
    assert len(shown) == 4 and len({label // 2 for label in shown}) == 2 and not shown & {2, 3}
    counts = [sum(p.label == label for p in found) for label in shown]
    assert counts == [100] * 4


def test_training_views_and_test_images_are_projected(monkeypatch):
    monkeypatch.setattr(umap, "embed", lambda features: features.numpy()[:, :2])
    features = LayerFeatures(draw(60, 3, seed=1), draw(900, 3, seed=2))
    found = list(umap.project(features, [sample_level(6, 10, 150), level()]))
    by_level = {name: [p for p in found if p.level == name] for name in ("sample", "class")}
    assert len(by_level["sample"]) == 50
    assert all(p == Point("sample", p.point // 10, "", p.point, *features.train[p.point, :2].tolist())
               for p in by_level["sample"])  # fmt: skip
    assert all((p.x, p.y) == tuple(features.test[p.point, :2].tolist()) for p in by_level["class"])
    assert all(p.label_name == f"name {p.label}" for p in by_level["class"])


def test_too_few_pictures_are_refused_in_one_line():
    assert len(umap.shown_rows(level(num_images=10, num_classes=2))) == 10
    with pytest.raises(
        UserError, match=r"level class needs 10 pictures at least, 2 of its labels have 9: .*--num-test"
    ):
        umap.check_levels([level(num_images=9, num_classes=2)])
    with pytest.raises(UserError, match=r"level sample .* 3 of its labels have 9: .*--num-train-views"):
        umap.check_levels([sample_level(3, 3, 50)])


def test_features_that_are_not_finite_are_refused():
    bad = draw(20, 3)
    bad[3, 0] = torch.inf
    with pytest.raises(ValueError, match="features must be finite: 1 of 20 rows"):
        umap.embed(bad)
