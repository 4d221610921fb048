"""Linear and nearest class-centre test accuracy of the representation by epoch, for each label level.

Corresponds to figure 2 right (linear) and, on test images, figure 2 left (NCC) of arXiv 2305.15614.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.numbers import (
    LINEAR,
    NCC,
    REPRESENTATION,
    Frame,
    largest,
    over_seeds,
    prepare,
    seeds_note,
    values,
)
from analysis.figures.base.panels import LEVEL_COLOURS, MAX_PANELS, lines
from analysis.figures.base.sheet import Line, Words

TITLE = "Test accuracy of the representation by epoch"

LOOKS = {
    f"{level} {probe}": Line(level if probe == LINEAR else f"{level}, NCC", colour, dashed=probe == NCC)
    for level, colour in LEVEL_COLOURS.items()
    for probe in (LINEAR, NCC)
}


def numbers(table: Frame) -> Frame:
    """Returns accuracy by network, level, metric (linear or NCC) and epoch."""
    table = prepare(table, LINEAR, NCC)
    table = table[table["layer_name"] == REPRESENTATION]
    return over_seeds(pd.concat([values(table, LINEAR), values(table, NCC)]), ["level", "metric", "epoch"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no two epochs of linear accuracy."""
    found, left_out = largest(numbers(table), MAX_PANELS)
    if found.loc[found["metric"] == LINEAR, "epoch"].nunique() < 2:
        return None
    probes = "; dashed: nearest class-centre (NCC)" if (found["metric"] == NCC).any() else ""
    note = f"Linear probe{probes}; {seeds_note(found)}{left_out}."
    words = Words(TITLE, note, "epoch", "test accuracy (%)")
    found = found.assign(series=found["level"] + " " + found["metric"])
    return lines(found, x="epoch", series="series", looks=LOOKS, words=words)
