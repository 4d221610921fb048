"""A row for each network, the best above: dots with their spread over seeds, and the numbers beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.base.marks import DOTTED, panel_inches
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import Frame, seeds_note, subject
from analysis.figures.base.sheet import (
    FAINT,
    FONT,
    GREY,
    INK,
    LINE,
    PAGE,
    SIZE,
    Line,
    Row,
    Words,
    marker,
    sheet,
    text_width,
    wrap,
)
from analysis.figures.base.ticks import padded, reaching, tick_labels, y_ticks
from analysis.table import FOREIGN

MAX_ROWS: Final = 24

_ROW = 0.23  # inches, of one whose name is one line
_MORE = 0.06  # inches, of each further mark of a row
_BESIDE = 0.26  # rows between two marks of one, so that their bars can be told apart
_LONGEST = 3.5  # inches, of a line of a name
_AWAY = 0.10  # inches between a panel and the numbers beside it
_NARROWEST = 1.2  # inches, of a panel
_BELOW = 0.8  # rows kept free below the last, for the name of the dotted line
_NOTHING = "\N{EN DASH}"


class Series(NamedTuple):
    """One mark of every row: its name in the key, its name above the numbers, whether it is hollow, and its shape."""

    label: str
    head: str
    hollow: bool = False
    shape: str = "o"

    def line(self, colour: object = INK) -> Line:
        """Returns how it is drawn."""
        return Line(self.label, colour, "", self.shape, self.hollow)


def trained(rows: Frame) -> Frame:
    """Returns the rows without networks that were measured at initialisation alone, where others were trained.

    Those of failed trials are. Networks that were trained elsewhere are kept.
    """
    return rows[(rows["epoch"] > 0) | (rows["method"] == FOREIGN)] if (rows["epoch"] > 0).any() else rows


def ranked(found: Frame) -> list[str]:
    """Returns the networks from the best to the worst mean."""
    return found.sort_values("mean", ascending=False, kind="stable")["network"].tolist()


def draw_dots(
    table: Frame,
    found: Frame,
    ranks: Sequence[str],
    series: Mapping[str, Series],
    title: str,
    about: str,
    *,
    one_scale: bool = False,
    bars: Callable[[Frame], str] = seeds_note,
) -> Figure | None:
    """Draws accuracies of networks; None where they are of one method.

    Args:
        table: What the numbers are of.
        found: Accuracies by network at one epoch each, with `panel`, the title of the panel each stands in, `series`
            and chance.
        ranks: Networks that are drawn, from above; the first `MAX_ROWS` are.
        series: By `series`, in order.
        title: Of the figure.
        about: What is shown, for the note.
        one_scale: All panels have the same scale, not each its own.
        bars: Says what they are, for the note.
    """
    found = found[found["network"].isin(ranks)]
    if found["method"].nunique() < 2:
        return None
    left_out = "" if len(ranks) <= MAX_ROWS else f"; the best {MAX_ROWS} of {len(ranks)} networks (the CSV has all)"
    ranks = list(ranks[:MAX_ROWS])
    found = found[found["network"].isin(ranks)]
    titles = list(found["panel"].unique())
    labels = [wrap(label, _LONGEST) for label in _labels(found, ranks)]
    series = {name: one for name, one in series.items() if (found["series"] == name).any()}
    columns = _columns(found, series)
    right = 0.14 + sum(columns.values()) + _AWAY * len(columns)
    rows = _layout(titles, labels, right, len(series))
    epochs = " or ".join(map(str, sorted(found["epoch"].unique())))
    cells = len(titles) * len(ranks) * len(series)
    holes = f"; {_NOTHING}: not measured" if len(found) < cells else ""
    note = f"{subject(table)}; test images; epoch {epochs}; {about}; {bars(found)}{left_out}{holes}."
    key = [one.line() for one in series.values()]
    figure, axes = sheet(rows, Words(title, note, "accuracy (%)"), key, right=right)
    looks = networks(table).lines
    panels = [ax for row in axes for ax in row if ax is not None]
    for i, (panel, ax) in enumerate(zip(titles, panels, strict=True)):
        one_panel = found[found["panel"] == panel]
        _axes(ax, found if one_scale else one_panel, labels if i == 0 or len(rows) > 1 else [""] * len(labels))
        for _, one in one_panel.iterrows():
            look = looks.get(one["network"])
            line = series[one["series"]].line(look.colour if look else INK)
            beside = _BESIDE * ((len(series) - 1) / 2 - list(series).index(one["series"]))
            _dot(ax, len(ranks) - 1 - ranks.index(one["network"]) + beside, one, line)
        _write_numbers(ax, one_panel, ranks, columns, series)
    return figure


def _layout(titles: list[str], labels: list[str], right: float, num_series: int) -> list[Row]:
    """Levels side by side, or below each other where their panels would be too narrow."""
    row = _ROW + _MORE * (num_series - 1) + LINE * max(label.count("\n") for label in labels)
    height = row * (len(labels) + _BELOW)
    label = max(text_width(line) for label in labels for line in label.split("\n")) + 0.06
    room = PAGE - 0.3 - label - len(titles) * right - 0.22 * (len(titles) - 1)
    if room / len(titles) >= _NARROWEST:
        return [Row("", titles, height, [label, *[0.0] * (len(titles) - 1)], True)]
    return [Row("", [title], height, [label], True) for title in titles]


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
    ends = float((rows["mean"] - spread).clip(lower=0).min()), float((rows["mean"] + spread).clip(upper=1).max())
    low, high = reaching(*ends, float(chance))
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


def _dot(ax: Axes, y: float, one: Frame, line: Line) -> None:
    spread = one["spread"] if one["n"] > 1 else 0.0
    ax.plot(
        [max(0.0, one["mean"] - spread), min(1.0, one["mean"] + spread)], [y, y], color=line.colour, lw=1.1, zorder=2
    )
    ax.plot([one["mean"]], [y], ls="none", zorder=3, **marker(line, 5))


def _number(one: Frame) -> str:
    spread = f" \N{PLUS-MINUS SIGN} {100 * one['spread']:.1f}" if one["n"] > 1 else ""
    return f"{100 * one['mean']:.1f}{spread}"


def _columns(found: Frame, series: Mapping[str, Series]) -> dict[str, float]:
    """Width in inches of the column of numbers of each series."""
    texts = {name: [_number(one) for _, one in found[found["series"] == name].iterrows()] for name in series}
    return {name: max(map(text_width, [*rows, series[name].head])) for name, rows in texts.items()}


def _write_numbers(
    ax: Axes, rows: Frame, ranks: list[str], columns: dict[str, float], series: Mapping[str, Series]
) -> None:
    """The numbers beside the panel, right-aligned under the name of their series."""
    right = 0.0
    for name, width in columns.items():
        right += _AWAY + width
        looks = {"textcoords": "offset points", "ha": "right", "size": SIZE, "family": FONT, "annotation_clip": False}
        ax.annotate(series[name].head, (1, 1), xycoords="axes fraction", xytext=(72 * right, 4.3), color=INK, **looks)
        of_series = rows[rows["series"] == name].set_index("network")
        for y, network in enumerate(reversed(ranks)):
            at = {"xycoords": ("axes fraction", "data"), "xytext": (72 * right, 0), "va": "center_baseline"}
            text, colour = (_number(of_series.loc[network]), INK) if network in of_series.index else (_NOTHING, GREY)
            ax.annotate(text, (1, y), color=colour, **at, **looks)
