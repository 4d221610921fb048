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
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ray_ssl.data.base import Dataset, ImageSet
from ray_ssl.data_config import DataConfig
from ray_ssl.rng import numpy_stream

Floats = NDArray[np.floating]
Points = tuple[tuple[float, float], ...]
Domain = Literal["photo", "sketch"]

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


class Shape(NamedTuple):
    """One class, in a frame where the shape fills the unit circle.

    Attributes:
        coarse: Its superclass.
        body: Corners of the closed outline, or of an open stroke where `is_stroke`.
        hole: Corners of what is cut out of the body.
        is_stroke: The body is a thin open line.
    """

    coarse: str
    body: Points
    hole: Points = ()
    is_stroke: bool = False


def _polar(radii: Sequence[float], turns: Sequence[float], x: float = 0.0) -> Points:
    """Corners at (radius, turn), moved by x; rounded, so that no library's last digit of a cosine matters."""
    angles = [2 * math.pi * t for t in turns]
    return tuple(
        (round(r * math.sin(a) + x, 6), round(-r * math.cos(a), 6)) for r, a in zip(radii, angles, strict=True)
    )


def _regular(num_corners: int, radius: float = 1.0, x: float = 0.0) -> Points:
    return _polar([radius] * num_corners, [i / num_corners for i in range(num_corners)], x)


def _star(num_points: int, inner: float) -> Points:
    return _polar([1.0, inner] * num_points, [i / (2 * num_points) for i in range(2 * num_points)])


def _path(radius: tuple[float, float], turn: tuple[float, float], num_corners: int = 20) -> Points:
    """An arc or spiral: radius and turn go evenly from first to last."""
    steps = [i / (num_corners - 1) for i in range(num_corners)]
    return _polar(
        [radius[0] + s * (radius[1] - radius[0]) for s in steps], [turn[0] + s * (turn[1] - turn[0]) for s in steps]
    )


def _wave() -> Points:
    steps = [i / 20 for i in range(21)]
    return tuple((round(2 * s - 1, 6), round(0.42 * math.sin(4 * math.pi * s), 6)) for s in steps)


SHAPES: Final[dict[str, Shape]] = {
    "triangle": Shape("polygon", _regular(3)),
    "square": Shape("polygon", _regular(4)),
    "pentagon": Shape("polygon", _regular(5)),
    "hexagon": Shape("polygon", _regular(6)),
    "star3": Shape("star", _star(3, 0.28)),
    "star4": Shape("star", _star(4, 0.36)),
    "star5": Shape("star", _star(5, 0.42)),
    "star8": Shape("star", _star(8, 0.58)),
    "disc": Shape("round", _regular(20)),
    "ring": Shape("round", _regular(20), _regular(16, 0.52)),
    "crescent": Shape("round", _regular(20), _regular(20, 0.85, 0.55)),
    "half_disc": Shape("round", _polar([1.0] * 13, [i / 24 for i in range(13)], -0.4)),
    "letter_t": Shape("letter", ((-0.8, -0.9), (0.8, -0.9), (0.8, -0.4), (0.25, -0.4), (0.25, 0.9), (-0.25, 0.9),
                                 (-0.25, -0.4), (-0.8, -0.4))),
    "letter_l": Shape("letter", ((-0.6, -0.95), (-0.1, -0.95), (-0.1, 0.45), (0.7, 0.45), (0.7, 0.95), (-0.6, 0.95))),
    "letter_h": Shape("letter", ((-0.75, -0.85), (-0.3, -0.85), (-0.3, -0.22), (0.3, -0.22), (0.3, -0.85),
                                 (0.75, -0.85), (0.75, 0.85), (0.3, 0.85), (0.3, 0.22), (-0.3, 0.22), (-0.3, 0.85),
                                 (-0.75, 0.85))),
    "letter_x": Shape("letter", ((-0.25, -0.95), (0.25, -0.95), (0.25, -0.25), (0.95, -0.25), (0.95, 0.25),
                                 (0.25, 0.25), (0.25, 0.95), (-0.25, 0.95), (-0.25, 0.25), (-0.95, 0.25),
                                 (-0.95, -0.25), (-0.25, -0.25))),
    "wave": Shape("stroke", _wave(), is_stroke=True),
    "zigzag": Shape("stroke", ((-1.0, 0.5), (-0.6, -0.5), (-0.2, 0.5), (0.2, -0.5), (0.6, 0.5), (1.0, -0.5)),
                    is_stroke=True),
    "spiral": Shape("stroke", _path((0.1, 1.0), (0.0, 2.0), 28), is_stroke=True),
    "arc": Shape("stroke", _path((0.95, 0.95), (0.0, 0.62)), is_stroke=True),
}  # fmt: skip
FINE_NAMES: Final = tuple(SHAPES)
COARSE_NAMES: Final = tuple(dict.fromkeys(shape.coarse for shape in SHAPES.values()))


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


class _Scene(NamedTuple):
    """What stands in each of B images; float32. Lengths are on the scale where the image goes from -1 to 1.

    Attributes:
        body: Corners of the shape [B, V, 2].
        hole: Corners of its hole [B, H, 2].
        half_width: Half the width of a photo's stroke and of a sketch's pen [B, 2].
        blobs: Clutter [B, 3, 4]: x, y, radius, and from 0 (disc) to 1 (square).
        colours: [B, 5, 3] of the background, the shape and the blobs.
        texture: [B, 2, 7] of the background and the shape: see `_texture`.
        noise: Amplitude of the pixel noise [B].
    """

    body: Floats
    hole: Floats
    half_width: Floats
    blobs: Floats
    colours: Floats
    texture: Floats
    noise: Floats


def _draw_block(shape: Shape, domain: Domain, rng: np.random.Generator, out: NDArray[np.uint8]) -> None:
    """Fills `out` [n, S, S, 3], n <= BLOCK; image i does not depend on n: the scenes are drawn before all noise."""
    size = out.shape[1]
    scene = _draw_scene(shape, domain, rng)
    step = max(1, PIXELS_AT_ONCE // size**2)
    for start in range(0, len(out), step):
        part = _Scene(*(field[start : min(start + step, len(out))] for field in scene))
        distance = _shape_distance(shape, part, domain, size)
        pixels = _paint_photo(part, distance) if domain == "photo" else _paint_sketch(part, distance)
        noise = rng.random(pixels.shape, np.float32) - np.float32(0.5)
        pixels += noise * part.noise[:, None, None, None]
        levels = (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
        out[start : start + step] = levels.transpose(0, 2, 3, 1)


def _draw_scene(shape: Shape, domain: Domain, rng: np.random.Generator) -> _Scene:
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
    return _Scene(*(field.astype(np.float32) for field in scene))


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


def _paint_photo(scene: _Scene, distance: Floats) -> Floats:
    """Filled shape over two blobs and under a third, all textured; [n, 3, S, S] from distances [n, S, S]."""
    size = distance.shape[-1]
    pixels = scene.colours[:, 0, :, None, None] + _texture(scene.texture[:, 0], size)[:, None]
    for i in (0, 1):
        _cover(pixels, scene.colours[:, 2 + i, :, None, None], _blob_distance(scene.blobs[:, i], size))
    _cover(pixels, scene.colours[:, 1, :, None, None] + _texture(scene.texture[:, 1], size)[:, None], distance)
    _cover(pixels, scene.colours[:, 4, :, None, None], _blob_distance(scene.blobs[:, 2], size))
    return pixels


def _paint_sketch(scene: _Scene, distance: Floats) -> Floats:
    """Outlines of two blobs, then of the shape, on paper; [n, 3, S, S] from distances [n, S, S]."""
    size, pen = distance.shape[-1], scene.half_width[:, None, None]
    pixels = scene.colours[:, 0, :, None, None] + np.float32(0.3) * _texture(scene.texture[:, 0], size)[:, None]
    for i in (0, 1):
        outline = np.abs(_blob_distance(scene.blobs[:, i], size)) - pen
        _cover(pixels, scene.colours[:, 2 + i, :, None, None], outline)
    _cover(pixels, scene.colours[:, 1, :, None, None], np.abs(distance) - pen)
    return pixels


def _cover(pixels: Floats, colour: Floats, distance: Floats) -> None:
    """Paints `colour` in place where `distance` [n, S, S] is negative, with a ramp one pixel wide at the rim."""
    share = np.clip(np.float32(0.5) - distance * np.float32(distance.shape[-1] / 2), 0, 1)[:, None]
    pixels += (colour - pixels) * share


def _texture(texture: Floats, size: int) -> Floats:
    """Stripes, plaid or nothing, and a gradient [n, S, S].

    Args:
        texture: [n, 7]: frequency in x and y, phase, strength along and across, slope in x and y.
        size: S.
    """
    x, y = _grid(size)
    fx, fy, phase, along, across, slope_x, slope_y = texture.T[:, :, None, None]
    stripes = along * _triangle_wave(x * fx + y * fy + phase) + across * _triangle_wave(y * fx - x * fy + phase)
    return stripes + x * slope_x + y * slope_y


def _triangle_wave(x: Floats) -> Floats:
    return np.abs(x - np.floor(x) - np.float32(0.5)) * 4 - 1


def _grid(size: int) -> tuple[Floats, Floats]:
    """Pixel centres: x [1, 1, S] and y [1, S, 1], from -1 to 1."""
    centres = ((np.arange(size, dtype=np.float32) + np.float32(0.5)) * 2 - size) / np.float32(size)
    return centres[None, None, :], centres[None, :, None]


def _blob_distance(blobs: Floats, size: int) -> Floats:
    """Signed distance [n, S, S] to a disc or a square, from [n, 4]."""
    x, y = _grid(size)
    blob_x, blob_y, radius, is_square = blobs.T[:, :, None, None]
    x, y = np.abs(x - blob_x), np.abs(y - blob_y)
    return np.where(is_square > 0, np.maximum(x, y), np.sqrt(x * x + y * y)) - radius


def _shape_distance(shape: Shape, scene: _Scene, domain: Domain, size: int) -> Floats:
    """Signed distance [n, S, S], negative inside; of a sketched stroke the distance to its middle line."""
    distance, inside = _distance(scene.body, size, is_closed=not shape.is_stroke)
    if shape.is_stroke:
        return distance - scene.half_width[:, None, None] if domain == "photo" else distance
    distance = np.where(inside, -distance, distance)
    if shape.hole:
        hole, inside = _distance(scene.hole, size, is_closed=True)
        distance = np.maximum(distance, np.where(inside, hole, -hole))
    return distance


def _distance(corners: Floats, size: int, is_closed: bool) -> tuple[Floats, NDArray[np.bool_]]:
    """Distance to the nearest edge between corners [n, V, 2], and whether a pixel is inside (even-odd rule)."""
    x, y = _grid(size)
    shape = (len(corners), size, size)
    squared, inside = np.full(shape, np.inf, np.float32), np.zeros(shape, np.bool_)
    for i in range(0 if is_closed else 1, corners.shape[1]):
        ax, ay, bx, by = (c[:, None, None] for c in (*corners[:, i - 1].T, *corners[:, i].T))
        ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
        length = np.maximum(ex * ex + ey * ey, np.float32(1e-12))
        along = np.clip(px * (ex / length) + py * (ey / length), 0, 1)
        dx, dy = px - along * ex, py - along * ey
        np.minimum(squared, dx * dx + dy * dy, out=squared)
        if is_closed:
            inside ^= ((ay > y) != (by > y)) & ((px * ey < py * ex) == (by > ay))
    return np.sqrt(squared), inside
