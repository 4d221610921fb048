"""Distances of domains: closed forms, and what they do not depend on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from analysis.features import LayerFeatures
from analysis.metrics import domain_distance
from ray_ssl.data.base import EXTRA, UNLABELLED
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


def test_distances_do_not_depend_on_the_number_of_images() -> None:
    # 40 classes in 16 dimensions whose images lie three times as far from their mean as the means from one another
    num_classes, size = 40, 16
    centres = draw(num_classes, size)
    moved = draw(num_classes, size, seed=1) * 0.3 + 0.1
    between = torch.pdist(centres).square().mean().sqrt()
    truth = (moved.mean(0).norm() / between).item(), (moved.square().sum(1).mean().sqrt() / between).item()
    for num_images, tolerance in ((5, 0.15), (200, 0.03)):
        found = []
        for seed in range(8):
            labels = torch.arange(num_classes).repeat(2 * num_images)
            domain = torch.arange(2).repeat_interleave(num_classes * num_images)
            rows = centres[labels] + domain[:, None] * moved[labels] + 3 * draw(len(labels), size, seed=seed + 10)
            found.append(domain_distance.domain_distances(rows, labels, domain, num_classes))
        squares = torch.tensor(found).square().mean(0).sqrt().tolist()
        assert squares == pytest.approx(truth, abs=tolerance), num_images


def test_the_same_domains_are_not_apart_on_average() -> None:
    labels, found = torch.arange(10).repeat(40), []
    domain = torch.arange(400) // 200
    for seed in range(60):
        rows = draw(10, 8)[labels] + draw(400, 8, seed=seed + 10)
        found.append(domain_distance.domain_distances(rows, labels, domain, 10))
    squares = torch.tensor(found).abs() * torch.tensor(found)
    assert (squares.mean(0).abs() < 2.5 * squares.std(0) / math.sqrt(60)).all()
    assert 10 < (squares[:, 0] < 0).sum() < 50 > (squares[:, 1] < 0).sum() > 10


def test_distances_are_a_naive_computation_over_pairs() -> None:
    labels, domain = torch.arange(60) % 3, torch.arange(60) // 3 % 2
    rows = draw(60, 4) + labels[:, None] * torch.tensor([1.0, 0, 0, 0]) + domain[:, None] * 0.7
    groups = {(c, d): rows[(labels == c) & (domain == d)].double() for c in range(3) for d in range(2)}

    def square(a: torch.Tensor, b: torch.Tensor) -> float:
        noise = sum(one.var(0).sum().item() / len(one) for one in (a, b))
        return (a.mean(0) - b.mean(0)).square().sum().item() - noise

    between = sum(square(groups[i, 0], groups[j, 0]) for i in range(3) for j in range(i)) / 3
    # The mean of a domain is that of its classes' means, 10 images each.
    sides = [torch.stack([groups[c, d] for c in range(3)]) for d in range(2)]
    apart = (sides[0].mean((0, 1)) - sides[1].mean((0, 1))).square().sum()
    within, *total = sides[0].var(1).sum(1).mean(), *(side.flatten(0, 1).var(0).sum() for side in sides)
    apart -= within / 30 + total[1] / 30 * within / total[0]
    wanted = (
        math.sqrt(apart.item() / between),
        math.sqrt(sum(square(groups[c, 0], groups[c, 1]) for c in range(3)) / 3 / between),
    )
    assert domain_distance.domain_distances(rows, labels, domain, 3) == pytest.approx(wanted)


def test_labels_of_the_target_are_not_asked_and_a_class_of_one_varies_like_the_others() -> None:
    labels, domain = torch.arange(400) % 4, torch.arange(400) // 200
    rows = draw(400, 6) + labels[:, None]
    unknown = labels.where(domain == 0, UNLABELLED)
    known, without = (domain_distance.domain_distances(rows, one, domain, 4) for one in (labels, unknown))
    assert known[0] == without[0] and math.isnan(without[1])
    alone = labels[:199].where(torch.arange(199) > 0, 4)
    noise = domain_distance._within_classes(rows[:199].double(), alone, 5).item()
    varied = [rows[:199][alone == c].double().var(0).sum().item() for c in range(4)]
    counts = [int((alone == c).sum()) for c in range(4)]
    pooled = sum((n - 1) * v for n, v in zip(counts, varied, strict=True)) / (sum(counts) - 4)
    assert noise == pytest.approx((sum(n * v for n, v in zip(counts, varied, strict=True)) + pooled) / 199**2)


def test_what_cannot_be_told_apart_from_chance_has_no_distance() -> None:
    labels, domain = torch.arange(40) % 20, torch.arange(40) // 20
    assert all(map(math.isnan, domain_distance.domain_distances(draw(40, 4), labels, domain, 20)))  # an image a class
    one_class = torch.zeros(40, dtype=torch.int64)
    assert all(map(math.isnan, domain_distance.domain_distances(draw(40, 4), one_class, domain, 1)))


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
