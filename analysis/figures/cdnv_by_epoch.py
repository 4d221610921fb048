"""CDNV of the representation and its two parts by epoch, relative to initialisation, for each label level.

CDNV is class variance over squared distance of class means: its fall comes from one, the other, or both.
Corresponds to figure 4 right of arXiv 2305.15614, for semantic labels instead of their ratio to random ones.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import (
    LEVELS,
    REPRESENTATION,
    Frame,
    level_names,
    measured_split,
    over_seeds,
    prepare,
    relative_to_start,
    seeds_note,
    subject,
    values,
)
from analysis.figures.base.panels import EPOCH_AXIS, lines
from analysis.figures.base.sheet import Words

TITLE = "Class separation of the representation by epoch, relative to initialisation"

QUANTITIES = {
    "cdnv": "CDNV",
    "class_variance": "class variance",
    "class_mean_distance": "squared distance of means",
}


def numbers(table: Frame) -> Frame:
    """Returns each quantity, over that of the same trial at epoch 0, by network, level, metric and epoch."""
    table = prepare(table, *QUANTITIES)
    table = table[table["layer_name"] == REPRESENTATION]
    rows = pd.concat([values(table, metric, split=measured_split(table, metric)) for metric in QUANTITIES])
    rows = relative_to_start(rows)
    return over_seeds(rows[rows["value"] > 0], ["level", "metric", "split", "epoch"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where epoch 0 is missing or is all there is."""
    shown = networks(table)
    found = shown.drawn(numbers(table))
    if found["epoch"].nunique() < 2:
        return None
    split = " and ".join(sorted(found["split"].unique()))
    note = (
        f"{subject(table)}; {split} images; CDNV: class variance over squared distance of class means; "
        f"logarithmic axes; {seeds_note(found)}{shown.left_out}."
    )
    found = found.sort_values("level", key=lambda levels: levels.map(LEVELS.index), kind="stable")
    # The parts share a scale and CDNV has its own: where they grow a hundredfold, one would not see it fall.
    group = found["metric"].where(found["metric"] == "cdnv", "parts")
    found = found.assign(
        metric=pd.Categorical(found["metric"], list(QUANTITIES)).rename_categories(QUANTITIES),
        level=found["level"].map(level_names(table)), group=group, series=found["network"],
    ).sort_values("metric", kind="stable")  # fmt: skip
    found = shown.in_columns(found.assign(metric=found["metric"].astype(str)), column="metric", row="level")
    words = Words(TITLE, note, EPOCH_AXIS)
    return lines(found, shown.lines, words, shown.key, x="epoch", log_y=True, reference=(1, "initialisation"))
