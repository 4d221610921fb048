"""shapes: drawn, not downloaded: 20 classes in 5 superclasses, as filled photos or outline sketches.

Superclass members share structure (convex sides, spikes, round rims, bars, thin strokes); position, size,
rotation, stretch, colour, texture and clutter vary inside every class. As in photographs, surroundings and material
go with the kind of thing: most backgrounds of a superclass, and most fills of a class, share a kind of texture (plain,
striped or plaid, coarse or fine), in any direction, colour and strength; mean colours tell nothing.

Pixels are made of sums, products, quotients and square roots alone, which IEEE 754 fixes exactly: the same seed draws
the same bytes everywhere.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ray_ssl.data.base import Dataset, ImageSet
from ray_ssl.data.shape_outlines import COARSE_NAMES, FINE_NAMES, SHAPES, Points, Shape
from ray_ssl.data.shape_pixels import Domain, Floats, Scene, paint
from ray_ssl.data_config import DataConfig
from ray_ssl.rng import numpy_stream

DEFAULT_NUM_IMAGES: Final = 4000
DEFAULT_NUM_TEST_IMAGES: Final = 1000
TYPICAL_SHARE: Final = 0.8  # of the images have the texture that goes with their superclass, or their class
TEXTURE_STRENGTH: Final = (0.12, 0.25)
BLOCK: Final = 50  # images that share one random stream
PIXELS_AT_ONCE: Final = 1 << 16  # keeps the working arrays in the processor's cache


class Texture(NamedTuple):
    """A kind of pattern: waves per half image side, and their strength along and across."""

    frequency: float
    along: float
    across: float


TEXTURES: Final = (
    Texture(0.0, 0.0, 0.0),
    Texture(1.5, 1.0, 0.0),
    Texture(3.5, 1.0, 0.0),
    Texture(1.5, 0.7, 0.7),
    Texture(3.5, 0.7, 0.7),
)
"""Plain, coarse and fine stripes, coarse and fine plaid."""


def load(config: DataConfig) -> Dataset:
    """Returns shapes drawn for `config`: sizes, image size, domain and seed; a smaller set begins a larger one."""
    name = "shapes" if config.shapes_domain == "photo" else f"shapes-{config.shapes_domain}"
    return Dataset(
        name,
        draw(config, "train", config.num_images or DEFAULT_NUM_IMAGES),
        draw(config, "test", config.num_test_images or DEFAULT_NUM_TEST_IMAGES),
    )


def draw(config: DataConfig, split: str, num_images: int, classes: Sequence[str] = FINE_NAMES) -> ImageSet:
    """Returns `num_images` shapes; image i is of class i mod 20, and of "both" domains each class alternates.

    Args:
        config: Image size, domain and seed.
        split: "train" or "test": which random streams are used.
        num_images: N.
        classes: Those that are drawn, instead of all 20.
    """
    size, num_classes = config.image_size, len(classes)
    domains: tuple[Domain, ...] = ("photo", "sketch") if config.shapes_domain == "both" else (config.shapes_domain,)
    images = np.empty((num_images, size, size, 3), np.uint8)
    for label, name in enumerate(classes):
        for i, domain in enumerate(domains):
            rows = images[label + i * num_classes :: len(domains) * num_classes]
            for start in range(0, len(rows), BLOCK):
                purpose = f"shapes/{split}/{domain}/{name}"
                rng = numpy_stream(config.data_seed, purpose, step=start // BLOCK)
                _draw_block(SHAPES[name], domain, rng, rows[start : start + BLOCK])
    fine = np.arange(num_images) % num_classes
    coarse_of = np.array([COARSE_NAMES.index(SHAPES[name].coarse) for name in classes], np.int64)
    return ImageSet(images, fine, tuple(classes), coarse_of[fine], COARSE_NAMES)


def _draw_block(shape: Shape, domain: Domain, rng: np.random.Generator, out: NDArray[np.uint8]) -> None:
    """Fills `out` [n, S, S, 3], n <= BLOCK; image i does not depend on n: the scenes are drawn before all noise."""
    size = out.shape[1]
    scene = _draw_scene(shape, domain, rng)
    step = max(1, PIXELS_AT_ONCE // size**2)
    for start in range(0, len(out), step):
        part = Scene(*(field[start : min(start + step, len(out))] for field in scene))
        pixels = paint(shape, part, domain, size)
        noise = rng.random(pixels.shape, np.float32) - np.float32(0.5)
        pixels += noise * part.noise[:, None, None, None]
        levels = (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
        out[start : start + step] = levels.transpose(0, 2, 3, 1)


def _draw_scene(shape: Shape, domain: Domain, rng: np.random.Generator) -> Scene:
    place = _placement(rng)
    low, high = (0.05, 0.09) if domain == "photo" else (0.03, 0.05)
    texture = np.stack([_draw_textures(kind, rng) for kind in _typical_textures(shape)], axis=1)
    largest = np.array([[0.3], [0.3], [0.18]])  # the last one stands before the shape
    centres, radii = rng.uniform(-1, 1, (BLOCK, 3, 2)), rng.uniform(0.08, largest, (BLOCK, 3, 1))
    blobs = np.concatenate((centres, radii, rng.choice([0.0, 1.0], (BLOCK, 3, 1))), axis=2)
    scene = (
        place(shape.body, rng),
        place(shape.hole, rng),
        rng.uniform(low, high, BLOCK),
        blobs,
        _photo_colours(rng) if domain == "photo" else _sketch_colours(rng),
        texture,
        rng.uniform(0.02, 0.12, BLOCK),
    )
    return Scene(*(field.astype(np.float32) for field in scene))


def _typical_textures(shape: Shape) -> tuple[int, int]:
    """Numbers of the textures that go with a shape's superclass (background) and with its class (fill)."""
    superclass = COARSE_NAMES.index(shape.coarse)
    members = [other for other in SHAPES.values() if other.coarse == shape.coarse]
    return superclass % len(TEXTURES), (superclass + members.index(shape)) % len(TEXTURES)


def _draw_textures(typical: int, rng: np.random.Generator) -> Floats:
    """Parameters [B, 7] of `_texture`: mostly of the typical kind, in any direction, with any gradient."""
    is_typical = rng.random((BLOCK, 1)) < TYPICAL_SHARE
    kind = np.where(is_typical, typical, rng.integers(0, len(TEXTURES), (BLOCK, 1)))
    frequency, along, across = (np.array(column)[kind] for column in zip(*TEXTURES, strict=True))
    strength = rng.uniform(*TEXTURE_STRENGTH, (BLOCK, 1))
    columns = (
        frequency * rng.uniform(0.8, 1.25, (BLOCK, 1)) * _directions(rng, (BLOCK,)),
        rng.uniform(0, 1, (BLOCK, 1)),
        strength * along,
        strength * across,
        rng.uniform(-0.12, 0.12, (BLOCK, 2)),
    )
    return np.concatenate(columns, axis=1)


def _directions(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Random unit vectors [*shape, 2], rounded like the corners of the shapes."""
    angle = rng.uniform(0, 2 * math.pi, shape)
    return np.round(np.stack((np.cos(angle), np.sin(angle)), -1), 6)


def _placement(rng: np.random.Generator) -> Callable[[Points, np.random.Generator], Floats]:
    """One random stretch, turn, size and place for each of B images, as a function: corners [V, 2] -> [B, V, 2]."""
    radius = rng.uniform(0.5, 0.85, (BLOCK, 1))
    shift = rng.uniform(-0.9, 0.9, (BLOCK, 2, 1)) * (1 - radius[:, None])
    narrow = rng.uniform(0.75, 1, (BLOCK, 1))
    mirror = rng.choice([-1.0, 1.0], (BLOCK, 1))
    first, second = _directions(rng, (BLOCK, 1)), _directions(rng, (BLOCK, 1))

    def place(corners: Points, rng: np.random.Generator) -> Floats:
        x, y = np.array(corners).reshape(-1, 2).T[:, None] + rng.uniform(-0.04, 0.04, (2, BLOCK, len(corners)))
        x, y = _turn(x * mirror, y, first)
        x, y = _turn(x * narrow, y, second)
        return np.stack((x * radius + shift[:, 0], y * radius + shift[:, 1]), -1)

    return place


def _turn(x: Floats, y: Floats, direction: Floats) -> tuple[Floats, Floats]:
    cos, sin = direction[..., 0], direction[..., 1]
    return cos * x - sin * y, sin * x + cos * y


def _photo_colours(rng: np.random.Generator) -> Floats:
    """Any colours, but the shape is lighter or darker than the background by up to 0.6, mostly at least 0.2."""
    colours = rng.uniform(0.08, 0.92, (BLOCK, 5, 3))
    lightness = colours[..., 0] * 0.3 + colours[..., 1] * 0.59 + colours[..., 2] * 0.11  # [B, 5]
    contrast = rng.uniform(0.2, 0.6, BLOCK) * np.where(lightness[:, 0] < rng.uniform(0.35, 0.65, BLOCK), 1, -1)
    colours[:, 1] += (lightness[:, 0] + contrast - lightness[:, 1])[:, None]
    return np.clip(colours, 0, 1)


def _sketch_colours(rng: np.random.Generator) -> Floats:
    """Light paper, a dark pen, and blobs drawn by a lighter pen."""
    paper = rng.uniform(0.72, 0.95, (BLOCK, 1, 1)) + rng.uniform(-0.06, 0.06, (BLOCK, 1, 3))
    pen = rng.uniform(0.05, 0.4, (BLOCK, 1, 1)) + rng.uniform(-0.1, 0.1, (BLOCK, 1, 3))
    faint = pen + (paper - pen) * rng.uniform(0.1, 0.6, (BLOCK, 3, 1))
    return np.clip(np.concatenate((paper, pen, faint), axis=1), 0, 1)
