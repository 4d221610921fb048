"""Accuracy in source and target of heads that learned labels of the source alone, by layer, one line for each epoch.

The head is logistic regression. The layer that is best in the source need not be the best in the target.
"""

from __future__ import annotations

from typing import Final

from matplotlib.figure import Figure

from analysis.figures.base.by_layer import draw_by_layer
from analysis.figures.base.numbers import Frame, over_seeds, with_chance
from analysis.figures.base.transfer import DOMAINS, LOGISTIC, TARGET_ACCURACY, prepared, transfer_accuracies
from analysis.needs import Measured

TITLE = "Accuracy in source and target of heads that learned in the source, by layer"
TOPIC = "Source and target"
NEEDS: Final = (Measured(TARGET_ACCURACY, "class", "test", num_layers=2),)


def numbers(table: Frame) -> Frame:
    """Returns accuracy by network, domain, epoch and layer, with that of chance."""
    rows = transfer_accuracies(prepared(table))
    rows = rows[rows["head"] == LOGISTIC]
    return with_chance(over_seeds(rows, ["level", "domain", "epoch", "layer", "layer_name"]), table)


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there is no accuracy in a target or there are no two layers."""
    found = numbers(table)
    names = {domain: f"accuracy in the {domain} (%)" for domain in DOMAINS}
    found = found.assign(quantity=found["domain"].map(names).astype(object))
    return draw_by_layer(table, found, TITLE, "logistic head, test images", "", percent=True)
