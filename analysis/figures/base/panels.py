"""Small multiples of lines: one panel a network, one line a series, mean and band over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from analysis.figures.base.numbers import Frame
from analysis.figures.base.sheet import FAINT, FONT, GREY, SIZE, Line, Words, sheet, text_width

MAX_PANELS: Final = 12
LEVEL_COLOURS: Final = {"sample": "#009e73", "class": "#0072b2", "superclass": "#d55e00"}  # Okabe and Ito
LAYER_AXIS: Final = "layer (0: stem, last: representation)"
_MAX_KEY = 9  # epochs or layers named in the key; the others are shades between


def percent(value: float) -> str:
    """0.614 -> "61"; one decimal below 10."""
    return f"{100 * value:.1f}" if 0 < abs(value) < 0.0995 else f"{100 * value:.0f}"


def number(value: float) -> str:
    """0.613 -> "0.61", 12.3 -> "12": two decimals below 10, three below 0.1."""
    size = abs(value)
    return f"{value:.{0 if size >= 9.95 else 2 if size >= 0.0995 else 3}f}"


def shades(keys: list[Any], label: Callable[[Any], str] = str) -> dict[Any, Line]:
    """Returns lines from pale to dark; of many keys some are named, and the first and the last carry their values."""
    colours = matplotlib.colormaps["YlGnBu"](np.linspace(0.4, 1.0, len(keys))) if len(keys) > 1 else ["#081d58"]
    named = set(np.linspace(0, len(keys) - 1, min(len(keys), _MAX_KEY)).round().astype(int).tolist())
    ends = {0, len(keys) - 1} if len(keys) > 3 else {0, 1, 2}
    return {
        key: Line(label(key) if i in named else "", colour, ends=i in ends)
        for i, (key, colour) in enumerate(zip(keys, colours, strict=True))
    }


def lines(
    found: Frame,
    *,
    x: str,
    series: str,
    looks: Mapping[Any, Line],
    words: Words,
    panel: tuple[str, ...] = ("network",),
    show: Callable[[float], str] = percent,
    log_y: bool = False,
    reference: float | None = None,
) -> Figure:
    """Draws one line for each value of `series`, in one panel for each combination of `panel`.

    Args:
        found: Numbers with the columns mean and spread, in the order of the panels.
        x: Column on the horizontal axis: "epoch" (linear to 1, logarithmic above) or "layer" (each panel its own).
        series: Column whose values are the keys of `looks`.
        looks: In the order of the key.
        words: The figure's text.
        panel: Columns that make a panel; their values are its title.
        show: Writes the values at the ticks and the line ends.
        log_y: Logarithmic vertical axis.
        reference: Where to draw a dotted horizontal line.
    """
    groups = {", ".join(key): rows for key, rows in found.groupby(list(panel), sort=False)}
    present = set(found[series])
    looks = {key: look for key, look in looks.items() if key in present}
    named = len(groups) == 1 and len(looks) <= 6 and all(look.ends for look in looks.values())
    texts = {_end(look, mean, show, named) for look in looks.values() for mean in found["mean"]}
    key = [look for look in looks.values() if look.label] if not named else []
    right = max(map(text_width, texts)) + 0.08
    figure, axes = sheet(list(groups), words, key, columns=_columns(found, panel), right=right)
    low, high = _limits(found, log_y, reference)
    for ax, rows in zip(axes, groups.values(), strict=True):
        by_series = dict(iter(rows.groupby(series)))
        drawn = [(by_series[key].sort_values(x), look) for key, look in looks.items() if key in by_series]
        if reference is not None:
            ax.axhline(reference, color=GREY, lw=0.7, ls=(0, (1, 2)), zorder=1)
        for one, look in drawn:
            _line(ax, one[x].to_numpy(float), one["mean"].to_numpy(), one["spread"].to_numpy(), look, low)
        _x_axis(ax, np.sort((found if x == "epoch" else rows)[x].unique()), x)
        _y_axis(ax, low, high, show, log_y, labels=ax.get_position().x0 == axes[0].get_position().x0)
        ends = [(float(one["mean"].iloc[-1]), look) for one, look in drawn if look.ends]
        _end_labels(ax, [(y, _end(look, y, show, named), look.colour) for y, look in ends])
    return figure


def _columns(found: Frame, panel: tuple[str, ...]) -> int | None:
    """Widths side by side and depths below each other where the networks are a whole grid."""
    found = found.drop_duplicates(list(panel))
    num = found[panel[1]].nunique() if len(panel) > 1 else 1
    if num > 1:
        return num if len(found) <= 3 * num else 2 * num if 2 * num <= 4 else num
    widths = found["width"].nunique()
    whole = len(found) == widths * found[["method", "depth"]].drop_duplicates().shape[0]
    return widths if whole and 2 <= widths <= 4 and len(found) > widths else None


def _line(ax: Axes, x: np.ndarray, mean: np.ndarray, spread: np.ndarray, look: Line, low: float) -> None:
    ax.plot(x, mean, color=look.colour, ls=look.dash, lw=1.5, marker="o", ms=2.6, mew=0, zorder=3)
    if look.ends and not look.dashed and np.isfinite(spread).any():
        spread = np.nan_to_num(spread)
        below = np.maximum(mean - spread, low)  # a log axis ends above zero
        ax.fill_between(x, below, mean + spread, color=look.colour, alpha=0.18, lw=0, zorder=2)


def _limits(found: Frame, log_y: bool, reference: float | None) -> tuple[float, float]:
    """The vertical range of all panels: every mean and band, with some air."""
    spread = found["spread"].fillna(0)
    below = found["mean"] - spread
    below = below.where(below > 0, found["mean"]) if log_y else below
    extra = [] if reference is None else [reference]
    low, high = min([below.min(), *extra]), max([(found["mean"] + spread).max(), *extra])
    if log_y:
        air = max((high / low) ** 0.07, 1.15)
        return low / air, high * air
    air = max(0.07 * (high - low), 0.02 * max(abs(high), abs(low)), 1e-6)
    return low - air, high + air


def _x_axis(ax: Axes, at: np.ndarray, x: str) -> None:
    if x == "epoch":
        ax.set_xscale("symlog", linthresh=1, linscale=0.3)
    scale = ax.xaxis.get_transform()
    position = scale.transform(at.astype(float))
    air = 0.03 * (position[-1] - position[0]) or 0.5
    ax.set_xlim(*scale.inverted().transform(np.array([position[0] - air, position[-1] + air])))
    if x == "epoch":
        inches = (position - position[0]) / (position[-1] - position[0] + 2 * air) * _inches(ax)[0]
        ticks = _ticks(at.astype(int).tolist(), inches)
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_major_formatter(FixedFormatter([str(t) for t in ticks]))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))
    ax.xaxis.set_minor_locator(NullLocator())


def _ticks(at: list[int], position: np.ndarray) -> list[int]:
    """Measured epochs to be labelled: the ends, powers of ten, then others, where their numbers have room."""
    half = np.array([text_width(str(a), SIZE - 1) / 2 + 0.05 for a in at])
    first = sorted(range(len(at)), key=lambda i: (i not in (0, len(at) - 1), str(at[i]).strip("0") != "1", i))
    kept: list[int] = []
    for i in first:
        if all(abs(position[i] - position[k]) >= half[i] + half[k] for k in kept):
            kept.append(i)
    return [at[i] for i in sorted(kept)]


def _y_axis(ax: Axes, low: float, high: float, show: Callable[[float], str], log_y: bool, labels: bool) -> None:
    if log_y:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 200 else (1,), numticks=8))
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.set_ylim(low, high)
    ax.yaxis.set_minor_locator(NullLocator())
    factor = 100 if show is percent else 1
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{factor * value:.6g}"))
    ax.yaxis.grid(True, color=FAINT, lw=0.6)
    ax.tick_params(labelleft=labels)


def _end(look: Line, value: float, show: Callable[[float], str], named: bool) -> str:
    return (f"{look.label} {show(value)}" if named else show(value)) if look.ends else ""


def _end_labels(ax: Axes, labels: list[tuple[float, str, Any]]) -> None:
    """Puts labels at the right, each as near to its height as its neighbours allow."""
    labels = sorted(labels, key=lambda label: label[0])
    heights = [ax.transAxes.inverted().transform(ax.transData.transform((1, y)))[1] for y, _, _ in labels]
    for place, (_, text, colour) in zip(_apart(heights, SIZE * 1.15 / 72 / _inches(ax)[1]), labels, strict=True):
        ax.annotate(text, (1, place), xycoords="axes fraction", xytext=(4, 0), textcoords="offset points", va="center",
                    color=colour, size=SIZE, family=FONT, annotation_clip=False)  # fmt: skip


def _apart(heights: list[float], gap: float) -> np.ndarray:
    """Returns sorted heights moved as little as needed to be `gap` apart and inside 0 .. 1 (isotonic regression)."""
    steps = gap * np.arange(len(heights))
    blocks: list[list[float]] = []
    for height in np.asarray(heights) - steps:
        blocks.append([float(height)])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    apart = np.array([np.mean(block) for block in blocks for _ in block]) + steps
    return np.maximum(np.minimum(apart, 1 - steps[::-1]), steps)


def _inches(ax: Axes) -> tuple[float, float]:
    size, box = ax.get_figure(root=True).get_size_inches(), ax.get_position()  # type: ignore[union-attr]
    return size[0] * box.width, size[1] * box.height
