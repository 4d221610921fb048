"""Linear test accuracy of the representation at the last epoch, over depth and width, for each label level.

Corresponds to the depth and width ablation of arXiv 2305.15614.
"""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figures.base.numbers import LINEAR, REPRESENTATION, Frame, over_seeds, prepare, values
from analysis.figures.base.sheet import FONT, INK, SIZE, Words, sheet

TITLE = "Linear test accuracy by depth and width"

_CELL = (0.78, 0.52)  # inches
_COLOURS = matplotlib.colormaps["YlGnBu"]


def numbers(table: Frame) -> Frame:
    """Returns linear test accuracy by network and level at the last epoch of each method.

    Empty where networks cannot be told apart by method, depth and width alone.
    """
    table = prepare(table, LINEAR)
    rows = values(table[table["layer_name"] == REPRESENTATION], LINEAR)
    rows = rows[rows["epoch"] == rows.groupby("method")["epoch"].transform("max")]
    found = over_seeds(rows, ["level", "epoch"])
    return found.iloc[:0] if found.duplicated(["method", "depth", "width", "level"]).any() else found


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there is no linear accuracy, or several settings share a depth and width."""
    found = numbers(table)
    if found.empty:
        return None
    depths, widths = sorted(found["depth"].unique()), sorted(found["width"].unique())
    panels = list(found.groupby(["method", "level"], sort=False))
    several = found["method"].nunique() > 1
    titles = [f"{method}, {level}" if several else level for (method, level), _ in panels]
    size = len(widths) * _CELL[0], len(depths) * _CELL[1]
    epochs = " or ".join(map(str, sorted(found["epoch"].unique())))
    note = (
        f"Representation at epoch {epochs}, percent: mean \N{PLUS-MINUS SIGN} standard deviation over (n) seeds. "
        "Each level has its own colours; hatched: not measured."
    )
    words = Words(TITLE, note, "width (channels)", "depth (blocks)")
    columns = max(1, min(found["level"].nunique(), int(12 / size[0])))
    figure, axes = sheet(titles, words, columns=columns, size=size)
    scales = {level: _scale(rows["mean"]) for level, rows in found.groupby("level")}
    for ax, ((_, level), rows) in zip(axes, panels, strict=True):
        _panel(ax, rows, depths, widths, scales[level])
    return figure


def _scale(means: Any) -> Normalize:
    low, high = float(means.min()), float(means.max())
    return Normalize(low - 0.15 * (high - low) - 1e-3, high + 1e-3)


def _panel(ax: Axes, rows: Frame, depths: list[int], widths: list[int], scale: Normalize) -> None:
    cells = rows.set_index(["depth", "width"])
    for y, depth in enumerate(depths):
        for x, width in enumerate(widths):
            if (depth, width) in cells.index:
                _cell(ax, x, y, cells.loc[(depth, width)], scale)
            else:
                ax.add_patch(Rectangle((x, y), 1, 1, fc="white", ec="#c8c8c8", hatch="////", lw=0))
    ax.set(xlim=(0, len(widths)), ylim=(0, len(depths)))
    ax.set_xticks(np.arange(len(widths)) + 0.5, [str(w) for w in widths])
    ax.set_yticks(np.arange(len(depths)) + 0.5, [str(d) for d in depths])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _cell(ax: Axes, x: int, y: int, cell: Any, scale: Normalize) -> None:
    colour = _COLOURS(0.05 + 0.85 * scale(cell["mean"]))
    ax.add_patch(Rectangle((x, y), 1, 1, fc=colour, ec="white", lw=1.5))
    dark = np.dot(colour[:3], (0.299, 0.587, 0.114)) < 0.55
    spread = "" if np.isnan(cell["spread"]) else f"\N{PLUS-MINUS SIGN} {100 * cell['spread']:.1f} "
    looks: dict[str, Any] = {"ha": "center", "family": FONT, "color": "white" if dark else INK}
    ax.text(x + 0.5, y + 0.62, f"{100 * cell['mean']:.1f}", size=SIZE + 1, va="center", weight="bold", **looks)
    ax.text(x + 0.5, y + 0.26, f"{spread}({cell['n']:.0f})", size=SIZE - 1.5, va="center", **looks)
