"""Linear test accuracy of classes by layer, one line for each epoch.

Corresponds to figure 5 left of arXiv 2305.15614.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.by_layer import draw_by_layer, linear_by_layer
from analysis.figures.base.numbers import LINEAR, Frame, level_names
from analysis.figures.base.targets import self_supervised_if_any
from analysis.needs import Measured

TITLE = "Linear test accuracy of classes by layer"

NEEDS = (Measured(LINEAR, "class", "test", num_layers=2),)


def numbers(table: Frame) -> Frame:
    """Returns linear test accuracy by network, epoch and layer, with that of chance."""
    return linear_by_layer(table, "class")


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no two layers."""
    note = f"{level_names(table)['class']}, linear probe, test images"
    return draw_by_layer(
        self_supervised_if_any(table), numbers(table), TITLE, note, "linear accuracy (%)", percent=True
    )
