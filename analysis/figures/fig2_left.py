"""Nearest class-centre accuracy of the representation on training images by epoch, of samples and of classes.

Corresponds to figure 2 left of arXiv 2305.15614. A sample is a class of its own: its augmented views.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.layout import level_looks, network_subject, overlaid
from analysis.figures.base.needs import Shown
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import (
    NCC,
    REPRESENTATION,
    Frame,
    over_seeds,
    prepare,
    seeds_note,
    values,
    with_chance,
)
from analysis.figures.base.panels import EPOCH_AXIS, lines
from analysis.figures.base.sheet import Words
from analysis.figures.base.targets import self_supervised
from analysis.needs import Measured, Trials

TITLE = "NCC training accuracy by epoch"

LEVELS = ("sample", "class")
NEEDS = (
    Trials("self-supervised"),
    Shown(Measured(NCC, "sample", "train")),
    Shown(Measured(NCC, "class", "train", num_epochs=2)),
)


def numbers(table: Frame) -> Frame:
    """Returns the accuracy by network, level and epoch, with that of chance; empty without level sample."""
    rows = self_supervised(prepare(table, NCC))
    rows = values(rows[rows["layer_name"] == REPRESENTATION], NCC, split="train")
    found = with_chance(over_seeds(rows[rows["level"].isin(LEVELS)], ["level", "epoch"]), table)
    return found if set(found["level"]) == set(LEVELS) else found.iloc[:0]


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where a level is missing, or there are no two epochs."""
    table = self_supervised(table)  # the others would take panels, colours and dashes
    found = numbers(table)
    if found["epoch"].nunique() < 2:
        return None
    placed = overlaid(networks(table), found.assign(quantity=found["level"]), level_looks(table), "NCC accuracy (%)")
    note = (
        f"{network_subject(table, found)}; training images, of samples their augmented views; NCC: nearest class "
        f"centre; {seeds_note(found)}{placed.left_out}."
    )
    return lines(placed.found, placed.looks, Words(TITLE, note, EPOCH_AXIS), placed.key, x="epoch", percent=True)
