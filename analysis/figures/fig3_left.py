"""Invariance loss, regularisation loss and linear test accuracy of classes by epoch.

Corresponds to figure 3 left of arXiv 2305.15614. The losses are weighted as in the sum that is trained, and means over
the steps of each epoch, so that the first is that of epoch 1; accuracy is measured where a checkpoint is.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.layout import joined, network_subject
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import LINEAR, REPRESENTATION, Frame, over_seeds, prepare, seeds_note, values
from analysis.figures.base.panels import EPOCH_AXIS, lines
from analysis.figures.base.sheet import Words
from analysis.figures.base.targets import self_supervised
from analysis.needs import Curve, Measured, Trials

TITLE = "Terms of the loss, and linear accuracy, by epoch"

QUANTITIES = {
    "invariance": "invariance loss",
    "regularisation": "regularisation loss",
    LINEAR: "linear accuracy (%)",
}
NEEDS = (
    Trials("self-supervised"),
    Curve("invariance"),
    Curve("regularisation"),
    Measured(LINEAR, "class", "test", num_epochs=2),
)


def numbers(table: Frame) -> Frame:
    """Returns each quantity (column `metric`) by network and epoch; empty where one of them is missing."""
    table = self_supervised(prepare(table, *QUANTITIES))
    curves = table[table["layer_name"] == "training"]
    accuracy = values(table[table["layer_name"] == REPRESENTATION], LINEAR)
    terms = [values(curves, term, split="train", level=False) for term in ("invariance", "regularisation")]
    found = over_seeds(joined(*terms, accuracy[accuracy["level"] == "class"]), ["metric", "epoch"])
    complete = found.groupby("network")["metric"].transform("nunique") == len(QUANTITIES)
    return found[complete].reset_index(drop=True)


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where a term of the loss or accuracy is missing, or there are no two epochs."""
    table = self_supervised(table)  # the others would take panels, colours and dashes
    shown = networks(table)
    found = shown.drawn(numbers(table))
    if found["epoch"].nunique() < 2:
        return None
    note = f"{network_subject(table, found)}; linear probe, test images; {seeds_note(found)}{shown.left_out}."
    order = list(QUANTITIES)
    found = found.assign(
        label=found["metric"].map(QUANTITIES), name="", group=found["metric"], series=found["network"]
    ).sort_values("metric", key=lambda metric: metric.map(order.index), kind="stable")  # fmt: skip
    found = shown.in_columns(found, column="label", row="name")
    words = Words(TITLE, note, EPOCH_AXIS)
    return lines(found, shown.lines, words, shown.key_of(found), x="epoch", percent=frozenset([LINEAR]))
