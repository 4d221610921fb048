"""Distances of domains: closed forms, and what they do not depend on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from sklearn import linear_model as sklearn_linear

from analysis.features import LayerFeatures
from analysis.metrics import domain_distance
from analysis.metrics.linear_probe import PENALTY
from ray_ssl.data.base import EXTRA, SOURCE, TARGET, UNLABELLED
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


@pytest.mark.parametrize("num_target", [30, 100, 1500])
def test_domains_are_told_apart_as_well_where_one_is_much_smaller(num_target: int) -> None:
    source, target = draw(1500, 4), draw(num_target, 4, seed=1) + 0.75
    scikit = sklearn_linear.LogisticRegression(C=1 / (PENALTY * 2 * 1500), class_weight="balanced")
    domain = torch.tensor([SOURCE, TARGET]).repeat_interleave(torch.tensor([1500, num_target]))
    both = torch.cat([source, target])
    rows = torch.cat([draw(2000, 4, seed=2), draw(2000, 4, seed=3) + 0.75])
    head = domain_distance.domain_classifier(source, target)
    wanted = torch.from_numpy(scikit.fit(both.numpy(), domain.numpy()).predict(rows.numpy()))
    assert (head.predict(rows) == wanted).double().mean() > 0.99
    ours = [
        (head.predict(side) == one).double().mean().item()
        for side, one in zip(rows.chunk(2), (SOURCE, TARGET), strict=True)
    ]
    assert 0.7 < sum(ours) / 2 < 0.8 and min(ours) > 0.6  # 0.77 at best


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
    apart -= sum(side.var(1).sum(1).mean() / 30 for side in sides)
    wanted = (
        math.sqrt(apart.item() / between),
        math.sqrt(sum(square(groups[c, 0], groups[c, 1]) for c in range(3)) / 3 / between),
    )
    assert domain_distance.domain_distances(rows, labels, domain, 3) == pytest.approx(wanted)


def test_without_labels_the_target_varies_within_classes_as_the_source_does() -> None:
    labels, domain = torch.arange(400) % 4, torch.arange(400) // 200
    rows = draw(400, 6) + labels[:, None] * (1 + domain[:, None])
    unknown = labels.where(domain == 0, UNLABELLED)
    one_each = torch.cat([labels[:200], torch.arange(200)])
    known, *without = (domain_distance.domain_distances(rows, one, domain, 200) for one in (labels, unknown, one_each))
    assert known[0] > without[0][0] == without[1][0] and math.isnan(without[0][1])  # classes lie further apart there
    sides = [rows[:200].double(), rows[200:].double()]
    within = sum(sides[0][labels[:200] == c].var(0).sum().item() for c in range(4)) / 4
    total = [side.var(0).sum().item() for side in sides]
    noise = (within + total[1] * within / total[0]) / 200
    square = (sides[0].mean(0) - sides[1].mean(0)).square().sum().item() - noise
    between = 2 * sum(torch.stack([sides[0][labels[:200] == c].mean(0) for c in range(4)]).var(0).tolist())
    between -= 2 * within / 50
    assert without[0][0] == pytest.approx(math.sqrt(square / between))


def test_a_class_of_one_varies_like_the_others() -> None:
    labels = torch.arange(400) % 4
    rows = draw(400, 6) + labels[:, None]
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
