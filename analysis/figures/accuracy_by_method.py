"""Linear and nearest class-centre test accuracy of the representation at the last epoch, method by method.

Sorted by linear accuracy. Drawn where a sweep compares methods. No published panel.
"""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.dots import Series, draw_dots, ranked, trained
from analysis.figures.base.networks import in_order
from analysis.figures.base.numbers import (
    LINEAR,
    NCC,
    REPRESENTATION,
    Frame,
    last_epoch,
    level_names,
    networks_alone,
    over_seeds,
    prepare,
    values,
    with_chance,
)

TITLE = "Test accuracy of the representation by method"

PROBES: Final = {LINEAR: Series("linear probe", "linear"), NCC: Series("NCC", "NCC", hollow=True)}


def numbers(table: Frame) -> Frame:
    """Returns linear and NCC accuracy by network and level at its last epoch, with that of chance.

    Empty where there is one method only. Networks that were measured at initialisation alone, as those of failed
    trials are, are left out where others were trained.
    """
    rows = prepare(networks_alone(table), LINEAR, NCC)
    rows = rows[rows["layer_name"] == REPRESENTATION]
    rows = trained(last_epoch(pd.concat([values(rows, LINEAR), values(rows, NCC)])))
    found = with_chance(over_seeds(rows, ["level", "metric", "epoch"]), table)
    return found if found["method"].nunique() > 1 else found.iloc[:0]


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there is one method only, or no linear accuracy."""
    table = networks_alone(table)
    found = numbers(table)
    linear = found[found["metric"] == LINEAR]
    if linear.empty:
        return None
    by = "class" if (linear["level"] == "class").any() else linear["level"].min()
    names = level_names(table)
    found = found.assign(panel=in_order(found["level"].map(names), names.values()), series=found["metric"])
    found = found.sort_values("panel", kind="stable")
    about = f"sorted by linear accuracy of {names[by]}; NCC: nearest class centre"
    return draw_dots(table, found, ranked(linear[linear["level"] == by]), PROBES, TITLE, about)
