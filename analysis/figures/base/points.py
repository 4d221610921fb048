"""Points in the plane, coloured and marked by label: which are shown, and panels of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.base.marks import panel_inches
from analysis.figures.base.networks import MARKERS, OKABE_ITO
from analysis.figures.base.numbers import LEVELS, REPRESENTATION, Frame, evenly, trials
from analysis.figures.base.sheet import FONT, GREY, INK, LINE, SIZE, Line, Row, Words, marker, sheet, wrap
from analysis.needs import is_self_supervised

ALONE: Final = "every panel is a UMAP by itself: axes have no unit and are not those of another panel"
MAX_SHOWN: Final = 6
"""Layers and epochs of a grid."""

_POINT = ["trial_key", "epoch", "layer", "level", "point"]


def one_network(table: Frame, least_epochs: int) -> Frame:
    """Returns the points of one trial, sorted; none where no trial has so many epochs.

    Of several it is one that learns without labels, of these the deepest, of these the widest, of these the first by
    method, seed and trial key. The rows of another trial, given alone, are those of that one.

    Raises:
        UserError: Several data sets.
    """
    chosen = candidates(table, LEVELS, least_epochs)
    return points_of(table, LEVELS, chosen.head(1))


def candidates(table: Frame, levels: Sequence[str], least_epochs: int) -> Frame:
    """Returns the trials that are projected at some of the levels at so many epochs, the one to be shown first.

    Raises:
        UserError: Several data sets.
    """
    names = trials(table)
    table = table[table["level"].isin(levels)]
    num_epochs = names["trial_key"].map(table.groupby("trial_key")["epoch"].nunique()).fillna(0)
    names = names[num_epochs >= least_epochs]
    names = names.assign(labelled=~names["method"].map(is_self_supervised).astype(bool))
    order = ["labelled", "depth", "width", "method", "seed", "trial_key"]
    return names.sort_values(order, ascending=[True, False, False, True, True, True])


def points_of(table: Frame, levels: Sequence[str], chosen: Frame) -> Frame:
    """Returns the points of trials at some levels, sorted.

    Args:
        table: See `analysis.projections`.
        levels: In order.
        chosen: Some of `candidates`.
    """
    rows = table[table["trial_key"].isin(chosen["trial_key"])].drop_duplicates(_POINT, keep="last")
    rows = rows.assign(network=rows["trial_key"].map(dict(zip(chosen["trial_key"], chosen["network"], strict=True))))
    at = {level: i for i, level in enumerate(levels)}
    rows = rows[rows["level"].isin(levels)].sort_values(_POINT, key=lambda c: c.map(at) if c.name == "level" else c)
    return rows[["method", "depth", "width", "seed", "dataset", "network", *_POINT, "layer_name", "label",
                 "label_name", "x", "y"]].reset_index(drop=True)  # fmt: skip


def who(found: Frame, table: Frame) -> str:
    """Returns which network is shown, and of how many: "vicreg, depth 2, seed 0 on cifar100; 1 of 4 trials ..."."""
    one, several = found.iloc[0], table["trial_key"].nunique()
    words = [f"{name} {one[name]}" for name in ("depth", "width") if one[name] > 0]
    shown = ", ".join([one["method"], *words, f"seed {one['seed']}"]) + f" on {one['dataset']}"
    return shown + (f"; 1 of {several} trials (others: --trials KEY)" if several > 1 else "")


def subsample(found: Frame) -> str:
    """Returns which images each level shows: "class: 5 labels, 100 test images each; sample: ...", one panel's."""
    words = []
    for level, of_level in found.groupby("level", sort=False):
        _, panel = next(iter(of_level.groupby(["trial_key", "layer", "epoch"])))
        counts = panel.groupby("label").size()
        each = str(counts.max()) if counts.nunique() == 1 else f"{counts.min()} to {counts.max()}"
        points = "views" if level == LEVELS[0] else "test images"
        words.append(f"{level}: {len(counts)} labels, {each} {points} each")
    return "; ".join(words)


def by_layer_and_epoch(table: Frame, level: str) -> Frame:
    """Returns the points of one network at a level: of at most 6 layers and 6 epochs, the first, the last and between.

    A representation that repeats the layer before it is left out.
    """
    found = _distinct(table, level)
    for name in ("layer", "epoch"):
        found = found[found[name].isin(evenly(sorted(found[name].unique()), MAX_SHOWN))]
    return found.reset_index(drop=True)


def _distinct(table: Frame, level: str) -> Frame:
    """The points of one network at a level, without a representation that repeats the layer before it."""
    found = one_network(table, 1)
    found = found[found["level"] == level]
    last = found[found["layer_name"] == REPRESENTATION]
    pair = last.merge(found.assign(layer=found["layer"] + 1), on=_POINT, suffixes=("", "_before"))
    same = pair["x"].eq(pair["x_before"]) & pair["y"].eq(pair["y_before"])
    return found[found["layer_name"] != REPRESENTATION] if len(pair) and same.all() else found


def draw_grid(table: Frame, level: str, title: str) -> Figure | None:
    """Draws the points of `by_layer_and_epoch`: a row for each layer, a column for each epoch; None without any."""
    found = by_layer_and_epoch(table, level)
    if found.empty:
        return None
    key = looks(found)
    epochs = sorted(found["epoch"].unique())
    rows = []
    for (layer, name), of_layer in found.groupby(["layer", "layer_name"], sort=True):
        repeated = layer == found["layer"].max() and name != REPRESENTATION
        text = f"{layer} {name} = {layer + 1} {REPRESENTATION}" if repeated else f"{layer} {name}"
        rows.append(PanelRow(text, [of_layer[of_layer["epoch"] == epoch] for epoch in epochs], key))
    fewer = len(found) < len(_distinct(table, level))
    note = f"{who(found, table)}; {subsample(found)}; {ALONE}{'; some of all layers and epochs' if fewer else ''}."
    titles = [f"epoch {epoch}" for epoch in epochs]
    return draw_points(rows, titles, Words(title, note, ""), list(key.values()), widest=1.5)


class PanelRow(NamedTuple):
    """A row of panels.

    Attributes:
        name: What it shows.
        panels: Points of each panel; None where there is no panel.
        looks: Of each label.
        legend: The labels are named in a panel at the right end.
        titles: Of its panels, other than the columns', which the first row has where it has none of its own.
    """

    name: str
    panels: Sequence[Frame | None]
    looks: dict[int, Line]
    legend: bool = False
    titles: Sequence[str] = ()


def looks(found: Frame) -> dict[int, Line]:
    """Returns colour, marker and name of each label, in the order of the labels."""
    shown = found[["label", "label_name", "level"]].drop_duplicates("label").sort_values("label")
    return {
        label: Line(name or f"{level} {label}", OKABE_ITO[i % len(OKABE_ITO)], "", MARKERS[i % len(MARKERS)])
        for i, (label, name, level) in enumerate(shown.itertuples(index=False))
    }


def draw_points(
    rows: Sequence[PanelRow], titles: Sequence[str], words: Words, key: Sequence[Line] = (), *, widest: float
) -> Figure:
    """Draws a square panel for each set of points.

    Args:
        rows: What is drawn.
        titles: Of the columns.
        words: The figure's text.
        key: Labels that all rows share, named under the title.
        widest: Inches a panel has at most.
    """
    legend = any(row.legend for row in rows)
    num_columns = len(titles) + legend
    side = min(widest, (6.3 - 0.16 * num_columns) / num_columns)
    texts = [_titles(row, titles if i == 0 else [""] * len(titles), legend) for i, row in enumerate(rows)]
    layout = [Row(row.name, text, side, [0.0] * num_columns, False) for row, text in zip(rows, texts, strict=True)]
    figure, axes = sheet(layout, words, key, widest=side, right=0.04)
    for row, row_axes in zip(rows, axes, strict=True):
        for points, ax in zip(row.panels, row_axes, strict=False):
            if points is None:
                continue
            assert ax is not None
            _scatter(ax, points, row.looks, side)
        if row.legend and row_axes[-1] is not None:
            _legend(row_axes[-1], row.looks)
    return figure


def _titles(row: PanelRow, of_columns: Sequence[str], legend: bool) -> list[str | None]:
    """Titles of the panels of a row; None where it has no panel."""
    own = row.titles or of_columns
    found = [None if points is None else text for points, text in zip(row.panels, own, strict=True)]
    return [*found, *[""] * legend]


def _scatter(ax: Axes, points: Frame, looks: dict[int, Line], side: float) -> None:
    size = 1.3 + side
    for label, look in looks.items():
        of_label = points[points["label"] == label]
        ax.plot(of_label["x"], of_label["y"], ls="none", alpha=0.75, **marker(look, size), clip_on=False)
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.06)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set(visible=True, color=GREY, linewidth=0.4)


def _legend(ax: Axes, looks: dict[int, Line]) -> None:
    """Names of the labels, one below the other from above."""
    width, height = panel_inches(ax)
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    y = height - 0.12
    for look in looks.values():
        ax.plot(0.1, y, ls="none", **marker(look, 4.5))
        for line in wrap(look.label, width - 0.22).split("\n"):
            ax.text(0.22, y, line, size=SIZE, family=FONT, color=INK, va="center_baseline")
            y -= LINE
        y -= 0.05
