"""Linear test accuracy by layer, one line for each epoch, for each label level.

Corresponds to figure 5 left (class) and middle (superclass) of arXiv 2305.15614.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.networks import Networks, in_order, networks
from analysis.figures.base.numbers import (
    LEVELS,
    LINEAR,
    Frame,
    distinct_layers,
    evenly,
    level_names,
    over_seeds,
    prepare,
    seeds_note,
    subject,
    values,
    with_chance,
)
from analysis.figures.base.panels import LAYER_AXIS, lines, shades
from analysis.figures.base.sheet import Words

TITLE = "Linear test accuracy by layer"

MAX_RESTS = 3


def numbers(table: Frame) -> Frame:
    """Returns linear test accuracy by network, level, epoch and layer, with that of chance."""
    rows = values(distinct_layers(prepare(table, LINEAR)), LINEAR)
    return with_chance(over_seeds(rows, ["level", "epoch", "layer"]), table)


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no two layers."""
    shown = networks(table)
    found = numbers(table)
    if found["layer"].nunique() < 2:
        return None
    num_networks = found["network"].nunique()
    found = _placed(shown, shown.drawn(found).assign(title=lambda f: f["level"].map(level_names(table))))
    lacking = num_networks - found["network"].nunique()
    left_out = f"; {num_networks - lacking} of {num_networks} networks (the CSV has all)" if lacking else ""
    epochs = sorted(found["epoch"].unique())
    looks, key = shades(epochs, "epoch {}".format)
    at = f"epoch {epochs[0]}; " if len(epochs) == 1 else ""
    note = f"{subject(table)}; linear probe, test images; {at}{seeds_note(found)}{left_out}."
    return lines(found, looks, Words(TITLE, note, LAYER_AXIS), key, x="layer", percent=True)


def _placed(shown: Networks, found: Frame) -> Frame:
    """A column for each depth, width or method; a row for each level and each of what else varies."""
    rests = evenly(list(dict.fromkeys(shown.rest.values())), MAX_RESTS)
    rest = found["network"].map(shown.rest)
    found = found.assign(group=found["level"], series=found["epoch"], rest=rest)[rest.isin(rests)]
    columns = found["network"].map(shown.first)
    if columns.nunique() == 1 and len(rests) == 1:
        return found.assign(column=found["title"], row="linear accuracy (%)")
    start = found["rest"].where(found["rest"] == "", found["rest"] + "\n")
    found = found.assign(column=in_order(columns, shown.first.values()), row=start + found["title"] + "\naccuracy (%)")
    order = [*LEVELS, *rests]
    return found.sort_values(["level", "rest"], key=lambda column: column.map(order.index), kind="stable")
