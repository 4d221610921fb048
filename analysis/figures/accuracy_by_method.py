"""Linear and nearest class-centre test accuracy of the representation at the last epoch, method by method.

Sorted by linear accuracy. Drawn where a sweep compares methods. No published panel.
"""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.base.marks import DOTTED, panel_inches
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import (
    LINEAR,
    NCC,
    REPRESENTATION,
    Frame,
    last_epoch,
    level_names,
    over_seeds,
    prepare,
    seeds_note,
    subject,
    values,
    with_chance,
)
from analysis.figures.base.sheet import (
    FAINT,
    FONT,
    GREY,
    INK,
    PAGE,
    SIZE,
    Line,
    Row,
    Words,
    marker,
    sheet,
    shortened,
    text_width,
)
from analysis.figures.base.ticks import padded, reaching, tick_labels, y_ticks
from analysis.table import FOREIGN

TITLE = "Test accuracy of the representation by method"

MAX_ROWS: Final = 24
PROBES: Final = {LINEAR: Line("linear probe", INK, "", "o"), NCC: Line("NCC", INK, "", "o", hollow=True)}

_HEADS: Final = {LINEAR: "linear", NCC: "NCC"}
_ROW = 0.23  # inches
_LONGEST = 1.7  # inches, of a name
_AWAY = 0.10  # inches between a panel and the numbers beside it
_NARROWEST = 1.2  # inches, of a panel
_BELOW = 0.8  # rows kept free below the last, for the name of the dotted line


def numbers(table: Frame) -> Frame:
    """Returns linear and NCC accuracy by network and level at its last epoch, with that of chance.

    Empty where there is one method only. Networks that were measured at initialisation alone, as those of failed
    trials are, are left out where others were trained.
    """
    rows = prepare(table, LINEAR, NCC)
    rows = rows[rows["layer_name"] == REPRESENTATION]
    rows = last_epoch(pd.concat([values(rows, LINEAR), values(rows, NCC)]))
    if (rows["epoch"] > 0).any():
        rows = rows[(rows["epoch"] > 0) | (rows["method"] == FOREIGN)]
    found = with_chance(over_seeds(rows, ["level", "metric", "epoch"]), table)
    return found if found["method"].nunique() > 1 else found.iloc[:0]


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there is one method only, or no linear accuracy."""
    found = numbers(table)
    ranks = _ranks(found)
    if found[found["network"].isin(ranks)]["method"].nunique() < 2:
        return None
    left_out = "" if len(ranks) <= MAX_ROWS else f"; the best {MAX_ROWS} of {len(ranks)} networks (the CSV has all)"
    ranks = ranks[:MAX_ROWS]
    found = found[found["network"].isin(ranks)]
    levels = list(found["level"].unique())
    labels = [shortened(label, _LONGEST) for label in _labels(found, ranks)]
    columns = _columns(found)
    right = 0.14 + sum(columns.values()) + _AWAY * len(columns)
    rows = _layout([level_names(table)[level] for level in levels], labels, right)
    epochs = " or ".join(map(str, sorted(found["epoch"].unique())))
    note = f"{subject(table)}; test images; epoch {epochs}; sorted by linear accuracy; {seeds_note(found)}{left_out}."
    key = [look for probe, look in PROBES.items() if (found["metric"] == probe).any()]
    figure, axes = sheet(rows, Words(TITLE, note, "accuracy (%)"), key, right=right)
    looks = networks(table).lines
    panels = [ax for row in axes for ax in row if ax is not None]
    for i, (level, ax) in enumerate(zip(levels, panels, strict=True)):
        one_level = found[found["level"] == level]
        _axes(ax, one_level, labels if i == 0 or len(rows) > 1 else [""] * len(labels))
        for _, one in one_level.iterrows():
            _dot(ax, len(ranks) - 1 - ranks.index(one["network"]), one, looks.get(one["network"]))
        _write_numbers(ax, one_level, ranks, columns)
    return figure


def _layout(titles: list[str], labels: list[str], right: float) -> list[Row]:
    """Levels side by side, or below each other where their panels would be too narrow."""
    height, label = _ROW * (len(labels) + _BELOW), max(map(text_width, labels)) + 0.06
    room = PAGE - 0.3 - label - len(titles) * right - 0.22 * (len(titles) - 1)
    if room / len(titles) >= _NARROWEST:
        return [Row("", titles, height, [label, *[0.0] * (len(titles) - 1)], True)]
    return [Row("", [title], height, [label], True) for title in titles]


def _ranks(found: Frame) -> list[str]:
    """Networks from the best to the worst, by linear accuracy at the finest level that is shown."""
    linear = found[found["metric"] == LINEAR]
    finest = linear[linear["level"] == ("class" if (linear["level"] == "class").any() else linear["level"].min())]
    return finest.sort_values("mean", ascending=False, kind="stable")["network"].tolist()


def _labels(found: Frame, ranks: list[str]) -> list[str]:
    """Names of the rows: of the method where that is enough; with the epoch of those that have not got as far."""
    one = found.drop_duplicates("network").set_index("network").loc[ranks]
    names = one["method"].tolist() if one["method"].is_unique else ranks
    newest = one["epoch"].max()
    return [name if epoch == newest else f"{name}, epoch {epoch}"
            for name, epoch in zip(names, one["epoch"], strict=True)]  # fmt: skip


def _axes(ax: Axes, rows: Frame, labels: list[str]) -> None:
    spread = rows["spread"].fillna(0)
    chance = rows["chance"].min()
    low, high = reaching(float((rows["mean"] - spread).min()), float((rows["mean"] + spread).max()), float(chance))
    low, high = padded(low, high, log=False)
    ax.set(xlim=(low, high), ylim=(-0.5 - _BELOW, len(labels) - 0.5))
    ticks = y_ticks(low, high, 0.7 * panel_inches(ax)[0])  # a number is wider than high
    ax.set_xticks(ticks, tick_labels(ticks, 100))
    ax.set_yticks(range(len(labels)), labels[::-1])
    ax.tick_params(axis="y", length=0)
    ax.grid(True, color=FAINT, lw=0.6)
    if chance > 0:
        inside = low <= chance
        text = f"chance {100 * chance:.3g}%" if inside else f"\N{LEFTWARDS ARROW} chance {100 * chance:.3g}%"
        if inside:
            ax.axvline(chance, color=GREY, lw=0.8, ls=DOTTED, zorder=1)
        ax.annotate(text, (chance if inside else low, -0.9), xytext=(3, 0), textcoords="offset points", va="center",
                    size=SIZE, color=GREY, family=FONT)  # fmt: skip


def _dot(ax: Axes, y: int, one: Frame, look: Line | None) -> None:
    colour = look.colour if look else INK
    line = PROBES[one["metric"]]._replace(colour=colour)
    spread = one["spread"] if one["n"] > 1 else 0.0
    ax.plot([one["mean"] - spread, one["mean"] + spread], [y, y], color=colour, lw=1.1, zorder=2)
    ax.plot([one["mean"]], [y], ls="none", zorder=3, **marker(line, 5))


def _number(one: Frame) -> str:
    spread = f" \N{PLUS-MINUS SIGN} {100 * one['spread']:.1f}" if one["n"] > 1 else ""
    return f"{100 * one['mean']:.1f}{spread}"


def _columns(found: Frame) -> dict[str, float]:
    """Width in inches of the column of numbers of each probe."""
    texts = {probe: [_number(one) for _, one in found[found["metric"] == probe].iterrows()] for probe in PROBES}
    return {probe: max(map(text_width, [*rows, _HEADS[probe]])) for probe, rows in texts.items() if rows}


def _write_numbers(ax: Axes, rows: Frame, ranks: list[str], columns: dict[str, float]) -> None:
    """The numbers beside the panel, right-aligned under the name of their probe."""
    right = 0.0
    for probe, width in columns.items():
        right += _AWAY + width
        looks = {"textcoords": "offset points", "ha": "right", "size": SIZE, "family": FONT, "annotation_clip": False}
        ax.annotate(_HEADS[probe], (1, 1), xycoords="axes fraction", xytext=(72 * right, 4.3), color=INK, **looks)
        for _, one in rows[rows["metric"] == probe].iterrows():
            y = len(ranks) - 1 - ranks.index(one["network"])
            at = {"xycoords": ("axes fraction", "data"), "xytext": (72 * right, 0), "va": "center_baseline"}
            ax.annotate(_number(one), (1, y), color=INK, **at, **looks)
