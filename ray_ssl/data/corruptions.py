"""Images changed at graded strength: grey, blur, edges, noise, inversion.

Not the views' own (`ray_ssl.colour`, `ray_ssl.spatial`): these are part of the data, whose bytes a trial's key holds.
As in `shapes`, pixels are made of sums, products, quotients and square roots of single elements alone, so that they
are the same on every machine.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ray_ssl.rng import numpy_stream

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]

IMAGES_AT_ONCE: Final = 512
LUMINANCE: Final = (0.299, 0.587, 0.114)  # ITU-R BT.601
BLUR_SIGMA: Final = 1 / 16  # of the image's height
NOISE_LEVELS: Final = 64  # standard deviation, of 255
EDGE_GAIN: Final = 0.5


def corrupt(images: Images, kind: str, strength: float, seed: int) -> Images:
    """Returns the images, changed.

    Args:
        images: uint8 [N, H, W, 3].
        kind: One of
            grey: from the image (0) to its luminance (1), linearly;
            blur: Gaussian, standard deviation `strength` x 1/16 of the height, which is 2 of 32 pixels (of which less
            than a fifth of a pixel changes nothing);
            edges: from the image (0) to dark lines on white where luminance changes, by Sobel's filter (1), linearly;
            noise: independent in every pixel and channel, standard deviation `strength` x 64 of 255, close to normal;
            invert: values at or above (1 - `strength`) x 256 become 255 minus themselves: at 1 all of them. A linear
            way from an image to its negative would lead through plain grey.
        strength: 0 (the same images) to 1.
        seed: Of the noise, which is a function of this seed and the image.
    """
    if strength == 0:
        return images
    out = np.empty_like(images)
    for start in range(0, len(images), IMAGES_AT_ONCE):
        part = slice(start, start + IMAGES_AT_ONCE)
        out[part] = _noisy(images[part], strength, seed) if kind == "noise" else _PLAIN[kind](images[part], strength)
    return out


def _grey(images: Images, strength: float) -> Images:
    return _towards(images, _luminance(images)[..., None], strength)


def _blur(images: Images, strength: float) -> Images:
    sigma = strength * BLUR_SIGMA * images.shape[1]
    radius = min(math.ceil(3 * sigma), min(images.shape[1:3]) - 1)
    # Whole numbers of 2^-20: the last digit of a library's exponential must not matter.
    weights = [round(math.exp(-0.5 * (i / sigma) ** 2) * 2**20) for i in range(-radius, radius + 1)]
    blurred = images.astype(np.float32)
    for axis in (1, 2):
        blurred = _filtered(blurred, [w / sum(weights) for w in weights], axis)
    return _bytes(blurred)


def _edges(images: Images, strength: float) -> Images:
    grey = _luminance(images)
    smooth, slope = (1.0, 2.0, 1.0), (-1.0, 0.0, 1.0)
    across = _filtered(_filtered(grey, smooth, 1), slope, 2)
    down = _filtered(_filtered(grey, smooth, 2), slope, 1)
    steepness = np.sqrt(across * across + down * down)
    lines = np.maximum(np.float32(255) - np.float32(EDGE_GAIN) * steepness, np.float32(0))
    return _towards(images, lines[..., None], strength)


def _invert(images: Images, strength: float) -> Images:
    return np.where(images >= (1 - strength) * 256, 255 - images, images)


_PLAIN: Final[dict[str, Callable[[Images, float], Images]]] = {
    "grey": _grey, "blur": _blur, "edges": _edges, "invert": _invert
}  # fmt: skip


def _noisy(images: Images, strength: float, seed: int) -> Images:
    # The sum of four uniform numbers of 0..255 has variance 4 (256^2 - 1) / 12.
    factor = strength * NOISE_LEVELS / math.sqrt((256**2 - 1) / 3)
    noise = np.empty(images.shape, np.float32)
    for image, out in zip(images, noise, strict=True):
        rng = numpy_stream(seed, f"shift/noise/{hashlib.sha256(image.tobytes()).hexdigest()}")
        out[:] = rng.integers(0, 256, (4, *image.shape), np.uint8).sum(0, dtype=np.int32) - 510
    return _bytes(images + noise * np.float32(factor))


def _luminance(images: Images) -> Floats:
    red, green, blue = (images[..., c].astype(np.float32) * np.float32(w) for c, w in enumerate(LUMINANCE))
    return red + green + blue


def _filtered(values: Floats, weights: tuple[float, ...] | list[float], axis: int) -> Floats:
    """The weighted sum of each pixel's neighbours along an axis; the image is mirrored at its edges."""
    radius, size = len(weights) // 2, values.shape[axis]
    pad = [(radius, radius) if a == axis else (0, 0) for a in range(values.ndim)]
    padded = np.pad(values, pad, mode="reflect")
    total = np.zeros_like(values)
    for i, weight in enumerate(weights):
        if weight:
            rows = tuple(slice(i, i + size) if a == axis else slice(None) for a in range(values.ndim))
            total += padded[rows] * np.float32(weight)
    return total


def _towards(images: Images, other: Floats, strength: float) -> Images:
    return _bytes(images + np.float32(strength) * (other - images))


def _bytes(values: Floats) -> Images:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
