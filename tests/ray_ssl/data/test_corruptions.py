"""Corruptions: nothing at 0, the closed form at 1, more with more strength, and one image's change is its own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ray_ssl.data import corruptions
from ray_ssl.data.corruptions import corrupt
from ray_ssl.shift import CORRUPTIONS
from tests.ray_ssl.data.images import random_images

IMAGES = random_images(6, 32)
each_kind = pytest.mark.parametrize("kind", CORRUPTIONS)


@each_kind
def test_strength_0_changes_nothing_and_more_changes_more(kind: str) -> None:
    assert np.array_equal(corrupt(IMAGES, kind, 0.0, 0), IMAGES)
    strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
    changes = [np.abs(corrupt(IMAGES, kind, strength, 0).astype(float) - IMAGES).mean() for strength in strengths]
    assert changes == sorted(set(changes))


@each_kind
def test_an_image_changes_the_same_alone_and_among_others(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    together = corrupt(IMAGES, kind, 0.7, 3)
    monkeypatch.setattr(corruptions, "IMAGES_AT_ONCE", 2)
    assert np.array_equal(corrupt(IMAGES, kind, 0.7, 3), together)
    assert np.array_equal(corrupt(IMAGES[4:5], kind, 0.7, 3), together[4:5])
    assert np.array_equal(corrupt(IMAGES, kind, 0.7, 4), together) == (kind != "noise")


def test_grey_at_1_is_the_luminance() -> None:
    expected = np.rint(IMAGES @ np.array([0.299, 0.587, 0.114]))
    assert np.abs(corrupt(IMAGES, "grey", 1.0, 0) - expected[..., None]).max() <= 1


def test_invert_turns_the_brightest_values() -> None:
    assert np.array_equal(corrupt(IMAGES, "invert", 1.0, 0), 255 - IMAGES)
    half = corrupt(IMAGES, "invert", 0.5, 0)
    assert np.array_equal(half[IMAGES < 128], IMAGES[IMAGES < 128])
    assert np.array_equal(half[IMAGES >= 128], 255 - IMAGES[IMAGES >= 128])


def test_blur_is_scipys_gaussian() -> None:
    expected = ndimage.gaussian_filter(IMAGES.astype(float), (0, 1.0, 1.0, 0), mode="mirror", truncate=3.0)
    assert np.abs(corrupt(IMAGES, "blur", 0.5, 0) - expected).max() < 0.51  # 0.5 x 32 / 16 = 1 pixel


def test_edges_at_1_are_sobels_and_a_plain_image_becomes_white() -> None:
    grey = IMAGES @ np.array([0.299, 0.587, 0.114])
    slopes = ([ndimage.sobel(image, axis, mode="mirror") for image in grey] for axis in (0, 1))
    steepness = np.hypot(*map(np.stack, slopes))
    expected = np.maximum(255 - corruptions.EDGE_GAIN * steepness, 0)
    assert np.abs(corrupt(IMAGES, "edges", 1.0, 0) - expected[..., None]).max() < 0.51
    assert (corrupt(np.full((1, 8, 8, 3), 70, np.uint8), "edges", 1.0, 0) == 255).all()


def test_noise_has_its_standard_deviation() -> None:
    plain = np.full((20, 32, 32, 3), 128, np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None, None]
    difference = corrupt(plain, "noise", 0.5, 0).astype(float) - plain
    assert difference.std() == pytest.approx(32, rel=0.02)
    assert difference.mean() == pytest.approx(0, abs=0.5)
    first, second = difference[:2]
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] == pytest.approx(0, abs=0.06)
