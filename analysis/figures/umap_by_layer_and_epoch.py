"""UMAP of a few classes, test images: a row for each layer, a column for each epoch.

Extends figure 1 of arXiv 2305.15614 to every layer and to the epochs between.
"""

from __future__ import annotations

from typing import Final

from matplotlib.figure import Figure

from analysis.figures.base import PROJECTIONS
from analysis.figures.base.numbers import Frame
from analysis.figures.base.points import by_layer_and_epoch, draw_grid
from analysis.needs import Projected

TITLE = "UMAP of classes by layer and epoch"
TABLE: Final = PROJECTIONS
NEEDS: Final = (Projected("class"),)


def numbers(table: Frame) -> Frame:
    """Returns the points of one network, of at most 6 layers and 6 epochs."""
    return by_layer_and_epoch(table, "class")


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where classes were not projected."""
    return draw_grid(table, "class", TITLE)
