"""Linear test accuracy of superclasses by layer, one line for each epoch.

Corresponds to figure 5 middle of arXiv 2305.15614.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.by_layer import draw_by_layer, linear_by_layer
from analysis.figures.base.numbers import LINEAR, Frame, level_names
from analysis.figures.base.targets import self_supervised_if_any
from analysis.needs import Measured

TITLE = "Linear test accuracy of superclasses by layer"

NEEDS = (Measured(LINEAR, "superclass", "test", num_layers=2),)


def numbers(table: Frame) -> Frame:
    """Returns linear test accuracy by network, epoch and layer, with that of chance."""
    return linear_by_layer(table, "superclass")


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no superclasses or no two layers."""
    note = f"{level_names(table)['superclass']}, linear probe, test images"
    return draw_by_layer(
        self_supervised_if_any(table), numbers(table), TITLE, note, "linear accuracy (%)", percent=True
    )
