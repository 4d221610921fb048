"""Effective rank of every layer's features by epoch.

The exponential of the entropy of their normalised singular values (RankMe, arXiv 2210.02885): about how many
dimensions the features use. It falls towards 1 when the representation collapses. No published panel.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.numbers import (
    distinct_layers,
    largest,
    measured_split,
    over_seeds,
    prepare,
    seeds_note,
    values,
)
from analysis.figures.base.panels import MAX_PANELS, lines, number, shades
from analysis.figures.base.sheet import Words

TITLE = "Effective rank by epoch"

METRIC = "effective_rank"


def numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the effective rank by network, layer and epoch."""
    table = distinct_layers(prepare(table))
    split = measured_split(table, METRIC)
    return over_seeds(values(table, METRIC, split=split, level=False), ["layer", "split", "epoch"])


def draw(table: pd.DataFrame) -> Figure | None:
    """Draws the figure; None where there are no two epochs."""
    found, left_out = largest(numbers(table), MAX_PANELS)
    if found["epoch"].nunique() < 2:
        return None
    looks = shades(sorted(found["layer"].unique()), "layer {}".format)
    note = f"Features of {found['split'].iloc[0]} images, one line a layer (0: the first); {seeds_note(found)}{left_out}."
    words = Words(TITLE, note, "epoch", "effective rank (dimensions)")
    return lines(found, x="epoch", series="layer", looks=looks, words=words, show=number, log_y=True)
