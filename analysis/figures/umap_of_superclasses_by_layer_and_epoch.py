"""UMAP of a few superclasses, test images: a row for each layer, a column for each epoch.

As `umap_by_layer_and_epoch`, which shows classes.
"""

from __future__ import annotations

from typing import Final

from matplotlib.figure import Figure

from analysis.figures.base import PROJECTIONS
from analysis.figures.base.numbers import Frame
from analysis.figures.base.points import by_layer_and_epoch, draw_grid
from analysis.needs import Projected

TITLE = "UMAP of superclasses by layer and epoch"
TABLE: Final = PROJECTIONS
NEEDS: Final = (Projected("superclass"),)


def numbers(table: Frame) -> Frame:
    """Returns the points of one network, of at most 6 layers and 6 epochs."""
    return by_layer_and_epoch(table, "superclass")


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where superclasses were not projected."""
    return draw_grid(table, "superclass", TITLE)
