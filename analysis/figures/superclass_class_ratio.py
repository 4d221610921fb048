"""Superclass over class linear test accuracy by layer, at initialisation and at the last epoch.

Corresponds to figure 5 right of arXiv 2305.15614.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.numbers import (
    LINEAR,
    Frame,
    distinct_layers,
    largest,
    last_epoch,
    over_seeds,
    prepare,
    ratio,
    seeds_note,
    values,
)
from analysis.figures.base.panels import LAYER_AXIS, LEVEL_COLOURS, MAX_PANELS, lines, number
from analysis.figures.base.sheet import GREY, Line, Words

TITLE = "Superclass over class accuracy by layer"

LOOKS = {
    "initialisation": Line("initialisation", GREY, dashed=True),
    "last epoch": Line("last epoch", LEVEL_COLOURS["superclass"]),
}


def numbers(table: Frame) -> Frame:
    """Returns the ratio by network, stage (with its epoch) and layer; 1 is equal accuracy."""
    rows = values(distinct_layers(prepare(table, LINEAR)), LINEAR)
    ratios = ratio(rows[rows["level"] == "superclass"], rows[rows["level"] == "class"], ["split"])
    last = last_epoch(ratios)
    stages = [
        ratios[ratios["epoch"] == 0].assign(stage="initialisation"),
        last[last["epoch"] > 0].assign(stage="last epoch"),
    ]
    return over_seeds(pd.concat(stages), ["stage", "epoch", "layer"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there is no superclass level or there are no two layers."""
    found, left_out = largest(numbers(table), MAX_PANELS)
    if found["layer"].nunique() < 2:
        return None
    epochs = sorted({str(e) for e in found.loc[found["epoch"] > 0, "epoch"]}, key=int)
    stage = f"last epoch: {' or '.join(epochs)}; " if epochs else ""
    note = f"Linear test accuracy; {stage}{seeds_note(found)}{left_out}."
    words = Words(TITLE, note, LAYER_AXIS, "ratio of accuracies")
    return lines(found, x="layer", series="stage", looks=LOOKS, words=words, show=number)
