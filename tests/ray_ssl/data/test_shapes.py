"""Shapes: deterministic, balanced, hierarchical, and learnable beyond colour."""

from functools import cache
from typing import Any, Literal

import numpy as np
import pytest

from ray_ssl.data import Dataset, load_dataset
from ray_ssl.data.shape_outlines import COARSE_NAMES, FINE_NAMES, SHAPES
from ray_ssl.data.shape_pixels import _distance, _grid, _shape_distance
from ray_ssl.data.shapes import _draw_scene, _draw_textures, _typical_textures
from ray_ssl.data_config import DataConfig
from ray_ssl.rng import numpy_stream

Domain = Literal["photo", "sketch", "both"]


def draw(num_images: int = 240, num_test_images: int = 40, **options: Any) -> Dataset:
    return load_dataset(DataConfig(num_images=num_images, num_test_images=num_test_images, **options))


drawn = cache(draw)


def test_default_sizes_are_4000_and_1000_and_balanced() -> None:
    dataset = load_dataset(DataConfig())
    assert dataset.fingerprint == drawn(4000, 1000).fingerprint
    assert np.bincount(dataset.train.fine).tolist() == [200] * 20
    assert np.bincount(dataset.test.fine).tolist() == [50] * 20
    assert dataset.train.images.shape == (4000, 32, 32, 3)


def test_hierarchy_is_five_superclasses_of_four() -> None:
    train = drawn().train
    assert train.coarse is not None
    assert (len(train.coarse_names), len(train.fine_names)) == (5, 20)
    pairs = set(zip(train.fine.tolist(), train.coarse.tolist(), strict=True))
    assert len(pairs) == 20
    assert np.bincount([coarse for _, coarse in pairs]).tolist() == [4] * 5
    assert {FINE_NAMES[f] for f, c in pairs if COARSE_NAMES[c] == "letter"} == {f"letter_{x}" for x in "tlhx"}


@pytest.mark.parametrize("domain", ["photo", "sketch", "both"])
def test_same_seed_same_bytes_other_seed_other_bytes(domain: Domain) -> None:
    assert draw(shapes_domain=domain).fingerprint == drawn(shapes_domain=domain).fingerprint
    assert draw(shapes_domain=domain, data_seed=1).fingerprint != drawn(shapes_domain=domain).fingerprint


@pytest.mark.parametrize("domain", ["photo", "both"])
def test_a_smaller_set_begins_a_larger_one(domain: Domain) -> None:
    small, large = drawn(50, 20, shapes_domain=domain).train, drawn(1100, 20, shapes_domain=domain).train
    np.testing.assert_array_equal(small.images, large.images[:50])
    assert np.ptp(np.bincount(small.fine)) == 1


def test_no_image_is_drawn_twice() -> None:
    dataset = drawn(4000, 1000)
    images = np.concatenate((dataset.train.images, dataset.test.images))
    assert len({image.tobytes() for image in images}) == 5000


def test_both_is_half_photo_half_sketch_in_every_class() -> None:
    both, photo, sketch = (drawn(240, shapes_domain=d).train for d in ("both", "photo", "sketch"))
    photos = {image.tobytes() for image in photo.images}
    sketches = {image.tobytes() for image in sketch.images}
    for label in range(20):
        images = [image.tobytes() for image in both.images[both.fine == label]]
        assert [i in photos for i in images] == [True, False] * 6
        assert [i in sketches for i in images] == [False, True] * 6


def test_photo_is_coloured_and_sketch_is_dark_on_light() -> None:
    photo, sketch = drawn().train.images / 255, drawn(shapes_domain="sketch").train.images / 255
    assert np.ptp(photo.mean((1, 2)), axis=1).mean() > 3 * np.ptp(sketch.mean((1, 2)), axis=1).mean()
    assert (np.median(sketch, (1, 2, 3)) > 0.6).all()


def test_a_disc_is_filled_and_a_ring_is_not() -> None:
    """Areas of the distances below zero, against closed forms."""

    def area(name: str) -> float:
        scene = _draw_scene(SHAPES[name], "photo", numpy_stream(0, "test"))
        return float((_shape_distance(SHAPES[name], scene, "photo", 64) < 0).mean())

    assert area("ring") == pytest.approx(area("disc") * (1 - 0.52**2), rel=0.05)
    assert area("square") == pytest.approx(area("disc") * 2 / np.pi, rel=0.05)
    assert area("half_disc") == pytest.approx(area("disc") / 2, rel=0.05)


def test_distance_of_a_square_is_the_closed_form() -> None:
    corners = np.array([[[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]], np.float32)
    distance, inside = _distance(corners, 32, is_closed=True)
    x, y = (np.abs(g) - 0.5 for g in _grid(32))
    expected = np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0)
    np.testing.assert_allclose(np.where(inside, -distance, distance), expected, atol=1e-6)


def test_mean_colour_does_not_tell_the_class() -> None:
    """Nearest class mean of the mean colour is at most twice chance: classes differ in shape, not in colour."""
    dataset = drawn(4000, 1000)
    colour, test_colour = dataset.train.images.mean((1, 2)), dataset.test.images.mean((1, 2))
    centres = np.stack([colour[dataset.train.fine == label].mean(0) for label in range(20)])
    guess = np.argmin(((test_colour[:, None] - centres) ** 2).sum(-1), axis=1)
    assert (guess == dataset.test.fine).mean() < 0.10


def test_most_textures_are_those_of_the_superclass_and_of_the_class() -> None:
    assert len({_typical_textures(shape) for shape in SHAPES.values()}) == 20
    for coarse in COARSE_NAMES:
        kinds = [_typical_textures(shape) for shape in SHAPES.values() if shape.coarse == coarse]
        assert len({background for background, _ in kinds}) == 1
        assert len({fill for _, fill in kinds}) == 4
    rng = numpy_stream(0, "test")
    drawn_textures = np.concatenate([_draw_textures(2, rng) for _ in range(40)])
    fine_stripes = (np.hypot(*drawn_textures[:, :2].T) > 2.5) & (drawn_textures[:, 4] == 0)
    assert fine_stripes.mean() == pytest.approx(0.8 + 0.2 / 5, abs=0.03)


@pytest.mark.parametrize("size", [8, 48, 260])
def test_any_image_size(size: int) -> None:
    assert drawn(20, 2, image_size=size).train.images.shape == (20, size, size, 3)
