"""Superclass over class linear test accuracy by layer, one line for each epoch.

Corresponds to figure 5 right of arXiv 2305.15614.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.by_layer import draw_by_layer
from analysis.figures.base.numbers import (
    LINEAR,
    Frame,
    num_classes,
    over_seeds,
    prepare,
    ratio,
    values,
)
from analysis.figures.base.targets import self_supervised_if_any
from analysis.needs import Measured

TITLE = "Superclass over class accuracy by layer"

NEEDS = (Measured(LINEAR, "class", "test", num_layers=2), Measured(LINEAR, "superclass", "test", num_layers=2))


def numbers(table: Frame) -> Frame:
    """Returns the ratio by network, epoch and layer; 1 is equal accuracy. Networks: see `linear_by_layer`."""
    rows = values(prepare(self_supervised_if_any(table), LINEAR), LINEAR)
    ratios = ratio(rows[rows["level"] == "superclass"], rows[rows["level"] == "class"], ["split"])
    return over_seeds(ratios, ["epoch", "layer", "layer_name"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there is no superclass level or there are no two layers."""
    counts = {level: count for level, count in num_classes(table).items() if level in ("class", "superclass")}
    guess = f"{counts['class'] / counts['superclass']:.3g} for guessing, " if len(counts) > 1 else ""
    note = f"linear probe, test images; {guess}1 for equal accuracy"
    return draw_by_layer(
        self_supervised_if_any(table), numbers(table), TITLE, note, "ratio of accuracies", percent=False
    )
