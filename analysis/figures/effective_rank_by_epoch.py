"""Effective rank of the features by epoch: first layer, middle layer and representation.

The exponential of the entropy of the normalised singular values (RankMe, arXiv 2210.02885): about how many
dimensions the features use. It falls towards 1 when the representation collapses.
Comparable only within one method and width. No published panel.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis.figures.base.numbers import Frame, largest, measured_split, over_seeds, prepare, seeds_note, values
from analysis.figures.base.panels import MAX_PANELS, lines, number, shades
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
    return over_seeds(rows[rows["place"] != ""], ["place", "layer", "split", "epoch"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no two epochs."""
    found, left_out = largest(numbers(table), MAX_PANELS)
    if found["epoch"].nunique() < 2:
        return None
    note = f"Features of {found['split'].iloc[0]} images; {seeds_note(found)}{left_out}."
    words = Words(TITLE, note, "epoch", "effective rank (dimensions)")
    wide = found["mean"].max() > 20 * found["mean"].min() > 0
    return lines(found, x="epoch", series="place", looks=shades(PLACES), words=words, show=number, log_y=bool(wide))
