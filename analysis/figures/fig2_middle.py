"""Nearest class-centre over linear test accuracy of the representation by epoch, relative to initialisation.

Corresponds to figure 2 middle of arXiv 2305.15614. Both accuracies are of the test images (of samples: fresh views).
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.layout import level_looks, network_subject, overlaid
from analysis.figures.base.needs import Ratio, Shown
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import (
    LINEAR,
    NCC,
    REPRESENTATION,
    Frame,
    over_seeds,
    prepare,
    ratio,
    relative_to_start,
    seeds_note,
    values,
)
from analysis.figures.base.panels import EPOCH_AXIS, lines
from analysis.figures.base.sheet import Words
from analysis.figures.base.targets import self_supervised
from analysis.needs import Measured, Trials

TITLE = "NCC over linear accuracy by epoch"

NEEDS = (
    Trials("self-supervised"),
    Shown(Measured(LINEAR, split="test", num_epochs=2, start=True)),
    Shown(Measured(NCC, split="test", num_epochs=2, start=True)),
    Ratio(Measured(NCC, split="test"), Measured(LINEAR, split="test"), start=True),
)


def numbers(table: Frame) -> Frame:
    """Returns the ratio, over that of the same trial at epoch 0, by network, level and epoch."""
    table = self_supervised(prepare(table, LINEAR, NCC))
    table = table[table["layer_name"] == REPRESENTATION]
    ratios = ratio(values(table, NCC), values(table, LINEAR), ["level", "split"])
    return over_seeds(relative_to_start(ratios), ["level", "epoch"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where NCC, linear accuracy or epoch 0 is missing, or is all there is."""
    table = self_supervised(table)  # the others would take panels, colours and dashes
    found = numbers(table)
    if found["epoch"].nunique() < 2:
        return None
    row = "ratio, relative to initialisation"
    placed = overlaid(networks(table), found.assign(quantity=found["level"]), level_looks(table), row)
    placed = placed._replace(found=placed.found.assign(group=""))  # ratios share a scale
    note = (
        f"{network_subject(table, found)}; test images; NCC: nearest class centre; {seeds_note(found)}"
        f"{placed.left_out}."
    )
    return lines(placed.found, placed.looks, Words(TITLE, note, EPOCH_AXIS), placed.key, x="epoch",
                 reference=(1, "initialisation"))  # fmt: skip
