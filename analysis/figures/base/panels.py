"""Small multiples of lines: mean and band over seeds, one look a series, panels of one group on one vertical scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

from analysis.figures.base.grid import GridRow, Panel, grid
from analysis.figures.base.marks import DOTTED, not_measured, panel_inches, rule
from analysis.figures.base.numbers import Frame
from analysis.figures.base.sheet import FAINT, GREY, Line, Row, Words, marker, sheet, text_width
from analysis.figures.base.ticks import layer_ticks, padded, reaching, tick_labels, x_ticks, y_ticks

EPOCH_AXIS: Final = "epoch (0: initialisation; logarithmic from 1)"
STEP_AXIS: Final = "full-batch step (0: initialisation; logarithmic from 1)"
LAYER_AXIS: Final = "layer (0: stem, last: representation)"
_TICKS_APART = 0.02  # inches: nearer ones are a black bar
_MOST_MARKERS = 30  # on a line; more would hide it
_MAX_KEY = 9  # epochs named in the key; the others are shades between


class Scale(NamedTuple):
    """A vertical axis.

    Attributes:
        low, high: Its range.
        at: Its ticks.
        labels: What is written there.
    """

    low: float
    high: float
    at: list[float]
    labels: list[str]


def shades(keys: list[Any], label: Callable[[Any], str] = str) -> tuple[dict[Any, Line], list[Line]]:
    """Returns looks from pale to dark, the first and the last with bands, and the key, which names some of many."""
    colours = matplotlib.colormaps["YlGnBu"](np.linspace(0.35, 1.0, len(keys))) if len(keys) > 1 else ["#081d58"]
    named = set(np.linspace(0, len(keys) - 1, min(len(keys), _MAX_KEY)).round().astype(int).tolist())
    looks = {
        key: Line(label(key), colour, band=i in (0, len(keys) - 1))
        for i, (key, colour) in enumerate(zip(keys, colours, strict=True))
    }
    entries = [look._replace(label=look.label if i == 0 else str(key))
               for i, (key, look) in enumerate(looks.items()) if i in named]  # fmt: skip
    return looks, entries if len(keys) > 1 else []


def lines(
    found: Frame,
    looks: Mapping[Any, Line],
    words: Words,
    key: Iterable[Line] = (),
    *,
    x: str,
    percent: bool | frozenset[Any] = False,
    log_y: bool = False,
    reference: tuple[float, str] | None = None,
    possible: Mapping[Any, tuple[float, float]] = MappingProxyType({}),
    level: str = "chance",
) -> Figure:
    """Draws a line for each `series`, in a panel for each `row` and `column`.

    Args:
        found: Numbers with the columns mean, spread; row and column, the texts that name the vertical axis and title
            the column; group, panels of one group share a vertical scale; series; chance, where accuracies are
            shown, or the values of another `level` to compare with (NaN: none).
        looks: Of each series, in the order they are drawn.
        words: The figure's text.
        key: Its entries.
        x: Column on the horizontal axis: "epoch" (linear to 1, logarithmic above) or "layer" (each column its own).
        percent: Values are fractions, written as percent; or the groups of which they are.
        log_y: Logarithmic vertical axis.
        reference: Height and name of a dotted horizontal line.
        level: Name of the dotted line at `chance`, which is a fraction.
        possible: By group the least and the largest value there can be: bands end there.
    """
    found = with_bands(found, possible)
    rows = grid(found)
    height = _height(len(rows), len(rows[0].panels))
    extra = [reference[0]] if reference else []
    scales = {
        group: _scale(one, extra, height, percent if isinstance(percent, bool) else group in percent, log_y)
        for group, one in found.groupby("group")
    }
    chart = _Chart(found, looks, x, log_y, reference, rows, scales, level)
    layout = [_layout(row, scales, height) for row in rows]
    figure, axes = sheet(layout, words, key)
    if not chart.draw(axes):  # some dotted line has no room for its name
        drawn, beyond = chart.rules()
        if drawn:
            key = [*key, Line(reference[1] if reference else level, GREY, DOTTED, "None")]
        if beyond:
            words = words._replace(note=f"{words.note.removesuffix('.')}; {' and '.join(beyond)}: beyond the axis.")
        figure, axes = sheet(layout, words, key)
        chart.draw(axes)
    return figure


class _Chart(NamedTuple):
    """What is drawn into the panels; see `lines`."""

    found: Frame
    looks: Mapping[Any, Line]
    x: str
    log_y: bool
    reference: tuple[float, str] | None
    rows: list[GridRow]
    scales: dict[Any, Scale]
    level: str

    def draw(self, axes: list[list[Axes | None]]) -> bool:
        """Draws all panels; returns whether every dotted line is named, once where panels share an axis and have it."""
        wanted, named = set[tuple[int, int, str]](), set[tuple[int, int, str]]()
        for i, (row, row_axes) in enumerate(zip(self.rows, axes, strict=True)):
            start = 0
            for j, (panel, ax) in enumerate(zip(row.panels, row_axes, strict=True)):
                if panel is None or ax is None:
                    continue
                if panel.rows.empty:
                    not_measured(ax)
                    continue
                start = j if panel.y_labels else start
                self._lines(ax, panel)
                height, name = self._rule(panel)
                if np.isnan(height):
                    continue
                wanted.add((i, start, name))
                if rule(ax, height, "" if (i, start, name) in named else name):
                    named.add((i, start, name))
        return wanted == named

    def rules(self) -> tuple[bool, list[str]]:
        """Returns whether any dotted line is inside its panel, and the names of those that are not."""
        inside, beyond = False, list[str]()
        for panel in (panel for row in self.rows for panel in row.panels if panel is not None and len(panel.rows)):
            height, name = self._rule(panel)
            scale = self.scales[panel.group]
            if scale.low <= height <= scale.high:
                inside = True
            elif np.isfinite(height) and name not in beyond:
                beyond.append(name)
        return inside, beyond

    def _rule(self, panel: Panel) -> tuple[float, str]:
        """The height and name of the dotted line; NaN where there is none."""
        if self.reference:
            return self.reference
        chance = float(panel.rows["chance"].iloc[0]) if "chance" in panel.rows else np.nan
        return chance, f"{self.level} {100 * chance:.3g}%" if self.level == "chance" else f"{self.level} {chance:.2g}"

    def _lines(self, ax: Axes, panel: Panel) -> None:
        scale = self.scales[panel.group]
        _y_axis(ax, scale, self.log_y, panel.y_labels)
        same = self.found["column"] == panel.rows["column"].iloc[0]
        at = np.sort((self.found if self.x == "epoch" else self.found[same])[self.x].unique()).astype(int)
        _x_axis(ax, at, self.x, panel.x_labels)
        by_series = dict(iter(panel.rows.groupby("series")))
        drawn = [(by_series[name].sort_values(self.x), look) for name, look in self.looks.items() if name in by_series]
        for one, look in sorted(drawn, key=lambda line: -len(line[0])):  # shorter lines over longer ones
            _line(ax, one, self.x, look, scale.low)


def with_bands(found: Frame, possible: Mapping[Any, tuple[float, float]]) -> Frame:
    """The numbers with the ends of their bands, the columns `below` and `above`."""
    spread = found["spread"].fillna(0)
    ends = [possible.get(group, (-np.inf, np.inf)) for group in found["group"]]
    below, above = found["mean"] - spread, found["mean"] + spread
    return found.assign(below=below.clip(lower=[low for low, _ in ends]), above=above.clip(upper=[h for _, h in ends]))


def _layout(row: GridRow, scales: Mapping[Any, Scale], height: float) -> Row:
    """The row in inches."""
    titles = [None if panel is None else panel.title for panel in row.panels]
    widths = [
        max(map(text_width, scales[panel.group].labels)) + 0.06 if panel and panel.y_labels else 0.0
        for panel in row.panels
    ]
    return Row(row.label, titles, height, widths, any(panel and panel.x_labels for panel in row.panels))


def _height(num_rows: int, num_columns: int) -> float:
    """Inches of a panel."""
    height = {1: 2.2, 2: 1.9, 3: 1.55}.get(num_columns, 1.3)
    return height if num_rows <= 3 else min(height, 1.35 if num_rows <= 5 else 1.15)


def _scale(found: Frame, extra: list[float], height: float, percent: bool, log_y: bool) -> Scale:
    """Holds every mean and band, and chance unless that would leave the lines less than half of the height."""
    below = found["below"]
    below = below.where(below > 0, found["mean"]) if log_y else below
    low, high = min([below.min(), *extra]), max([found["above"].max(), *extra])
    if "chance" in found and found["chance"].notna().any():
        low, high = reaching(low, high, float(found["chance"].min()))
    low, high = padded(float(low), float(high), log_y)
    at = y_ticks(low, high, height, log_y)
    return Scale(low, high, at, tick_labels(at, 100 if percent else 1))


def _line(ax: Axes, rows: Frame, x: str, look: Line, low: float) -> None:
    at, mean, spread, below, above = (rows[name].to_numpy(float) for name in (x, "mean", "spread", "below", "above"))
    size = 3.4 if len(at) <= 12 and panel_inches(ax)[0] > 1.3 else 2.2
    every = 0.12 if len(at) > _MOST_MARKERS else None  # a share of the panel's diagonal: even on a logarithmic axis
    ax.plot(at, mean, color=look.colour, ls=look.dash, lw=1.2, zorder=3, markevery=every, **marker(look, size))
    if look.band and np.isfinite(spread).any():
        below = np.maximum(below, low)  # a log axis ends above zero
        ax.fill_between(at, below, above, color=look.colour, alpha=0.16, lw=0, zorder=2)


def _x_axis(ax: Axes, at: np.ndarray, x: str, labels: bool) -> None:
    if x == "epoch":
        ax.set_xscale("symlog", linthresh=1, linscale=0.3)
    scale = ax.xaxis.get_transform()
    position = scale.transform(at.astype(float))
    air = 0.04 * (position[-1] - position[0]) or 0.5
    ax.set_xlim(*scale.inverted().transform(np.array([position[0] - air, position[-1] + air])))
    inches = (position - position[0]) / (position[-1] - position[0] + 2 * air) * panel_inches(ax)[0]
    ticks = (x_ticks if x == "epoch" else layer_ticks)(at.tolist(), inches)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    apart = np.diff(inches).min() if len(at) > 1 else 1.0
    small = [a for a in at.tolist() if a not in ticks] if apart > _TICKS_APART else []
    ax.xaxis.set_minor_locator(FixedLocator(small))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(FixedFormatter([str(t) if labels else "" for t in ticks]))


def _y_axis(ax: Axes, scale: Scale, log_y: bool, labels: bool) -> None:
    if log_y:
        ax.set_yscale("log")
    ax.set_ylim(scale.low, scale.high)
    ax.yaxis.set_major_locator(FixedLocator(scale.at))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FixedFormatter(scale.labels if labels else [""] * len(scale.at)))
    ax.yaxis.grid(True, color=FAINT, lw=0.6)
