"""Linear test accuracy of the representation by epoch at every label level: as it is, and relative to initialisation.

Corresponds to figure 2 right of arXiv 2305.15614. The ratio shows which level gains most; the accuracies themselves
differ with the number of classes. `accuracy_by_epoch` compares networks, this figure levels.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.layout import joined, level_looks, network_subject, overlaid
from analysis.figures.base.needs import Shown
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import (
    LINEAR,
    REPRESENTATION,
    Frame,
    over_seeds,
    prepare,
    relative_to_start,
    seeds_note,
    values,
)
from analysis.figures.base.panels import EPOCH_AXIS, lines
from analysis.figures.base.sheet import Words
from analysis.figures.base.targets import self_supervised
from analysis.needs import Measured, Trials

TITLE = "Linear test accuracy of samples, classes and superclasses by epoch"

NEEDS = (
    Trials("self-supervised"),
    Shown(Measured(LINEAR, "sample", "test", start=True)),
    Shown(Measured(LINEAR, "class", "test", num_epochs=2, start=True)),
)
SHOWN = {"accuracy": "linear accuracy (%)", "relative": "relative to initialisation"}


def numbers(table: Frame) -> Frame:
    """Returns accuracy and accuracy over that at epoch 0 (column `shown`) by network, level and epoch.

    Empty without level sample.
    """
    rows = self_supervised(prepare(table, LINEAR))
    rows = values(rows[rows["layer_name"] == REPRESENTATION], LINEAR)
    found = joined(rows.assign(shown="accuracy"), relative_to_start(rows).assign(shown="relative"))
    found = over_seeds(found, ["shown", "level", "epoch"])
    return found if (found["level"] == "sample").any() else found.iloc[:0]


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where level sample is missing, or there are no two epochs."""
    table = self_supervised(table)  # the others would take panels, colours and dashes
    found = numbers(table)
    if found["epoch"].nunique() < 2:
        return None
    shown, looks = networks(table), level_looks(table)
    parts = [overlaid(shown, rows.assign(quantity=rows["level"]), looks, SHOWN[name])
             for name, rows in found.groupby("shown")]  # fmt: skip
    # Every level has its own scale of accuracy where it has a panel; relative ones share theirs.
    rows = joined(*(part.found for part in parts))
    rows = rows.assign(group=(rows["shown"] + rows["group"]).where(rows["shown"] == "accuracy", "relative"))
    if found["network"].nunique() == 1:  # side by side
        rows = rows.assign(column=rows["row"], row="")
    accuracy = frozenset(rows.loc[rows["shown"] == "accuracy", "group"])
    note = (
        f"{network_subject(table, found)}; linear probe, test images, of samples fresh views; {seeds_note(found)}"
        f"{parts[0].left_out}."
    )
    words = Words(TITLE, note, EPOCH_AXIS)
    return lines(rows, parts[0].looks, words, parts[0].key, x="epoch", percent=accuracy)
