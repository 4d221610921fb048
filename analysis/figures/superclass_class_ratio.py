"""Superclass over class linear test accuracy by layer, at initialisation and at the last epoch.

Corresponds to figure 5 right of arXiv 2305.15614.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import (
    LINEAR,
    Frame,
    distinct_layers,
    last_epoch,
    num_classes,
    over_seeds,
    prepare,
    ratio,
    seeds_note,
    subject,
    values,
)
from analysis.figures.base.panels import LAYER_AXIS, lines
from analysis.figures.base.sheet import Words

TITLE = "Superclass over class accuracy by layer"


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
    shown = networks(table)
    found = shown.drawn(numbers(table))
    if found["layer"].nunique() < 2:
        return None
    counts = {level: count for level, count in num_classes(table).items() if level in ("class", "superclass")}
    guess = f"{counts['class'] / counts['superclass']:.3g} for guessing, " if len(counts) > 1 else ""
    note = f"linear probe, test images; {guess}1 for equal accuracy; {seeds_note(found)}{shown.left_out}."
    epochs = sorted({str(e) for e in found.loc[found["epoch"] > 0, "epoch"]}, key=int)
    stages = {"initialisation": "initialisation", "last epoch": f"last epoch ({' or '.join(epochs)})"}
    found = found.assign(
        stage=found["stage"].map(stages), name="ratio of accuracies", group="", series=found["network"]
    )
    found = found.sort_values("stage", kind="stable")
    found = shown.in_columns(found, column="stage", row="name")
    return lines(found, shown.lines, Words(TITLE, f"{subject(table)}; {note}", LAYER_AXIS), shown.key, x="layer")
