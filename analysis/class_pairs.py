"""Pairs of classes: which are measured, and what the table calls them."""

from __future__ import annotations

from itertools import combinations
from typing import Final

from ray_ssl.rng import numpy_stream

MAX_PAIRS: Final = 200
"""Pairs that are measured where no number is given: all of 20 classes."""


PAIR_MARK: Final = ":"
"""What no name of another level holds."""


def pair_level(level: str, first: int, second: int) -> str:
    """Returns what the table calls two labels of a level, e.g. "class:3-17"."""
    return f"{level}{PAIR_MARK}{first}-{second}"


def class_pairs(num_classes: int, num_pairs: int = MAX_PAIRS) -> list[tuple[int, int]]:
    """Returns pairs i < j of 0 .. num_classes - 1, sorted: all, or as many random ones; fewer are part of more."""
    every = list(combinations(range(num_classes), 2))
    order = numpy_stream(0, "class pairs").permutation(len(every))
    return sorted(every[i] for i in order[:num_pairs])
