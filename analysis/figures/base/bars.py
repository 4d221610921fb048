"""Panels of means and their intervals at a few places, such as epochs or layers: side by side where they overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from analysis.figures.base.grid import Panel, grid
from analysis.figures.base.marks import DOTTED, not_measured, panel_inches
from analysis.figures.base.numbers import Frame
from analysis.figures.base.sheet import FAINT, GREY, Line, Row, Words, marker, sheet, text_width
from analysis.figures.base.ticks import padded, tick_labels, y_ticks

_APART: Final = 0.6
"""Of a mark's size, between marks of one place that would cover each other: enough to see each, and its interval."""
_BREADTH: Final = 0.25
"""Of the places' distance, that they take at most."""


def bars(
    found: Frame,
    looks: Mapping[Any, Line],
    words: Words,
    *,
    percent: bool = False,
    zero: bool = False,
    ends: tuple[float, float] = (-np.inf, np.inf),
) -> Figure:
    """Draws marks with an interval, joined by lines, in a panel for each `row` and `column`.

    Args:
        found: Numbers with the columns mean, spread (half an interval, NaN without one); row, column and group as of
            `panels.lines`; series; at, a number whose distinct values in a column of panels are equally far apart.
        looks: Of each series, in the order of the key.
        words: The figure's text.
        percent: Values are fractions, written as percent.
        zero: A dotted line at 0, which all panels hold.
        ends: Smallest and largest value that is possible: intervals of few seeds reach beyond it, and end there.
    """
    rows = grid(found)
    present = {name: look for name, look in looks.items() if (found["series"] == name).any()}
    scales = {group: _scale(one, zero, ends) for group, one in found.groupby("group", sort=False)}
    height = 1.9 if len(rows) == 1 else 1.45
    ticks = {group: y_ticks(low, high, height) for group, (low, high) in scales.items()}
    labels = {group: tick_labels(at, 100 if percent else 1) for group, at in ticks.items()}
    layout = []
    for row in rows:
        widths = [max(map(text_width, labels[p.group])) + 0.06 if p and p.y_labels else 0.0 for p in row.panels]
        titles = [None if panel is None else panel.title for panel in row.panels]
        layout.append(Row(row.label, titles, height, widths, any(p is not None and p.x_labels for p in row.panels)))
    figure, axes = sheet(layout, words, list(present.values()) if len(present) > 1 else [])
    for row, row_axes in zip(rows, axes, strict=True):
        for panel, ax in zip(row.panels, row_axes, strict=True):
            if panel is None or ax is None:
                continue
            if panel.rows.empty:
                not_measured(ax)
                continue
            column = found[found["column"] == panel.rows["column"].iloc[0]]
            there = {name: look for name, look in present.items() if (column["series"] == name).any()}
            ax.set_ylim(*scales[panel.group])
            _marks(ax, panel, sorted(column["at"].unique()), there, ends)
            ax.yaxis.set_major_locator(FixedLocator(ticks[panel.group]))
            ax.yaxis.set_minor_locator(NullLocator())
            shown = labels[panel.group] if panel.y_labels else [""] * len(labels[panel.group])
            ax.yaxis.set_major_formatter(FixedFormatter(shown))
            ax.yaxis.grid(True, color=FAINT, lw=0.6)
            if zero:
                ax.axhline(0, color=GREY, lw=0.8, ls=DOTTED, zorder=1)
    return figure


def _scale(rows: Frame, zero: bool, ends: tuple[float, float]) -> tuple[float, float]:
    spread = rows["spread"].fillna(0)
    low, high = float((rows["mean"] - spread).clip(*ends).min()), float((rows["mean"] + spread).clip(*ends).max())
    return padded(min(low, 0.0), max(high, 0.0), False) if zero else padded(low, high, False)


def _marks(
    ax: Axes, panel: Panel, places: Sequence[float], looks: Mapping[Any, Line], ends: tuple[float, float]
) -> None:
    size, stroke = (4.5, 1.1) if len(places) <= 12 else (2.5, 0.8)
    ax.set_xlim(-0.6, len(places) - 0.4)
    mean, spread = panel.rows["mean"], panel.rows["spread"]
    rows = panel.rows.assign(low=(mean - spread).clip(*ends), high=(mean + spread).clip(*ends))
    rows = _placed(ax, rows, places, list(looks), size).sort_values("at")
    for name, look in looks.items():
        one = rows[rows["series"] == name]
        x, mean, low, high = (one[column].to_numpy(float) for column in ("x", "mean", "low", "high"))
        known = np.isfinite(low)
        ax.vlines(x[known], low[known], high[known], color=look.colour, lw=stroke, zorder=2)
        ax.plot(x, mean, color=look.colour, ls=look.dash, lw=0.8, zorder=3, **marker(look, size))
    texts = [f"{place:g}" for place in places]
    room = panel_inches(ax)[0] / (len(places) + 0.2)
    step = int(np.ceil((max(map(text_width, texts)) + 0.06) / room))
    shown = [i for i in range(len(places)) if i % step == 0]
    ax.xaxis.set_major_locator(FixedLocator(shown))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FixedFormatter([texts[i] if panel.x_labels else "" for i in shown]))


def _placed(ax: Axes, rows: Frame, places: Sequence[float], order: Sequence[Any], size: float) -> Frame:
    """The rows with the column x: that of their place, but for marks of this size that would cover each other."""
    width, height = 72 * panel_inches(ax)
    apart, (bottom, top) = width / (len(places) + 0.2), ax.get_ylim()
    found = []
    for i, place in enumerate(places):
        one = rows[rows["at"] == place].sort_values("series", key=lambda names: names.map(order.index))
        ends = (height / (top - bottom) * one[end].fillna(one["mean"]) for end in ("low", "high"))
        below, above = next(ends) - size / 2, next(ends) + size / 2
        found.append(one.assign(x=i + _shifts(below, above, _APART * size, _BREADTH * apart) / apart))
    return pd.concat(found)


def _shifts(below: Frame, above: Frame, apart: float, breadth: float) -> np.ndarray:
    """How far marks of one place are moved sideways: those that cover each other, directly or through others.

    Args:
        below, above: Ends of each mark and its interval, in points, in the order from left to right.
        apart: Points between two of them.
        breadth: Points that they take at most.
    """
    low, high = np.asarray(below, float), np.asarray(above, float)
    found = np.zeros(len(low))
    order = np.argsort(low, kind="stable")
    top = np.maximum.accumulate(high[order])
    for together in np.split(order, np.flatnonzero(low[order][1:] > top[:-1]) + 1):
        num = len(together)
        step = min(apart, breadth / max(num - 1, 1))
        found[np.sort(together)] = step * (np.arange(num) - (num - 1) / 2)
    return found
