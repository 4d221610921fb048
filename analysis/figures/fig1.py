"""UMAP of the representation before and after training: views of five images, five classes, five superclasses.

Corresponds to figure 1 of arXiv 2305.15614: clusters at every level after training. One network is shown, the deepest
and widest of those without labels; the rows of another trial, given alone, draw that one.
"""

from __future__ import annotations

from typing import Final

from matplotlib.figure import Figure

from analysis.figures.base import PROJECTIONS
from analysis.figures.base.numbers import REPRESENTATION, Frame
from analysis.figures.base.points import ALONE, PanelRow, draw_points, looks, one_network, subsample, who
from analysis.figures.base.sheet import Words
from analysis.needs import Projected

TITLE = "UMAP of the representation before and after training"
TABLE: Final = PROJECTIONS
NEEDS: Final = (Projected("class", num_epochs=2),)

ROWS: Final = {"sample": "views of 5 images", "class": "5 classes", "superclass": "5 superclasses"}


def numbers(table: Frame) -> Frame:
    """Returns the points of one network's representation at its first and last epoch, of levels that both have."""
    found = one_network(table, 2)
    found = found[found["layer_name"] == REPRESENTATION]
    ends = [found["epoch"].min(), found["epoch"].max()]
    found = found[found["epoch"].isin(ends)]
    both = found.groupby("level")["epoch"].transform("nunique") == 2
    return found[both].reset_index(drop=True)


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where no network was projected at two epochs."""
    found = numbers(table)
    if found.empty:
        return None
    first, last = sorted(found["epoch"].unique())
    rows = []
    for level, of_level in found.groupby("level", sort=False):
        panels = [of_level[of_level["epoch"] == epoch] for epoch in (first, last)]
        rows.append(PanelRow(_name(str(level), of_level), panels, looks(of_level), legend=True))
    titles = [f"before training (epoch {first})" if first == 0 else f"epoch {first}", f"after training (epoch {last})"]
    words = Words(TITLE, f"{who(found, table)}; {subsample(found)}; {ALONE}.", "")
    return draw_points(rows, titles, words, widest=1.95)


def _name(level: str, found: Frame) -> str:
    return ROWS[level].replace("5", str(found["label"].nunique()))
