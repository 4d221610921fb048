"""The outlines of the classes of `shapes`, as corners in a frame where each fills the unit circle."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

Points = tuple[tuple[float, float], ...]


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
