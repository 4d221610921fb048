"""Accuracy of linear heads against the purity of clusters and the eigengap, by label level.

Each point is a network at an epoch, seen along the k strongest directions of its representation (`--metrics
cluster_purity`), means over seeds. Left: across, the share of training images that have the most frequent label of
their cluster, of k clusters; upwards, the test accuracy of a linear head on these k directions. Right: across, the gap
after the k-th eigenvalue of the features' covariance, over the sum of all. arXiv 2106.04156: heads on the top k
eigenvectors of the graph of positive pairs err little where its clusters are pure and the gap is large. Grey: networks
before training, once where they are the same. Where the table has them (`sweeps/graph.py`, or `python -m
analysis graph`), these eigenvectors, a line for each graph (black where it is one); hollow what our bound guarantees of
their heads, where that is above 0. Purity and accuracy both rise with k: named is Spearman's correlation over all
points with its 95 % bootstrap interval, and the range of those over the points of one k; networks that are the same at
initialisation count once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.figures.base.graphs import apart
from analysis.figures.base.marks import DOTTED, panel_inches
from analysis.figures.base.needs import Labelled
from analysis.figures.base.networks import MARKERS, OKABE_ITO, Networks, networks
from analysis.figures.base.numbers import LEVELS, Frame, level_names, prepare
from analysis.figures.base.sheet import FAINT, GREY, INK, Line, Row, Words, marker, sheet, text_width, write
from analysis.figures.base.ticks import padded, tick_labels, y_ticks
from analysis.needs import Measured, OneOf
from analysis.purity import EIGENVECTORS, QUANTITIES, Correlation, correlation, heads, heads_of_eigenvectors
from analysis.table import FOREIGN

TITLE = "Linear heads against purity of clusters and eigengap"
_OF_ENCODERS: Final = (Measured("cluster_purity_top5", split="train"), Measured("linear_accuracy_top5", split="test"))
GRAPH_NEEDS: Final = (Labelled(),)
NEEDS: Final = (OneOf((_OF_ENCODERS, (Measured("cluster_purity"), Measured("head_error")))),)

LEAST_GAP: Final = 1e-6
"""Smaller eigengaps, as of equal eigenvalues, are drawn as this one, for the axis is logarithmic; a note says so."""

_HEIGHT = 2.4  # inches
_GRAPHS: Final = (INK, *OKABE_ITO[5::-1])
_ACROSS: Final = {"purity": "purity of k clusters (%)", "eigengap": "eigengap after the k-th direction (logarithmic)"}
_GUARANTEED: Final = "what the bound guarantees of them"
_RHO: Final = "\N{GREEK SMALL LETTER RHO}"
_UNTRAINED: Final = Line("before training", "#b8b8b8", "")


def numbers(table: Frame) -> Frame:
    """Returns a row for each network, epoch, level and k, means over seeds, and for each graph, level and k.

    Columns: network, method, depth, width, epoch, level, k, purity, accuracy, eigengap, least_accuracy (what the bound
    guarantees, NaN of encoders), n (seeds; of eigenvectors 1).
    """
    by = ["network", "method", "depth", "width", "epoch", "level", "k"]
    columns = [*QUANTITIES.values(), "least_accuracy"]
    graph = heads_of_eigenvectors(table).assign(method=EIGENVECTORS, depth=0, width=0, epoch=0)
    words = apart(table)
    graph = graph.assign(network=[EIGENVECTORS + words[key] for key in graph["trial_key"]])
    found: Frame = pd.concat([heads(_encoders(table)).assign(least_accuracy=np.nan), graph])
    found = found[found["level"].isin(LEVELS)].astype(dict.fromkeys(columns, float))
    groups = found.groupby(by, sort=True)
    return groups[columns].mean().assign(n=groups.size()).reset_index()


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where no level has both purity and accuracy."""
    found = numbers(table)
    if found.empty:
        return None
    encoders = found[found["method"] != EIGENVECTORS]
    shown = networks(_encoders(table)) if len(encoders) else Networks({}, {}, {}, {}, [], "")
    drawn: Frame = pd.concat([shown.drawn(encoders), found[found["method"] == EIGENVECTORS]])
    marks = {k: MARKERS[i % len(MARKERS)] for i, k in enumerate(sorted(drawn["k"].unique()))}
    levels = [level for level in LEVELS if (drawn["level"] == level).any()]
    views = [_View(level, drawn[drawn["level"] == level], encoders[encoders["level"] == level]) for level in levels]
    rows, names, named = [], level_names(table), list[Correlation]()
    for view in views:
        labels = tick_labels(y_ticks(*view.heights(), _HEIGHT), 100)
        widths = [max(map(text_width, labels)) + 0.06, 0.1]
        found_of = [correlation(view.encoders, across) for across in _ACROSS]
        rows.append(Row(f"{names[view.level]}: accuracy (%)", list(map(_words, found_of)), _HEIGHT, widths, True))
        named += found_of
    tied = f"; eigengaps of {LEAST_GAP:.0e} or less, as of equal eigenvalues, stand at {LEAST_GAP:.0e}"
    tied = tied if (drawn["eigengap"] <= LEAST_GAP).any() else ""
    note = f"{table['dataset'].iloc[0]}; dotted: accuracy = purity{tied}{_about(encoders, named)}{shown.left_out}."
    figure, axes = sheet(rows, Words(TITLE, note, ""), _key(drawn, shown, marks))
    for view, (left, right) in zip(views, axes, strict=True):
        assert left is not None and right is not None
        for across, ax in zip(_ACROSS, (left, right), strict=True):
            _panel(ax, view, across)
            _points(ax, view.drawn, across, shown.lines, marks, _graph_colours(drawn))
    for name, ax in zip(_ACROSS.values(), axes[-1], strict=True):
        assert ax is not None
        box = ax.get_position()
        write(figure, figure.get_size_inches()[0] * (box.x0 + box.x1) / 2, 0.18, name, ha="center", va="center")
    return figure


def _about(encoders: Frame, named: list[Correlation]) -> str:
    """The note on encoders: what is named above the panels, as far as it is, and of how many seeds they are."""
    words = ""
    if any(np.isfinite(one.value) for one in named):
        words += f"; {_RHO}: rank correlation over encoders, epochs and k (95 % bootstrap interval)"
        if any(np.isfinite(one.within[0]) for one in named):
            words += ", and its range over the points of one k"
        if encoders.duplicated(["level", "k", *QUANTITIES.values()]).any():
            words += "; networks that are the same at initialisation count once"
    least, most = encoders["n"].min(), encoders["n"].max()
    return f"{words}; means over {least if least == most else f'{least} to {most}'} seed(s)" if len(encoders) else ""


class _View(NamedTuple):
    """A level: the numbers that are drawn, and those of all encoders, drawn or not."""

    level: str
    drawn: Frame
    encoders: Frame

    def heights(self) -> tuple[float, float]:
        """Range of accuracy, of purity, and of what is guaranteed."""
        values = self.drawn[["purity", "accuracy"]].to_numpy().ravel()
        least = self.drawn["least_accuracy"].to_numpy()
        values = np.concatenate([values, least[least > 0]])
        return padded(float(values.min()), float(values.max()), log=False)

    def widths(self, across: str) -> tuple[float, float]:
        """Range of purity, the same as that of accuracy, or of the eigengap."""
        if across == "purity":
            return self.heights()
        gaps = self.drawn["eigengap"].clip(lower=LEAST_GAP)
        low, high = float(gaps.min()), float(gaps.max())
        return padded(low, high, log=True) if high > 2 * low else (low / 10, high * 10)


def _encoders(table: Frame) -> Frame:
    rows = table[table["method"] != EIGENVECTORS]
    return prepare(rows, *(name for name in rows["metric"].unique() if name.rpartition("_top")[0] in QUANTITIES))


def _key(drawn: Frame, shown: Networks, marks: Mapping[int, str]) -> list[Line]:
    """Networks by colour, k by marker, eigenvectors of each graph and their bound by lines."""
    encoders = drawn[drawn["method"] != EIGENVECTORS]
    key = [line._replace(dash="", marker="o") for line in shown.key_of(encoders)]
    key += [_UNTRAINED] if _untrained(encoders).any() else []
    key += [Line(f"k {k}", GREY, "", mark) for k, mark in marks.items()]
    graph = drawn[drawn["method"] == EIGENVECTORS]
    for name, colour in _graph_colours(drawn).items():
        words = name.removeprefix(EIGENVECTORS)
        key.append(Line(f"eigenvectors of an exact graph{words}, head on views of all images", colour))
    if (graph["least_accuracy"] > 0).any():
        key.append(Line(_GUARANTEED, INK, (0, (3, 2)), hollow=True))
    return key


def _untrained(rows: Frame) -> Frame:
    """Which rows are of networks before training, where others are of trained ones; a mask."""
    at_start = (rows["epoch"] == 0) & ~rows["method"].isin([FOREIGN, EIGENVECTORS])
    return at_start & (rows["epoch"] > 0).any()


def _graph_colours(drawn: Frame) -> dict[str, str]:
    """Black for the one graph, then the colours that networks get last."""
    graphs = drawn.loc[drawn["method"] == EIGENVECTORS, "network"].unique()
    return {name: _GRAPHS[i % len(_GRAPHS)] for i, name in enumerate(graphs)}


def _panel(ax: Axes, view: _View, across: str) -> None:
    """Ranges, ticks and what one compares with."""
    low, high = view.heights()
    x = view.widths(across)
    log = across == "eigengap"
    if log:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlim=x, ylim=(low, high))
    ticks = y_ticks(*x, (0.3 if log else 0.6) * panel_inches(ax)[0], log)  # a number is wider than high
    labels = tick_labels(ticks, 1 if log else 100)
    ax.set_xticks(ticks, [f"\N{LESS-THAN OR EQUAL TO}{text}" if log and tick == LEAST_GAP else text
                          for tick, text in zip(ticks, labels, strict=True)])  # fmt: skip
    ticks = y_ticks(low, high, _HEIGHT)
    ax.set_yticks(ticks, [""] * len(ticks) if log else tick_labels(ticks, 100))
    ax.grid(True, color=FAINT, lw=0.6)
    if not log:
        ax.plot([low, high], [low, high], color=GREY, lw=0.8, ls=DOTTED, zorder=1)


def _points(
    ax: Axes, drawn: Frame, across: str, looks: Mapping[str, Line], marks: Mapping[int, str], graphs: Mapping[str, str]
) -> None:
    """Points of one level; of eigenvectors of one graph joined from k to k, where that is no zigzag: by purity."""
    drawn = drawn.assign(eigengap=drawn["eigengap"].clip(lower=LEAST_GAP))
    untrained = _untrained(drawn)
    for k, one in drawn[untrained].drop_duplicates(["k", across, "accuracy"]).groupby("k"):
        ax.plot(
            one[across], one["accuracy"], ls="none", zorder=1.8, **marker(_UNTRAINED._replace(marker=marks[k]), 4.0)
        )
    for (name, k), one in drawn[~untrained].groupby(["network", "k"]):
        look = Line("", graphs[name]) if name in graphs else looks[name]
        ax.plot(one[across], one["accuracy"], ls="none", alpha=0.8, zorder=2,
                **marker(look._replace(marker=marks[k]), 4.0))  # fmt: skip
    for name, colour in graphs.items():
        graph = drawn[drawn["network"] == name].sort_values("k")
        least = graph[graph["least_accuracy"] > 0]
        for shown, value, dash in ((graph, "accuracy", "-"), (least, "least_accuracy", (0, (3, 2)))):
            if across == "purity":
                ax.plot(shown[across], shown[value], color=colour, lw=0.9, ls=dash, marker="None", zorder=1.5)
        for k, one in least.groupby("k"):
            look = Line("", colour, marker=marks[k], hollow=True)
            ax.plot(one[across], one["least_accuracy"], ls="none", zorder=2, **marker(look, 4.0))


def _words(one: Correlation) -> str:
    if np.isnan(one.value):
        return "" if one.num_points == 0 else f"{one.num_points} points, no rank correlation"
    within = "" if np.isnan(one.within[0]) else f"; within one k {one.within[0]:.2f} to {one.within[1]:.2f}"
    return f"{_RHO} {one.value:.2f} ({one.low:.2f} to {one.high:.2f}){within}"
