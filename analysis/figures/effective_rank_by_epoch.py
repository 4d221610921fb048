"""Effective rank of the features by epoch: first layer, middle layer and representation.

The exponential of the entropy of the normalised singular values (RankMe, arXiv 2210.02885): about how many
dimensions the features use. It falls towards 1 when the representation collapses.
Comparable only within one method and width. No published panel.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import (
    Frame,
    measured_split,
    over_seeds,
    prepare,
    seeds_note,
    subject,
    values,
)
from analysis.figures.base.panels import EPOCH_AXIS, lines
from analysis.figures.base.sheet import Words

TITLE = "Effective rank by epoch"

METRIC = "effective_rank"
PLACES = ["first layer", "middle layer", "representation"]


def numbers(table: Frame) -> Frame:
    """Returns the effective rank by network, place (with its layer), split and epoch."""
    table = prepare(table, METRIC)
    rows = values(table, METRIC, split=measured_split(table, METRIC), level=False)
    layer, last = rows["layer"], rows.groupby("trial_key")["layer"].transform("max")
    # In RES-L-H the last two layers have the same features, so the middle is that of the layers before the last.
    places = [layer == last, layer == 0, layer == (last - 1) // 2]
    rows = rows.assign(place=np.select(places, ["representation", "first layer", "middle layer"], ""))
    return over_seeds(rows[rows["place"] != ""], ["place", "layer", "layer_name", "split", "epoch"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no two epochs."""
    shown = networks(table)
    found = shown.drawn(numbers(table))
    if found["epoch"].nunique() < 2:
        return None
    split = found["split"].iloc[0]
    wide = bool(found["mean"].max() > 10 * found["mean"].min() > 0)
    scale = "logarithmic axis; " if wide else ""
    note = (
        f"{subject(table)}; features of {'training' if split == 'train' else split} images; at most the width; "
        f"{scale}{seeds_note(found)}{shown.left_out}."
    )
    found = found.assign(name="effective rank", group="", series=found["network"])
    found = found.sort_values("place", key=lambda place: place.map(PLACES.index), kind="stable")
    found = shown.in_columns(found, column="place", row="name")
    return lines(found, shown.lines, Words(TITLE, note, EPOCH_AXIS), shown.key, x="epoch", log_y=wide)
