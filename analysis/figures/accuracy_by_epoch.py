"""Linear and nearest class-centre test accuracy of the representation by epoch, for each label level.

Corresponds to figure 2 right (linear) and, on test images, figure 2 left (NCC) of arXiv 2305.15614.
"""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import (
    LEVELS,
    LINEAR,
    NCC,
    REPRESENTATION,
    Frame,
    level_names,
    networks_alone,
    over_seeds,
    prepare,
    seeds_note,
    subject,
    values,
    with_chance,
)
from analysis.figures.base.panels import EPOCH_AXIS, lines
from analysis.figures.base.sheet import Words

TITLE = "Test accuracy of the representation by epoch"

PROBES: Final = {LINEAR: "linear accuracy (%)", NCC: "NCC accuracy (%)"}

_ORDER: Final = {name: i for i, name in enumerate((*LEVELS, *PROBES))}


def numbers(table: Frame) -> Frame:
    """Returns accuracy by network, level, metric (linear or NCC) and epoch, with that of chance."""
    rows = prepare(networks_alone(table), LINEAR, NCC)
    rows = rows[rows["layer_name"] == REPRESENTATION]
    rows = pd.concat([values(rows, LINEAR), values(rows, NCC)])
    return with_chance(over_seeds(rows, ["level", "metric", "epoch"]), table)


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no two epochs of linear accuracy."""
    table = networks_alone(table)
    shown = networks(table)
    found = shown.drawn(numbers(table))
    if found.loc[found["metric"] == LINEAR, "epoch"].nunique() < 2:
        return None
    found = found.sort_values(["level", "metric"], key=lambda column: column.map(_ORDER), kind="stable")
    found = found.assign(
        level=found["level"].map(level_names(table)), metric=found["metric"].map(PROBES), group=found["level"],
        series=found["network"],
    )  # fmt: skip
    ncc = "; NCC: nearest class centre" if (found["metric"] == PROBES[NCC]).any() else ""
    words = Words(TITLE, f"{subject(table)}; test images; {seeds_note(found)}{ncc}{shown.left_out}.", EPOCH_AXIS)
    found = shown.in_columns(found, column="level", row="metric")
    return lines(found, shown.lines, words, shown.key, x="epoch", percent=True)
