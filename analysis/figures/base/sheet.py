"""The page of a figure, laid out in inches so that no text can meet another: title, note, key, empty panels."""

from __future__ import annotations

from collections.abc import Iterable
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

_TITLE_SIZE = 11.0
_MARGIN, _LEFT, _BOTTOM, _TICKS, _GAP = 0.15, 0.64, 0.22, 0.34, 0.34  # inches
_LINE, _TITLE_LINE, _KEY_LINE = 0.155, 0.21, 0.20  # inches, height of one line
_SWATCH, _AFTER_ENTRY = 0.30, 0.20  # inches
_PANEL = {1: (4.4, 2.8), 2: (2.9, 2.0), 3: (2.3, 1.65), 4: (1.9, 1.4)}  # inches, by number of columns


class Words(NamedTuple):
    """The text of a figure: its title, what is shown and over how many seeds, and the axes."""

    title: str
    note: str
    x: str
    y: str


class Line(NamedTuple):
    """How one series is drawn.

    Attributes:
        label: Its name.
        colour: Any matplotlib colour.
        dashed: Else solid.
        ends: Its last value stands at the right of the panel, and its spread is drawn as a band.
    """

    label: str
    colour: Any
    dashed: bool = False
    ends: bool = True

    @property
    def dash(self) -> Any:
        """matplotlib's line style."""
        return (0, (3, 1.5)) if self.dashed else "solid"


def sheet(
    titles: list[str],
    words: Words,
    key: Iterable[Line] = (),
    *,
    columns: int | None = None,
    right: float = 0.0,
    size: tuple[float, float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Returns a figure and its empty panels.

    Args:
        titles: Of the panels, row by row.
        words: The figure's own text.
        key: Lines to be named under the title.
        columns: Panels in a row; None chooses by their number.
        right: Inches to keep free at the right of every panel.
        size: Width and height of a panel in inches; None chooses.
    """
    columns = min(columns or {4: 2, 5: 3, 6: 3}.get(len(titles), 4), len(titles))
    rows = -(-len(titles) // columns)
    width, height = size or _PANEL[min(columns, 4)]
    step = width + right + _GAP
    page_width = max(_LEFT + columns * step, 4.6)
    inner = page_width - 2 * _MARGIN

    title, note = wrap(words.title, inner, _TITLE_SIZE, bold=True), wrap(words.note, inner)
    key_rows = _key_rows(key, inner)
    titles = [wrap(t, width + right) for t in titles]
    strip = _LINE * _num_lines(*titles) + 0.08 if any(titles) else 0.08
    cell = strip + height + _TICKS
    title_height, note_height = _TITLE_LINE * _num_lines(title), _LINE * _num_lines(note)
    header = _MARGIN + title_height + note_height + _KEY_LINE * len(key_rows) + 0.16
    page_height = header + rows * cell + _BOTTOM

    figure = Figure((page_width, page_height), facecolor="white")
    FigureCanvasAgg(figure)
    y = page_height - _MARGIN
    write(figure, _MARGIN, y, title, size=_TITLE_SIZE, weight="bold", va="top")
    write(figure, _MARGIN, y - title_height, note, color=GREY, va="top", linespacing=1.3)
    for i, entries in enumerate(key_rows):
        _draw_key(figure, entries, y - title_height - note_height - _KEY_LINE * (i + 0.65))
    axes = []
    for i, name in enumerate(titles):
        left, top = _LEFT + (i % columns) * step, page_height - header - (i // columns) * cell - strip
        box = left / page_width, (top - height) / page_height, width / page_width, height / page_height
        axes.append(_bare(figure.add_axes(box)))
        for j, row in enumerate(reversed(name.split("\n"))):
            write(figure, left, top + 0.08 + j * _LINE, row)
    plot_height = rows * cell - strip - _TICKS
    write(figure, _LEFT + (columns * step - _GAP - right) / 2, _BOTTOM - 0.06, words.x, ha="center", va="baseline")
    y_label = wrap(words.y, max(plot_height, 1.4))
    write(figure, _MARGIN, _BOTTOM + _TICKS + plot_height / 2, y_label, va="center", rotation=90)
    return figure, axes


def write(figure: Figure, x: float, y: float, text: str, **looks: Any) -> None:
    """Puts text at inches from the lower left corner of the page."""
    if text:
        looks = {"size": SIZE, "color": INK, "family": FONT, **looks}
        figure.text(x, y, text, transform=figure.dpi_scale_trans, **looks)


@cache
def text_width(text: str, size: float = SIZE, bold: bool = False) -> float:
    """Returns inches."""
    font = FontProperties(family=FONT, weight="bold" if bold else "normal", size=size)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def wrap(text: str, width: float, size: float = SIZE, bold: bool = False) -> str:
    """Returns the text broken at spaces into lines of at most `width` inches."""
    rows: list[str] = []
    for word in text.split():
        longer = f"{rows[-1]} {word}" if rows else word
        if rows and text_width(longer, size, bold) <= width:
            rows[-1] = longer
        else:
            rows.append(word)
    return "\n".join(rows)


def _num_lines(*texts: str) -> int:
    return max(text.count("\n") + 1 if text else 0 for text in texts)


def _key_rows(key: Iterable[Line], width: float) -> list[list[Line]]:
    """The entries of the key, in as many rows as they need."""
    rows: list[list[Line]] = []
    used = width
    for line in key:
        needed = _SWATCH + text_width(line.label) + _AFTER_ENTRY
        if used + needed > width + _AFTER_ENTRY:
            rows.append([])
            used = 0.0
        rows[-1].append(line)
        used += needed
    return rows


def _draw_key(figure: Figure, entries: list[Line], y: float) -> None:
    x = _MARGIN
    for line in entries:
        swatch = Line2D([x, x + _SWATCH - 0.07], [y, y], color=line.colour, lw=2, ls=line.dash)
        swatch.set_transform(figure.dpi_scale_trans)
        figure.add_artist(swatch)
        write(figure, x + _SWATCH, y, line.label, va="center_baseline")
        x += _SWATCH + text_width(line.label) + _AFTER_ENTRY


def _bare(ax: Axes) -> Axes:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set(color=GREY, linewidth=0.6)
    ax.tick_params(labelsize=SIZE - 1, labelcolor=INK, color=GREY, width=0.6, length=2.5, pad=2, labelfontfamily=FONT)
    ax.set_axisbelow(True)
    return ax
