"""The page of a figure, laid out in inches so that no text can meet another: title, note, key, empty panels.

A page is at most 7.2 inches wide, two columns of a journal (183 mm), and no text on it is smaller than 8 points.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

INK: Final = "#222222"
GREY: Final = "#666666"
FAINT: Final = "#e6e6e6"
FONT: Final = "DejaVu Sans"  # comes with matplotlib, so a figure looks the same everywhere
SIZE: Final = 8.0
"""Points, of all text but the title."""

PAGE: Final = 7.2
"""Inches, width of the widest page."""

LINE: Final = 0.155
"""Inches, height of one line of text."""

_TITLE_SIZE = 10.0
_MARGIN, _BOTTOM, _X_LABELS, _GAP, _ROW_GAP = 0.12, 0.26, 0.21, 0.14, 0.10  # inches
_OVERHANG = 0.06  # inches, of the last number below the last panel
_TITLE_LINE, _KEY_LINE = 0.20, 0.19  # inches, height of one line
_SWATCH, _DOT, _AFTER_ENTRY = 0.38, 0.16, 0.18  # inches
_HINTING = 1.03
_UNBROKEN = re.compile(r"(?:depth|width|epoch|k) \d+\S*|\S+")  # between these, lines may be broken
_NARROWEST = 3.5  # inches, one column of a journal


class Words(NamedTuple):
    """The text of a figure: its title, what is shown and over how many seeds, and the horizontal axis."""

    title: str
    note: str
    x: str


class Line(NamedTuple):
    """How one series is drawn.

    Attributes:
        label: Its name.
        colour: Any matplotlib colour.
        dash: matplotlib's line style; "" draws no line, the marker alone.
        marker: matplotlib's marker.
        hollow: The marker is white inside.
        band: Its spread is drawn.
    """

    label: str
    colour: Any
    dash: Any = "solid"
    marker: str = "o"
    hollow: bool = False
    band: bool = True


class Row(NamedTuple):
    """A row of panels.

    Attributes:
        label: Name of the vertical axis.
        titles: Of its panels; None where the row has no panel.
        height: Of the panels in inches.
        tick_widths: Inches that the labels at each panel's vertical axis take, 0 without any.
        x_labels: There are numbers below the panels.
    """

    label: str
    titles: Sequence[str | None]
    height: float
    tick_widths: Sequence[float]
    x_labels: bool


def sheet(
    rows: Sequence[Row], words: Words, key: Iterable[Line] = (), *, widest: float = 3.1, right: float = _MARGIN
) -> tuple[Figure, list[list[Axes | None]]]:
    """Returns a figure and its empty panels, row by row.

    Args:
        rows: What is to be laid out.
        words: The figure's own text.
        key: Lines to be named under the title.
        widest: Inches a panel has at most.
        right: Inches to keep free at the right of every panel.
    """
    labels = [wrap(row.label, max(row.height, 0.9)) for row in rows]
    ticks = [max(widths) + 0.08 for widths in zip(*(row.tick_widths for row in rows), strict=True)]
    name_width = _num_lines(*labels) * LINE + 0.06 if any(labels) else 0.0
    num_columns = len(ticks)
    taken = _MARGIN + _OVERHANG + name_width + sum(ticks) + num_columns * right + (num_columns - 1) * _GAP
    width = min(widest, (PAGE - taken) / num_columns)
    page_width = max(taken + num_columns * width, _NARROWEST)
    inner = page_width - 2 * _MARGIN
    title, note = wrap(words.title, inner, _TITLE_SIZE, bold=True), wrap(words.note, inner)
    key_rows = _key_rows(key, inner)
    strips = [_strip([wrap(t or "", width + right) for t in row.titles]) for row in rows]
    heights = [s + r.height + _ROW_GAP + _X_LABELS * r.x_labels for s, r in zip(strips, rows, strict=True)]
    heights[-1] -= _ROW_GAP
    title_height, note_height = _TITLE_LINE * _num_lines(title), LINE * _num_lines(note)
    key_heights = [_KEY_LINE + LINE * (_num_lines(*(line.label for line in entries)) - 1) for entries in key_rows]
    header = _MARGIN + title_height + note_height + sum(key_heights) + 0.10
    page_height = header + sum(heights) + _BOTTOM

    figure = Figure((page_width, page_height), facecolor="white")
    FigureCanvasAgg(figure)
    y = page_height - _MARGIN
    write(figure, _MARGIN, y, title, size=_TITLE_SIZE, weight="bold", va="top")
    write(figure, _MARGIN, y - title_height, note, color=GREY, va="top", linespacing=1.3)
    for i, entries in enumerate(key_rows):
        _draw_key(figure, entries, y - title_height - note_height - sum(key_heights[:i]) - _KEY_LINE * 0.75)
    top = page_height - header
    axes = []
    for row, label, strip, height in zip(rows, labels, strips, heights, strict=True):
        axes.append(_panels(figure, row, top - strip, _MARGIN + name_width, ticks, width, right))
        write(figure, _MARGIN, top - strip - row.height / 2, label, va="center", rotation=90, multialignment="center")
        top -= height
    left = _MARGIN + name_width + ticks[0]
    middle = left + (num_columns * width + sum(ticks[1:]) + (num_columns - 1) * (right + _GAP)) / 2
    write(figure, middle, _BOTTOM - 0.08, words.x, ha="center", va="center")
    return figure, axes


def _panels(
    figure: Figure, row: Row, top: float, left: float, ticks: list[float], width: float, right: float
) -> list[Axes | None]:
    """The panels of a row whose upper edge is `top` inches above the lower edge of the page."""
    page_width, page_height = figure.get_size_inches()
    panels: list[Axes | None] = []
    for title, tick in zip(row.titles, ticks, strict=True):
        left += tick
        box = left / page_width, (top - row.height) / page_height, width / page_width, row.height / page_height
        panels.append(None if title is None else bare(figure.add_axes(box)))
        for j, line in enumerate(reversed(wrap(title or "", width + right).split("\n"))):
            write(figure, left, top + 0.06 + j * LINE, line)
        left += width + right + _GAP
    return panels


def _strip(titles: list[str]) -> float:
    return LINE * _num_lines(*titles) + 0.06 if any(titles) else 0.0


def write(figure: Figure, x: float, y: float, text: str, **looks: Any) -> None:
    """Puts text at inches from the lower left corner of the page."""
    if text:
        looks = {"size": SIZE, "color": INK, "family": FONT, **looks}
        figure.text(x, y, text, transform=figure.dpi_scale_trans, **looks)


@cache
def text_width(text: str, size: float = SIZE, bold: bool = False) -> float:
    """Returns inches, no less than a bitmap takes: there letters stand on whole pixels."""
    font = FontProperties(family=FONT, weight="bold" if bold else "normal", size=size)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72 * _HINTING


def wrap(text: str, width: float, size: float = SIZE, bold: bool = False) -> str:
    """Returns the text in lines of at most `width` inches: broken at spaces, and long names where they must be."""
    if "\n" in text:
        return "\n".join(wrap(part, width, size, bold) for part in text.split("\n"))
    rows: list[str] = []
    for word in _UNBROKEN.findall(text):
        longer = f"{rows[-1]} {word}" if rows else word
        if rows and text_width(longer, size, bold) <= width:
            rows[-1] = longer
            continue
        rows.append(word)
        while text_width(rows[-1], size, bold) > width and len(rows[-1]) > 1:
            whole, fits = rows[-1], len(rows[-1]) - 1
            while fits > 1 and text_width(whole[:fits], size, bold) > width:
                fits -= 1
            at_mark = max(whole.rfind(mark, 0, fits) for mark in "_-/.") + 1
            fits = at_mark if at_mark > fits / 2 else fits
            rows[-1:] = [whole[:fits], whole[fits:]]
    return "\n".join(rows)


def _num_lines(*texts: str) -> int:
    return max(text.count("\n") + 1 if text else 0 for text in texts)


def _key_rows(key: Iterable[Line], width: float) -> list[list[Line]]:
    """The entries of the key, in as many rows as they need; a name that is longer than a row has several lines."""
    rows: list[list[Line]] = []
    used = width
    for line in key:
        line = line._replace(label=wrap(line.label, width - _SWATCH))
        needed = _entry_width(line)
        if used + needed > width + _AFTER_ENTRY:
            rows.append([])
            used = 0.0
        rows[-1].append(line)
        used += needed
    return rows


def _entry_width(line: Line) -> float:
    return _swatch(line) + max(map(text_width, line.label.split("\n"))) + _AFTER_ENTRY


def _swatch(line: Line) -> float:
    """Inches from an entry's left edge to its name."""
    return _SWATCH if line.dash else _DOT


def _draw_key(figure: Figure, entries: list[Line], y: float) -> None:
    x = _MARGIN
    for line in entries:
        swatch = _swatch(line)
        ends = [x, x + swatch - 0.08]
        for at, looks in ((ends, {"ls": line.dash or "none", "lw": 1.6}), ([sum(ends) / 2], marker(line, 4.5))):
            artist = Line2D(at, [y] * len(at), color=line.colour, **looks)
            artist.set_transform(figure.dpi_scale_trans)
            figure.add_artist(artist)
        for i, words in enumerate(line.label.split("\n")):
            write(figure, x + swatch, y - i * LINE, words, va="center_baseline")
        x += _entry_width(line)


def marker(line: Line, size: float) -> dict[str, Any]:
    """Returns how matplotlib draws the markers of a line."""
    inside = "white" if line.hollow else line.colour
    size *= 1.35 if line.marker in ("P", "X", "*") else 1.0  # thin ones look smaller
    return {"marker": line.marker, "ms": size, "mfc": inside, "mec": line.colour, "mew": 0.9 if line.hollow else 0}


def bare(ax: Axes) -> Axes:
    """Returns the axes without their upper and right edges."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set(color=GREY, linewidth=0.6)
    ax.tick_params(labelsize=SIZE, labelcolor=INK, color=GREY, width=0.6, length=2.5, pad=2, labelfontfamily=FONT)
    ax.tick_params(which="minor", color=GREY, width=0.5, length=1.5)
    ax.set_axisbelow(True)
    return ax
