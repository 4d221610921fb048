"""Errors of groups: closed forms, both ways, and the same numbers every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.connectivity.classifier import ClassifierSettings, Examiner, pairwise_errors
from analysis.connectivity.groups import GroupErrors, classes_with_all, edges, split_groups
from ray_ssl.data.base import EXTRA, ImageSet

SMALL = ClassifierSettings(num_steps=60, batch_size=32, depth=1, width=16, rate=0.01, num_test_views=2)
NORMALISATION = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def black_and_white(num_images: int, seed: int) -> ImageSet:
    """Class 0 is dark and class 1 bright noise; the domains are alike."""
    fine = np.arange(num_images) % 2
    noise = np.random.default_rng(seed).integers(0, 20, (num_images, 8, 8, 3))
    images = (noise + 230 * fine[:, None, None, None]).astype(np.uint8)
    domain = np.arange(num_images) // 2 % 2
    return ImageSet(images, fine, ("dark", "bright"), domain=domain, domain_names=("one", "other", "extra"))


TRAIN, TEST = split_groups(black_and_white(160, 0), 0, "train"), split_groups(black_and_white(160, 1), 0, "test")


def examiner(seed: int = 0) -> Examiner:
    return Examiner(SMALL, seed, NORMALISATION, torch.device("cpu"), lambda count: None)


@pytest.fixture(scope="module")
def joint() -> GroupErrors:
    return examiner().joint(TRAIN, TEST)


@pytest.fixture(scope="module")
def pairs() -> GroupErrors:
    found = GroupErrors.none(4)
    for one in range(4):
        for other in range(one + 1, 4):
            found.between[one, other] = found.between[other, one] = examiner().between(TRAIN, TEST, one, other)
        found.within[one] = examiner().within(TRAIN, TEST, one)
    return found


@pytest.mark.parametrize("way", ["joint", "pairs"])
def test_groups_that_are_alike_are_guessed_and_groups_apart_are_told_apart(
    way: str, request: pytest.FixtureRequest
) -> None:
    found = edges(request.getfixturevalue(way), (0, 1))
    assert found.rho == pytest.approx(0.5, abs=0.1) and found.alpha == pytest.approx(0.5, abs=0.1)
    assert found.beta < 0.02 and found.gamma < 0.02


def test_errors_are_symmetric_whichever_group_comes_first(joint: GroupErrors, pairs: GroupErrors) -> None:
    assert np.array_equal(joint.between, joint.between.T, equal_nan=True)
    assert examiner().between(TRAIN, TEST, 2, 0) == pairs.between[0, 2]


def test_the_seed_decides_alone(joint: GroupErrors) -> None:
    again, other = examiner().joint(TRAIN, TEST), examiner(1).joint(TRAIN, TEST)
    assert np.array_equal(again.between, joint.between, equal_nan=True) and (again.within == joint.within).all()
    assert (other.within != joint.within).any()


def test_a_class_that_lacks_a_domain_is_known_and_not_measured() -> None:
    images = black_and_white(160, 0)
    lacking = images.take(np.flatnonzero((images.fine == 0) | (images.domain == 0)))
    train = split_groups(lacking, 0, "train")
    assert classes_with_all(train, TEST) == [0] and classes_with_all(TRAIN, TEST) == [0, 1]
    found = Examiner(replace(SMALL, num_steps=1), 0, NORMALISATION, torch.device("cpu"), lambda count: None)
    errors = found.joint(train, split_groups(lacking, 0, "test"))
    assert np.isnan(errors.within).tolist() == [False, False, False, True]  # class 1 in the target
    assert np.isnan(errors.between[3]).all() and np.isfinite(errors.between[0, 1:3]).all()


def test_halves_are_of_every_group_and_extra_images_are_left_out() -> None:
    images = black_and_white(160, 0)
    assert images.domain is not None
    domain = images.domain.copy()
    domain[:40] = EXTRA
    groups = split_groups(replace(images, domain=domain), 0, "train")
    assert len(groups.images) == 120 and groups.half is not None
    counts = np.bincount(2 * groups.group + groups.half)
    assert counts.tolist() == 8 * [15]


def test_pairwise_errors_are_those_of_a_naive_count() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.integers(0, 4, (60, 3)).astype(float), rng.integers(0, 3, 60)
    found = pairwise_errors(torch.tensor(logits), labels)
    for one, other in [(0, 1), (0, 2), (2, 1)]:
        shares = []
        for truth, against in ((one, other), (other, one)):
            rows = logits[labels == truth]
            wrong = [1.0 if r[against] > r[truth] else 0.5 if r[against] == r[truth] else 0.0 for r in rows]
            shares.append(sum(wrong) / len(wrong))
        assert found[one, other] == pytest.approx(sum(shares) / 2)
    assert np.isnan(np.diag(found)).all()


def test_edges_are_means_over_their_kind() -> None:
    between = np.full((6, 6), np.nan)  # three classes; groups: 0 1 2 in the source, 3 4 5 in the target
    for (one, other), value in {(0, 3): 1, (2, 5): 3, (0, 2): 5, (3, 5): 7, (0, 5): 9, (3, 2): 12}.items():
        between[one, other] = between[other, one] = value
    found = edges(GroupErrors(between, np.array([1.0, np.nan, 2, 3, np.nan, 6])), (0, 2))
    assert found == (3.0, 2.0, 6.0, 10.5)
