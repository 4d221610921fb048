"""Linear test accuracy by layer, one line for each epoch, for each label level.

Corresponds to figure 5 left (class) and middle (superclass) of arXiv 2305.15614.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.numbers import (
    LINEAR,
    Frame,
    distinct_layers,
    largest,
    over_seeds,
    prepare,
    seeds_note,
    values,
)
from analysis.figures.base.panels import LAYER_AXIS, MAX_PANELS, lines, shades
from analysis.figures.base.sheet import Words

TITLE = "Linear test accuracy by layer"


def numbers(table: Frame) -> Frame:
    """Returns linear test accuracy by network, level, epoch and layer."""
    return over_seeds(values(distinct_layers(prepare(table, LINEAR)), LINEAR), ["level", "epoch", "layer"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no two layers."""
    found = numbers(table)
    if found["layer"].nunique() < 2:
        return None
    levels = found["level"].unique()
    found, left_out = largest(found, MAX_PANELS // len(levels))
    looks = shades(sorted(found["epoch"].unique()), "epoch {}".format)
    words = Words(TITLE, f"Linear probe; {seeds_note(found)}{left_out}.", LAYER_AXIS, "test accuracy (%)")
    return lines(found, x="layer", series="epoch", looks=looks, words=words, panel=("network", "level"))
