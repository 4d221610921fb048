"""Paints the scenes of `shapes`, many at once: signed distances to outlines, covered pixel by pixel.

Sums, products, quotients and square roots alone, which IEEE 754 fixes exactly: the same scene has the same bytes
everywhere.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ray_ssl.data.shape_outlines import Shape

Floats = NDArray[np.floating]
Domain = Literal["photo", "sketch"]


class Scene(NamedTuple):
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


def paint(shape: Shape, scene: Scene, domain: Domain, size: int) -> Floats:
    """Returns the pixels of every scene without their noise, float32 [n, 3, S, S], mostly 0 to 1.

    Args:
        shape: The class that stands in the scenes.
        scene: What is drawn.
        domain: As a filled photo or as an outline sketch.
        size: S.
    """
    distance = _shape_distance(shape, scene, domain, size)
    return _paint_photo(scene, distance) if domain == "photo" else _paint_sketch(scene, distance)


def _paint_photo(scene: Scene, distance: Floats) -> Floats:
    """Filled shape over two blobs and under a third, all textured; [n, 3, S, S] from distances [n, S, S]."""
    size = distance.shape[-1]
    pixels = scene.colours[:, 0, :, None, None] + _texture(scene.texture[:, 0], size)[:, None]
    for i in (0, 1):
        _cover(pixels, scene.colours[:, 2 + i, :, None, None], _blob_distance(scene.blobs[:, i], size))
    _cover(pixels, scene.colours[:, 1, :, None, None] + _texture(scene.texture[:, 1], size)[:, None], distance)
    _cover(pixels, scene.colours[:, 4, :, None, None], _blob_distance(scene.blobs[:, 2], size))
    return pixels


def _paint_sketch(scene: Scene, distance: Floats) -> Floats:
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


def _shape_distance(shape: Shape, scene: Scene, domain: Domain, size: int) -> Floats:
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
