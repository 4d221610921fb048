"""Marks of one place stand side by side where they cover each other, by points of the page, and nowhere else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from analysis.figures.base.bars import bars
from analysis.figures.base.marks import panel_inches
from analysis.figures.base.numbers import Frame
from analysis.figures.base.sheet import Line, Words
from tests.analysis.figure_tables import points

LOOKS = {name: Line(name, colour) for name, colour in zip("abcd", ("red", "green", "blue", "black"), strict=True)}


def table(values: dict[tuple[str, int], float], spread: float = 0.05) -> Frame:
    """Means by series and place."""
    rows = [{"series": name, "at": at, "mean": mean} for (name, at), mean in values.items()]
    return pd.DataFrame(rows).assign(spread=spread, row="value", column="", group="")


def panel(found: Frame) -> Axes:
    figure = bars(found, LOOKS, Words("title", "note", ""))
    return figure.axes[0]


def shifts(ax: Axes) -> dict[str, list[float]]:
    """Points of the page from the place, by colour."""
    inch = panel_inches(ax)[0] / np.ptp(ax.get_xlim())
    x = {str(line.get_color()): np.asarray(line.get_xdata(), float) for line in points(ax)}
    return {colour: (72 * inch * (at - np.round(at))).tolist() for colour, at in x.items()}


def test_a_series_alone_at_a_place_and_marks_that_are_apart_stand_at_it() -> None:
    found = shifts(panel(table({("a", 1): 0.0, ("b", 40): 1.0, ("c", 100): 0.0, ("d", 100): 1.0})))
    assert found == {colour: pytest.approx([0.0]) for colour in ("red", "green", "blue", "black")}


def test_marks_that_overlap_are_a_few_points_apart_around_the_place() -> None:
    found = shifts(panel(table({("a", 1): 0.0, ("b", 1): 0.01, ("c", 1): 1.0, ("a", 2): 0.0, ("b", 2): 1.0})))
    assert found["red"] == pytest.approx([-1.35, 0]) and found["green"] == pytest.approx([1.35, 0])
    assert found["blue"] == pytest.approx([0])


def test_a_mark_that_overlaps_two_others_through_its_interval_moves_both() -> None:
    rows = table({("a", 1): 0.0, ("b", 1): 0.5, ("c", 1): 1.0})
    rows.loc[1, "spread"] = 0.6
    found = shifts(panel(rows))
    assert [found[colour][0] for colour in ("red", "green", "blue")] == pytest.approx([-2.7, 0, 2.7])


def test_where_places_are_many_marks_stay_within_a_quarter_of_their_distance() -> None:
    ax = panel(table({(name, at): 0.01 * i for i, name in enumerate("abcd") for at in range(60)}))
    apart = 72 * panel_inches(ax)[0] / np.ptp(ax.get_xlim())
    found = shifts(ax)
    assert found["black"][0] - found["red"][0] == pytest.approx(apart / 4)
