"""Target accuracy of pairs of classes against what connectivity predicts, and the mean connectivity of each shift.

A panel for each shift. Each point is a pair of classes; across, the prediction min(alpha, beta) - gamma (arXiv
2204.00570: a head transfers where it is above 0), upwards the share of the target's test images that a two-class head
of the source gets right. Named are Spearman's correlation over pairs and its 95 % bootstrap interval; of three shifts
or more a panel of their means over pairs, a mark for each shift and network, correlated too.
`transfer_prediction_correlations.csv` has the same of the other prediction and of the controls
(`analysis.prediction`). Last, the connectivity itself, test errors of a classifier that tells two groups of augmented
images apart, which is of the images and the same for all networks on them. Networks that were pretrained on unlabelled
images of both domains; `python -m analysis.figures transfer_prediction` of several sweeps shows several shifts in one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.base.marks import DOTTED, panel_inches
from analysis.figures.base.networks import MARKERS, OKABE_ITO
from analysis.figures.base.numbers import Frame
from analysis.figures.base.sheet import FAINT, GREY, Line, Row, Words, marker, sheet, text_width
from analysis.figures.base.ticks import padded, tick_labels, y_ticks
from analysis.needs import Measured
from analysis.prediction import (
    ACCURACY,
    ALL_PAIRS,
    ALPHA,
    EDGES,
    SHIFT_MEANS,
    Correlation,
    correlations,
    counted,
    over_trials,
    shift_means,
)

TITLE = "Transfer of pairs of classes against connectivity"

ACROSS_DATASETS: Final = True
NEEDS = (Measured(ALPHA), Measured(ACCURACY))

_CHANCE = 0.5
_HEIGHT, _SMALL_HEIGHT = 2.3, 1.7  # inches
_COLUMNS = 3
_LEAST_WIDTH = 0.02
"""Of the axis of predictions: no pair differs from another by what could be told."""
_GREEK = {"rho": "\N{GREEK SMALL LETTER RHO}", "alpha": "\N{GREEK SMALL LETTER ALPHA}",
          "beta": "\N{GREEK SMALL LETTER BETA}", "gamma": "\N{GREEK SMALL LETTER GAMMA}"}  # fmt: skip
_AXES: Final = f"target accuracy (%) by min({_GREEK['alpha']}, {_GREEK['beta']}) \N{MINUS SIGN} {_GREEK['gamma']}"
_SPREAD: Final = "mean \N{PLUS-MINUS SIGN} SD of pairs"
_GROUPS: Final = (
    f"{_GREEK['rho']} the same group, {_GREEK['alpha']} a class in the other domain, {_GREEK['beta']} another class, "
    f"{_GREEK['gamma']} another class in the other domain"
)


def numbers(table: Frame) -> Frame:
    """Returns edges, predictions, controls and target accuracy of every pair, means over seeds; see `over_trials`."""
    return over_trials(table)


def more_numbers(table: Frame) -> dict[str, Frame]:
    """Returns the rank correlations, see `correlations`; the CSV's name ends with the key."""
    return {"correlations": pd.DataFrame(correlations(table), columns=list(Correlation._fields))}


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where no network that saw both domains has both connectivity and accuracy of pairs."""
    found = numbers(table)
    if found.empty:
        return None
    names = sorted(found["series"].unique())
    found_of = [one for one in correlations(table) if one.quantity == "prediction"]
    words = {one.series: _words(one) for one in found_of}
    looks = {
        name: Line(f"{name}: {words[name]}", OKABE_ITO[i % len(OKABE_ITO)], "", MARKERS[i % len(MARKERS)],
                   hollow=i >= len(OKABE_ITO))
        for i, name in enumerate(names)
    }  # fmt: skip
    panels = list(_panels(found))
    correlated = any(np.isfinite(one.value) for one in found_of)
    figure, axes = _page(panels, Words(TITLE, _note(found, words, correlated), ""), looks.values())
    for ax, panel in zip(axes, panels, strict=True):
        ax.set(ylim=panel.heights)
        ticks = y_ticks(*panel.heights, panel_inches(ax)[1])
        ax.set_yticks(ticks, tick_labels(ticks, panel.factor))
        if panel.points is None:
            _draw_edges(ax, found, looks)
        else:
            _draw_points(ax, panel.points, looks, panel.large)
    return figure


class _Panel(NamedTuple):
    """Pairs of classes of a shift, means of the shifts, or (`points` None) connectivity."""

    title: str
    heights: tuple[float, float]
    points: Frame | None = None
    large: bool = False

    @property
    def factor(self) -> float:
        """Accuracies are in per cent."""
        return 1 if self.points is None else 100


def _panels(found: Frame) -> Iterator[_Panel]:
    several, heights = found["dataset"].nunique() > 1, _range(found["accuracy"], _CHANCE)
    for dataset, points in found.groupby("dataset", sort=True):
        yield _Panel(str(dataset) if several else _AXES, heights, points)
    means = shift_means(found)
    if len(means):
        yield _Panel("means of the shifts", _range(means["accuracy"], _CHANCE), means, large=True)
    edges = padded(0.0, max(_CHANCE, float(found[list(EDGES)].to_numpy().max())), log=False)
    yield _Panel("connectivity" if several else f"connectivity of the images: {_SPREAD}", edges)


def _page(panels: Sequence[_Panel], words: Words, key: Iterable[Line]) -> tuple[Figure, list[Axes]]:
    """Empty panels, as many side by side as can be read."""
    columns = min(len(panels), _COLUMNS)
    height = _HEIGHT if columns < _COLUMNS else _SMALL_HEIGHT
    rows = []
    for start in range(0, len(panels), columns):
        shown = panels[start : start + columns]
        labels = [tick_labels(y_ticks(*panel.heights, height), panel.factor) for panel in shown]
        widths = [max(map(text_width, of_panel)) + 0.06 for of_panel in labels]
        missing = columns - len(shown)
        titles = [*(panel.title for panel in shown), *[None] * missing]
        rows.append(Row("", titles, height, [*widths, *[0.0] * missing], True))
    figure, axes = sheet(rows, words, key)
    return figure, [ax for row in axes for ax in row if ax is not None]


def _note(found: Frame, words: Mapping[str, str], correlated: bool) -> str:
    """What is shown, over how many seeds, and the correlations that are of no single series."""
    datasets = sorted(found["dataset"].unique())
    seeds = f"{found['n'].min()} to {found['n'].max()}" if found["n"].nunique() > 1 else f"{found['n'].iloc[0]}"
    everything = "".join(f"; {name}: {words[name]}" for name in (ALL_PAIRS, SHIFT_MEANS) if name in words)
    named = "; named: rank correlation over pairs and its 95 % bootstrap interval" if correlated else ""
    where, spread = ("Last panel", f", {_SPREAD}") if len(datasets) > 1 else ("Right", "")
    each = f"{_AXES}, a point for each pair; scales differ" if len(datasets) > 1 else datasets[0]
    distinct = len(_distinct(found)) == found["series"].nunique()
    several = "" if distinct else ", once where several networks saw the same images"
    return (
        f"{each}; test images; two-class logistic heads of the source; means over {seeds} seed(s){named}{everything}. "
        f"{where}{several}: how often a small classifier takes augmented images of one group for another's{spread}, "
        f"{_GROUPS}."
    )


def _draw_points(ax: Axes, points: Frame, looks: Mapping[str, Line], large: bool) -> None:
    """Pairs of classes of one shift, or means of the shifts."""
    x = _range(points["prediction"], 0.0, 0.0 if large else _LEAST_WIDTH)
    ax.set(xlim=x)
    ticks = y_ticks(*x, 0.5 * panel_inches(ax)[0])  # a number is wider than high
    ax.set_xticks(ticks, tick_labels(ticks))
    ax.grid(True, color=FAINT, lw=0.6)
    ax.axhline(_CHANCE, color=GREY, lw=0.8, ls=DOTTED, zorder=1)
    ax.axvline(0, color=GREY, lw=0.8, ls=DOTTED, zorder=1)
    for name, one in points.groupby("series", sort=True):
        size = marker(looks[str(name)], 6.0 if large else 3.6)
        ax.plot(one["prediction"], one["accuracy"], ls="none", alpha=1.0 if large else 0.75, zorder=2, **size)


def _draw_edges(ax: Axes, found: Frame, looks: Mapping[str, Line]) -> None:
    """Mean edges of each shift, side by side, with the spread over pairs."""
    shown = _distinct(found)
    ax.set(xlim=(-0.5, len(EDGES) - 0.5))
    ax.set_xticks(range(len(EDGES)), [_GREEK[edge.rpartition("_")[2]] for edge in EDGES])
    ax.yaxis.grid(True, color=FAINT, lw=0.6)
    for i, name in enumerate(shown):
        look, one = looks[name], found.loc[found["series"] == name, list(EDGES)].to_numpy()
        at = np.arange(len(EDGES)) + 0.6 * ((i + 0.5) / len(shown) - 0.5)
        mean, spread = one.mean(0), one.std(0, ddof=1) if len(one) > 1 else np.zeros(len(EDGES))
        ax.vlines(at, mean - spread, mean + spread, color=look.colour, lw=1.1)
        ax.plot(at, mean, ls="none", zorder=3, **marker(look, 4.5))


def _distinct(found: Frame) -> list[str]:
    """The first series of those on the same images, whose edges are the same."""
    first: dict[bytes, str] = {}
    for name, one in found.groupby("series", sort=True):
        edges = one.sort_values("level")[list(EDGES)].to_numpy(float).round(9)
        first.setdefault(edges.tobytes(), str(name))
    return list(first.values())


def _range(values: Frame, holds: float, least_width: float = 0.0) -> tuple[float, float]:
    """Of an axis; it holds the value from which on a head transfers."""
    low, high = min(float(values.min()), holds), max(float(values.max()), holds)
    air = max(0.0, least_width - (high - low)) / 2
    return padded(low - air, high + air, log=False)


def _words(one: Correlation) -> str:
    num = counted(one.num_units, *(("shift", "shifts") if one.series == SHIFT_MEANS else ("pair", "pairs")))
    if np.isnan(one.value):
        return f"{num}, no rank correlation"
    return f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f}), {num}"
