"""Nearest class-centre over linear test accuracy of the representation by epoch, relative to initialisation.

Corresponds to figure 2 middle of arXiv 2305.15614. Both accuracies are of the test images.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import (
    LINEAR,
    NCC,
    REPRESENTATION,
    Frame,
    level_names,
    over_seeds,
    prepare,
    ratio,
    relative_to_start,
    seeds_note,
    subject,
    values,
)
from analysis.figures.base.panels import EPOCH_AXIS, lines
from analysis.figures.base.sheet import Words

TITLE = "NCC over linear accuracy by epoch"


def numbers(table: Frame) -> Frame:
    """Returns the ratio, over that of the same trial at epoch 0, by network, level and epoch."""
    table = prepare(table, LINEAR, NCC)
    table = table[table["layer_name"] == REPRESENTATION]
    ratios = ratio(values(table, NCC), values(table, LINEAR), ["level", "split"])
    return over_seeds(relative_to_start(ratios), ["level", "epoch"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where NCC, linear accuracy or epoch 0 is missing, or is all there is."""
    shown = networks(table)
    found = shown.drawn(numbers(table))
    if found["epoch"].nunique() < 2:
        return None
    note = f"{subject(table)}; test images; NCC: nearest class centre; {seeds_note(found)}{shown.left_out}."
    found = found.assign(
        level=found["level"].map(level_names(table)), name="ratio, relative to initialisation", group="",
        series=found["network"],
    )  # fmt: skip
    found = shown.in_columns(found, column="level", row="name")
    words = Words(TITLE, note, EPOCH_AXIS)
    return lines(found, shown.lines, words, shown.key, x="epoch", reference=(1, "initialisation"))
