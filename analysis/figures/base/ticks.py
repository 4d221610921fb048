"""Ranges of axes, where their ticks are and what is written at them: numbers only, so that room can be kept for it."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from matplotlib.ticker import MaxNLocator

from analysis.figures.base.sheet import text_width

_LOG_STEPS: Final = ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 6, 8))
_LINE_APART: Final = 0.15  # inches between labels
_LAYER_STEPS: Final = (1, 2, 4, 5, 8, 10, 20, 25, 50, 100, 200, 500, 1000)
_PER_INCH: Final = 5.0  # labels of a vertical axis
_MOST_TICKS: Final = 8


def padded(low: float, high: float, log: bool) -> tuple[float, float]:
    """Returns the range with some air; on a log axis both are above 0."""
    if log:
        air = max((high / low) ** 0.06, 1.05)
        return low / air, high * air
    air = max(0.06 * (high - low), 0.02 * max(abs(high), abs(low)), 1e-6)
    return low - air, high + air


def reaching(low: float, high: float, chance: float) -> tuple[float, float]:
    """Returns the range, down to chance unless that would leave the data less than half of it (NaN: no chance)."""
    return (min(low, chance) if low - chance <= max(high - low, 0.1) else low), high


def y_ticks(low: float, high: float, inches: float, log: bool = False) -> list[float]:
    """Returns round values inside the range, two to eight and at most five an inch.

    Args:
        low, high: Range of the axis; above 0 on a log axis.
        inches: Its length.
        log: Logarithmic; ticks are then powers of ten, or 1, 2, 5 of each decade, or evenly apart in a short range.
    """
    most = min(max(3, round(inches * _PER_INCH)), _MOST_TICKS)
    linear = [
        _inside(MaxNLocator(n, steps=[1, 2, 5, 10]).tick_values(low, high), low, high) for n in range(most + 2, 0, -1)
    ]
    if not log:
        return next((found for found in linear if 2 <= len(found) <= most), linear[0])
    per_inch = np.log(high / low) / inches
    found = [_decades(low, high, steps) for steps in _LOG_STEPS]
    found += [found[0][::every] for every in (2, 3, 5)] + (linear if high < 10 * low else [])
    fitting = [ticks for ticks in found if len(ticks) > 1 and np.diff(np.log(ticks)).min() / per_inch >= _LINE_APART]
    return max([ticks for ticks in fitting if len(ticks) <= most] or fitting or [linear[0]], key=len)


def _decades(low: float, high: float, steps: tuple[int, ...]) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return _inside([float(f"{step}e{decade}") for decade in decades for step in steps], low, high)


def tick_labels(values: list[float], factor: float = 1.0) -> list[str]:
    """Returns the values times the factor: small ones all with as many decimals as one of them needs."""
    shown = [f"{factor * value:.10g}" if abs(factor * value) < 1e6 else f"{factor * value:.0e}" for value in values]
    if any("e" in text for text in shown) or (len(values) > 1 and max(values) > 20 * min(values) > 0):  # decades
        return shown
    decimals = max((len(text.partition(".")[2]) for text in shown), default=0)
    return [f"{factor * value:.{decimals}f}" for value in values]


def x_ticks(at: list[int], position: np.ndarray) -> list[int]:
    """Returns what is labelled where its number has room: the ends, powers of ten, round numbers, powers of two, rest.

    Args:
        at: Values, sorted.
        position: Where they are, in inches.
    """
    half = np.array([text_width(str(a)) / 2 + 0.045 for a in at])
    first = sorted(range(len(at)), key=lambda i: (i not in (0, len(at) - 1), *_roundness(at[i]), i))
    kept: list[int] = []
    for i in first:
        if all(abs(position[i] - position[k]) >= half[i] + half[k] for k in kept):
            kept.append(i)
    return [at[i] for i in sorted(kept)]


def _roundness(value: int) -> tuple[bool, bool, bool]:
    """Orders 1, 10, 100 before 2, 30, 500 before 16, 32, 64 before the rest."""
    digits = str(value).rstrip("0")
    return digits != "1", len(digits) > 1, value.bit_count() > 1


def layer_ticks(at: list[int], position: np.ndarray) -> list[int]:
    """Returns every layer, or every second, fourth ... where they are many; such that the last is one, if it can be.

    Args:
        at: Layers, sorted.
        position: Where they are, in inches.
    """
    room = text_width(str(at[-1])) + 0.08
    apart = (position[-1] - position[0]) / max(at[-1] - at[0], 1)
    fitting = [step for step in _LAYER_STEPS if step * apart >= room] or [_LAYER_STEPS[-1]]
    step = next((step for step in fitting[:4] if at[-1] % step == 0 and step <= at[-1]), fitting[0])
    return [layer for layer in range(0, at[-1] + 1, step) if layer >= at[0]]


def _inside(values: object, low: float, high: float) -> list[float]:
    found = np.unique(np.asarray(values, float))
    air = 1e-9 * (high - low)
    return [float(v) + 0.0 for v in found[(found >= low - air) & (found <= high + air)]]
