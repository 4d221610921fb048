"""Linear test accuracy of the representation at the last epoch, over depth and width, for each label level.

Corresponds to the depth and width ablation of arXiv 2305.15614.
"""

from __future__ import annotations

from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figures.base.marks import hatched
from analysis.figures.base.numbers import (
    LEVELS,
    LINEAR,
    REPRESENTATION,
    Frame,
    level_names,
    over_seeds,
    prepare,
    seeds_note,
    subject,
    values,
    with_chance,
)
from analysis.figures.base.sheet import FONT, GREY, INK, SIZE, Row, Words, sheet, text_width
from analysis.figures.base.ticks import tick_labels, y_ticks

TITLE = "Linear test accuracy by depth and width"

LEAST_RANGE: Final = 0.10
"""Colours span at least this much accuracy, and 4 spreads over seeds: noise is not to look like an effect."""

_CELL, _BAR = 0.70, 0.09  # inches: width of a cell, height of a colour bar
_COLOURS = matplotlib.colormaps["YlGnBu"]
_DARKEST = 0.62  # of the colours: dark text stands out from all of them (contrast above 4.5)


def numbers(table: Frame) -> Frame:
    """Returns linear test accuracy by network and level at the last epoch of each method, with that of chance.

    Empty where networks cannot be told apart by method, depth and width alone.
    """
    rows = prepare(table, LINEAR)
    rows = values(rows[rows["layer_name"] == REPRESENTATION], LINEAR)
    rows = rows[(rows["depth"] > 0) & (rows["width"] > 0)]
    rows = rows[rows["epoch"] == rows.groupby("method")["epoch"].transform("max")]
    found = with_chance(over_seeds(rows, ["level", "epoch"]), table)
    return found.iloc[:0] if found.duplicated(["method", "depth", "width", "level"]).any() else found


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where no method has two depths or widths, or several settings share a depth and width."""
    every = numbers(table)
    found = every[every.groupby(["method", "level"])["network"].transform("nunique") > 1]
    if found.empty:
        return None
    grid = _Grid(found)
    num_alone = every["method"].nunique() - found["method"].nunique()
    alone = f"; without {num_alone} method(s) of one depth and width" if num_alone else ""
    names = level_names(table)
    epochs = " or ".join(map(str, sorted(found["epoch"].unique())))
    note = (
        f"{subject(table)}; linear probe of the representation, test images, percent; epoch {epochs}; "
        f"{seeds_note(found)}{alone}. Colours span at least {100 * LEAST_RANGE:.0f} points"
        f"{'' if grid.texts else ' (spread: see the CSV)'}{'; hatched: not measured' if grid.has_holes else ''}."
    )
    words = Words(TITLE, note, "width (channels)")
    figure, axes = sheet(grid.rows(names), words, widest=max(1.9, len(grid.widths) * _CELL))
    for (method, levels), row in zip(grid.layout, axes, strict=True):
        for level, ax in zip(levels, row, strict=True):
            assert ax is not None
            scale = _scale(found[found["level"] == level])
            if method is None:
                _bar(ax, scale)
            else:
                _panel(ax, grid, found[(found["method"] == method) & (found["level"] == level)], scale, ax is row[0])
    return figure


class _Grid:
    """What stands where: colour bars above a row of panels for each method, and levels side by side if they fit.

    Attributes:
        layout: Method (None: colour bars) and levels of each row of the page.
        texts: There is room for the spread in the cells.
    """

    def __init__(self, found: Frame) -> None:
        self.found = found
        self.depths, self.widths = sorted(found["depth"].unique()), sorted(found["width"].unique())
        self.methods, levels = list(found["method"].unique()), [v for v in LEVELS if (found["level"] == v).any()]
        cell = 5.9 / (len(levels) * len(self.widths))
        side_by_side = cell >= 0.45
        self.layout = [(method, block) for block in ([levels] if side_by_side else [[level] for level in levels])
                       for method in (None, *self.methods)]  # fmt: skip
        self.texts = side_by_side or 6.4 / len(self.widths) >= 0.45
        self.num_lines = (2 if found["n"].max() == 1 else 3) if self.texts else 1
        self.cell_height = 0.16 * self.num_lines + 0.10
        self.has_holes = len(found) < len(self.methods) * len(levels) * len(self.depths) * len(self.widths)

    def rows(self, names: dict[str, str]) -> list[Row]:
        """The layout in inches; `names` are those of the levels."""
        chance = dict(zip(self.found["level"], self.found["chance"], strict=True))
        found = []
        for method, levels in self.layout:
            if method is None:
                titles = [names[v] + (f" (chance {100 * chance[v]:.3g}%)" if chance[v] > 0 else "") for v in levels]
                found.append(Row("", titles, _BAR, [0.0] * len(levels), True))
            else:
                title = method if len(self.methods) > 1 else ""
                labels = [max(text_width(str(depth)) for depth in self.depths) + 0.06] + [0.0] * (len(levels) - 1)
                height = len(self.depths) * self.cell_height
                found.append(Row("depth (blocks)", [title] * len(levels), height, labels, True))
        return found


def _scale(rows: Frame) -> Normalize:
    """The range of the colours: all means, at least `LEAST_RANGE` and 4 spreads wide, inside 0 .. 1."""
    low, high = float(rows["mean"].min()), float(rows["mean"].max())
    spread = float(rows["spread"].median()) if rows["spread"].notna().any() else 0.0
    wide = min(max(high - low, LEAST_RANGE, 4 * spread), 1.0)
    low = min(max((low + high - wide) / 2, 0.0), 1 - wide)
    return Normalize(low, low + wide)


def _colour(scale: Normalize, value: float | np.ndarray) -> Any:
    return _COLOURS(0.03 + (_DARKEST - 0.03) * np.asarray(scale(value)))


def _bar(ax: Axes, scale: Normalize) -> None:
    assert scale.vmin is not None and scale.vmax is not None
    steps = np.linspace(scale.vmin, scale.vmax, 128)
    ax.imshow(_colour(scale, steps)[None], extent=(scale.vmin, scale.vmax, 0, 1), aspect="auto")
    ticks = y_ticks(scale.vmin, scale.vmax, 1.0)
    ax.set_xticks(ticks, tick_labels(ticks, 100))
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(color=GREY)


def _panel(ax: Axes, grid: _Grid, rows: Frame, scale: Normalize, labels: bool) -> None:
    cells = rows.set_index(["depth", "width"])
    for y, depth in enumerate(grid.depths):
        for x, width in enumerate(grid.widths):
            if (depth, width) in cells.index:
                _cell(ax, x, y, cells.loc[(depth, width)], scale, grid)
            else:
                hatched(ax, x, y)
    ax.set(xlim=(0, len(grid.widths)), ylim=(0, len(grid.depths)))
    ax.set_xticks(np.arange(len(grid.widths)) + 0.5, [str(w) for w in grid.widths])
    ax.set_yticks(np.arange(len(grid.depths)) + 0.5, [str(d) if labels else "" for d in grid.depths])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _cell(ax: Axes, x: int, y: int, cell: Any, scale: Normalize, grid: _Grid) -> None:
    colour = _colour(scale, cell["mean"])
    ax.add_patch(Rectangle((x, y), 1, 1, fc=colour, ec="white", lw=1.2))
    lines = [f"{100 * cell['mean']:.1f}"]
    if grid.texts:
        lines += [] if np.isnan(cell["spread"]) else [f"\N{PLUS-MINUS SIGN} {100 * cell['spread']:.1f}"]
        lines += [f"n = {cell['n']:.0f}"]
    for i, line in enumerate(lines):
        height = y + 0.5 - (i - (len(lines) - 1) / 2) * 0.15 / grid.cell_height
        ax.text(x + 0.5, height, line, ha="center", va="center", family=FONT, size=SIZE,
                weight="bold" if i == 0 else "normal", color=INK)  # fmt: skip
