"""Panels by layer, one line for each epoch, from pale at initialisation to dark at the end."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.layers import layers_note
from analysis.figures.base.layout import by_network
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import (
    LINEAR,
    Frame,
    over_seeds,
    prepare,
    seeds_note,
    subject,
    values,
    with_chance,
)
from analysis.figures.base.panels import LAYER_AXIS, lines, shades
from analysis.figures.base.sheet import Words
from analysis.figures.base.targets import self_supervised_if_any


def linear_by_layer(table: Frame, level: str) -> Frame:
    """Returns linear test accuracy at a level by network, epoch and layer, with that of chance.

    Of networks that learn without labels, where there are any.
    """
    table = self_supervised_if_any(table)
    rows = values(prepare(table, LINEAR), LINEAR)
    return with_chance(over_seeds(rows[rows["level"] == level], ["level", "epoch", "layer", "layer_name"]), table)


def draw_by_layer(table: Frame, found: Frame, title: str, note: str, row: str, percent: bool) -> Figure | None:
    """Draws the numbers; None where there are no two layers.

    Args:
        table: What the numbers are of.
        found: Numbers by network, epoch and layer; each `quantity`, where they have that column, has its row of panels.
        title: Of the figure.
        note: What is shown, behind the subject.
        row: Name of the vertical axis; that of a quantity is added to it.
        percent: The numbers are fractions, written as percent.
    """
    if found["layer"].nunique() < 2:
        return None
    placed = by_network(networks(table), found.assign(series=found["epoch"], group=""), row)
    if "quantity" in placed.found:
        placed = placed._replace(found=placed.found.assign(row=placed.found["row"] + placed.found["quantity"]))
    epochs = sorted(placed.found["epoch"].unique())
    looks, key = shades(epochs, "epoch {}".format)
    at = f"epoch {epochs[0]}; " if len(epochs) == 1 else ""
    text = f"{subject(table)}; {note}; {at}{seeds_note(placed.found)}{placed.left_out}; {layers_note(placed.found)}."
    return lines(placed.found, looks, Words(title, text, LAYER_AXIS), key, x="layer", percent=percent)
