"""Target accuracy of pairs of classes against what connectivity predicts, and the mean connectivity of each shift.

Left: each point is a pair of classes; across, the prediction min(alpha, beta) - gamma (arXiv 2204.00570: a head
transfers where it is above 0); upwards, the share of the target's test images that a two-class head of the source gets
right. Named are Spearman's correlation over pairs and its 95 % bootstrap interval; of three shifts or more large marks
are means over pairs, a point for each shift and network, correlated too. `transfer_prediction_correlations.csv` has the
same of the other prediction and of the controls (`analysis.prediction`). Right: the connectivity itself, test errors
of a classifier that tells two groups of augmented images apart, which is of the images and the same for all networks on
them. Networks that were pretrained on unlabelled images of
both domains; `python -m analysis.figures transfer_prediction` of several sweeps shows several shifts in one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.base.marks import DOTTED, panel_inches
from analysis.figures.base.networks import MARKERS, OKABE_ITO
from analysis.figures.base.numbers import Frame
from analysis.figures.base.sheet import FAINT, GREY, INK, Line, Row, Words, marker, sheet, text_width
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
_HEIGHT = 2.3  # inches
_LEAST_WIDTH = 0.02
"""Of the axis of predictions: no pair differs from another by what could be told."""
_GREEK = {"rho": "\N{GREEK SMALL LETTER RHO}", "alpha": "\N{GREEK SMALL LETTER ALPHA}",
          "beta": "\N{GREEK SMALL LETTER BETA}", "gamma": "\N{GREEK SMALL LETTER GAMMA}"}  # fmt: skip
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
    (x, y), left, right = _ranges(found), f"target accuracy (%) by min({_GREEK['alpha']}, {_GREEK['beta']})", ""
    left, right = (
        f"{left} \N{MINUS SIGN} {_GREEK['gamma']}",
        "connectivity of the images: mean \N{PLUS-MINUS SIGN} SD of pairs",
    )
    at, edge = y_ticks(*y, _HEIGHT), padded(0.0, max(_CHANCE, float(found[list(EDGES)].to_numpy().max())), log=False)
    edge_at = y_ticks(*edge, _HEIGHT)
    widths = [max(map(text_width, tick_labels(ticks, factor))) + 0.06 for ticks, factor in ((at, 100), (edge_at, 1))]
    seeds = f"{found['n'].min()} to {found['n'].max()}" if found["n"].nunique() > 1 else f"{found['n'].iloc[0]}"
    everything = "".join(f"; {name}: {words[name]}" for name in (ALL_PAIRS, SHIFT_MEANS) if name in words)
    correlated = any(np.isfinite(one.value) for one in found_of)
    named = "; named: rank correlation over pairs and its 95 % bootstrap interval" if correlated else ""
    several = "" if len(_distinct(found)) == len(names) else ", once where several networks saw the same images"
    note = (
        f"{', '.join(sorted(found['dataset'].unique()))}; test images; two-class logistic heads of the source; "
        f"means over {seeds} seed(s){named}{everything}. "
        f"Right{several}: how often a small classifier takes augmented images of one group for another's, {_GROUPS}."
    )
    row = Row("", [left, right], _HEIGHT, widths, True)
    figure, axes = sheet([row], Words(TITLE, note, ""), looks.values())
    points, edges = axes[0]
    assert points is not None and edges is not None
    points.set(xlim=x, ylim=y)
    ticks = y_ticks(*x, 0.7 * panel_inches(points)[0])  # a number is wider than high
    points.set_xticks(ticks, tick_labels(ticks))
    points.set_yticks(at, tick_labels(at, 100))
    points.grid(True, color=FAINT, lw=0.6)
    if y[0] < _CHANCE < y[1]:
        points.axhline(_CHANCE, color=GREY, lw=0.8, ls=DOTTED, zorder=1)
    if x[0] < 0 < x[1]:
        points.axvline(0, color=GREY, lw=0.8, ls=DOTTED, zorder=1)
    for name, look in looks.items():
        one = found[found["series"] == name]
        points.plot(one["prediction"], one["accuracy"], ls="none", alpha=0.75, zorder=2, **marker(look, 3.6))
    for _, one in shift_means(found).iterrows():
        look = looks[one["series"]]
        edge_of = {"mew": 2.0} if look.hollow else {"mec": INK, "mew": 1.0}
        points.plot(one["prediction"], one["accuracy"], ls="none", zorder=3, **{**marker(look, 8.0), **edge_of})
    _draw_edges(edges, found, looks)
    edges.set(ylim=edge)
    edges.set_yticks(edge_at, tick_labels(edge_at))
    return figure


def _draw_edges(ax: Axes, found: Frame, looks: dict[str, Line]) -> None:
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


def _ranges(found: Frame) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of the prediction and of the accuracy; each holds the value from which on a head transfers."""
    low, high = min(float(found["prediction"].min()), 0.0), max(float(found["prediction"].max()), 0.0)
    air = max(0.0, _LEAST_WIDTH - (high - low)) / 2
    x = padded(low - air, high + air, log=False)
    y = padded(min(float(found["accuracy"].min()), _CHANCE), max(float(found["accuracy"].max()), _CHANCE), log=False)
    return x, y


def _words(one: Correlation) -> str:
    num = counted(one.num_units, *(("shift", "shifts") if one.series == SHIFT_MEANS else ("pair", "pairs")))
    if np.isnan(one.value):
        return f"{num}, no rank correlation"
    return f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f}), {num}"
