"""Dotted lines at values that one compares with, named where no data is in the way; what was not measured."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from analysis.figures.base.sheet import FONT, GREY, SIZE, text_width, wrap

DOTTED: Final = (0, (1, 2))
_HEIGHT, _AWAY = 0.13, 0.03  # inches, of the name and between it and the line
_HALO = withStroke(linewidth=2.5, foreground="white")


def rule(ax: Axes, height: float, name: str) -> bool:
    """Draws a dotted line at a height, behind the data, and its name; with an arrow where the axis ends before it.

    The name stands above or below the line, at a place where it covers none of the lines drawn so far.

    Returns:
        There is such a place, and the name was written.
    """
    low, high = ax.get_ylim()
    if not low <= height <= high:
        arrow = "\N{DOWNWARDS ARROW}" if height < low else "\N{UPWARDS ARROW}"
        name = f"{arrow} {name}" if name else ""
    else:
        ax.axhline(height, color=GREY, lw=0.8, ls=DOTTED, zorder=1)
    if not name:
        return False
    inches = panel_inches(ax)
    at = ax.transAxes.inverted().transform(ax.transData.transform((ax.get_xlim()[0], np.clip(height, low, high))))[1]
    place = _place(_drawn(ax) * inches, at * inches[1], text_width(name), inches)
    if place is None:
        return False
    x, y = place
    ax.text(x / inches[0], y / inches[1], name, transform=ax.transAxes, color=GREY, size=SIZE, family=FONT,
            va="center", zorder=4, path_effects=[_HALO])  # fmt: skip
    return True


def not_measured(ax: Axes) -> None:
    """Hatches a panel without numbers, and says so: a place that is left white looks like an error."""
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    hatched(ax, 0, 0)
    ax.text(0.5, 0.5, wrap("not measured", panel_inches(ax)[0]), color=GREY, size=SIZE, family=FONT, ha="center",
            va="center", path_effects=[_HALO])  # fmt: skip


def hatched(ax: Axes, x: float, y: float) -> None:
    """Hatches the unit square whose lower left corner is given."""
    ax.add_patch(Rectangle((x, y), 1, 1, fc="white", ec="#c8c8c8", hatch="////", lw=0))


def _place(points: np.ndarray, height: float, width: float, inches: np.ndarray) -> tuple[float, float] | None:
    """Left edge and middle of a name in inches from the lower left corner of the panel; None where it has no room.

    Args:
        points: [N, 2] of the drawn lines, inches.
        height: Of the line that is named.
        width: Of its name.
        inches: [2] size of the panel.
    """
    for y in (height + _AWAY + _HEIGHT / 2, height - _AWAY - _HEIGHT / 2):
        if not _HEIGHT / 2 <= y <= inches[1] - _HEIGHT / 2:
            continue
        for x in (inches[0] - width - _AWAY, _AWAY, (inches[0] - width) / 2):
            near = (np.abs(points[:, 0] - x - width / 2) < width / 2 + _AWAY) & (
                np.abs(points[:, 1] - y) < _HEIGHT / 2 + _AWAY
            )
            if not near.any():
                return x, y
    return None


def _drawn(ax: Axes) -> np.ndarray:
    """Points along all drawn lines but rules, [N, 2] in parts of the panel."""
    found = [np.empty((0, 2))]
    for line in ax.lines:
        if line.get_marker() != "None":
            ends = ax.transAxes.inverted().transform(ax.transData.transform(line.get_xydata()))
            part = np.linspace(0, 1, 25)[:, None]
            found += [ends, *(a + part * (b - a) for a, b in pairwise(ends))]
    return np.concatenate(found)


def panel_inches(ax: Axes) -> np.ndarray:
    """Returns width and height of a panel, inches [2]."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    box = ax.get_position()
    return figure.get_size_inches() * np.array([box.width, box.height])
