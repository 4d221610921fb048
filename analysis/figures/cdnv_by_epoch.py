"""CDNV of the representation and its two parts by epoch, relative to initialisation, for each label level.

CDNV is class variance over squared distance of class means: its fall comes from one, the other, or both.
Corresponds to figure 4 right of arXiv 2305.15614, for semantic labels instead of their ratio to random ones.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.numbers import (
    REPRESENTATION,
    Frame,
    largest,
    measured_split,
    over_seeds,
    prepare,
    relative_to_start,
    seeds_note,
    values,
)
from analysis.figures.base.panels import MAX_PANELS, lines, number
from analysis.figures.base.sheet import INK, Line, Words

TITLE = "Class separation of the representation by epoch"

LOOKS = {
    "cdnv": Line("CDNV", INK),
    "class_variance": Line("class variance", "#cc79a7"),
    "class_mean_distance": Line("squared distance of means", "#009e73"),
}


def numbers(table: Frame) -> Frame:
    """Returns each quantity, over that of the same trial at epoch 0, by network, level, metric and epoch."""
    table = prepare(table, *LOOKS)
    table = table[table["layer_name"] == REPRESENTATION]
    rows = pd.concat([values(table, metric, split=measured_split(table, metric)) for metric in LOOKS])
    rows = relative_to_start(rows)
    return over_seeds(rows[rows["value"] > 0], ["level", "metric", "split", "epoch"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where epoch 0 is missing or is all there is."""
    found = numbers(table)
    if found["epoch"].nunique() < 2:
        return None
    found, left_out = largest(found, MAX_PANELS // found["level"].nunique())
    split = " and ".join(sorted(found["split"].unique()))
    note = f"CDNV: class variance over squared distance of class means, {split} images; {seeds_note(found)}{left_out}."
    words = Words(TITLE, note, "epoch", "relative to initialisation")
    return lines(
        found, x="epoch", series="metric", looks=LOOKS, words=words, panel=("network", "level"), show=number,
        log_y=True, reference=1,
    )  # fmt: skip
