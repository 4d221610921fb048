"""Nearest class-centre over linear test accuracy of the representation by epoch, relative to initialisation.

Corresponds to figure 2 middle of arXiv 2305.15614. Both accuracies are of the test images.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.numbers import (
    LINEAR,
    NCC,
    REPRESENTATION,
    Frame,
    largest,
    over_seeds,
    prepare,
    ratio,
    relative_to_start,
    seeds_note,
    values,
)
from analysis.figures.base.panels import LEVEL_COLOURS, MAX_PANELS, lines, number
from analysis.figures.base.sheet import Line, Words

TITLE = "NCC over linear accuracy by epoch"


def numbers(table: Frame) -> Frame:
    """Returns the ratio, over that of the same trial at epoch 0, by network, level and epoch."""
    table = prepare(table, LINEAR, NCC)
    table = table[table["layer_name"] == REPRESENTATION]
    ratios = ratio(values(table, NCC), values(table, LINEAR), ["level", "split"])
    return over_seeds(relative_to_start(ratios), ["level", "epoch"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where NCC, linear accuracy or epoch 0 is missing, or is all there is."""
    found, left_out = largest(numbers(table), MAX_PANELS)
    if found["epoch"].nunique() < 2:
        return None
    note = f"Test images, relative to initialisation; {seeds_note(found)}{left_out}."
    words = Words(TITLE, note, "epoch", "NCC / linear accuracy, relative")
    looks = {level: Line(level, colour) for level, colour in LEVEL_COLOURS.items()}
    return lines(found, x="epoch", series="level", looks=looks, words=words, show=number, reference=1)
