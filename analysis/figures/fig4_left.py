"""Linear test accuracy of the representation by epoch, one line for each randomness of the targets.

Corresponds to figure 4 left of arXiv 2305.15614. Targets are a teacher's predictions: at the end of its training
(randomness 0, semantic), at its initialisation (1), and between.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.layout import by_network, network_subject
from analysis.figures.base.needs import Graded, Shown
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import LINEAR, REPRESENTATION, Frame, over_seeds, seeds_note
from analysis.figures.base.panels import EPOCH_AXIS, lines, shades
from analysis.figures.base.sheet import Words
from analysis.figures.base.targets import RANDOM, SEMANTIC, most_frequent, self_supervised, target_values
from analysis.needs import Measured, Trials

TITLE = "Linear accuracy of targets of graded randomness by epoch"

NEEDS = (
    Trials("self-supervised"),
    Shown(Measured(LINEAR, SEMANTIC, "test", num_epochs=2)),
    Shown(Measured(LINEAR, RANDOM, "test", num_epochs=2)),
    Graded(2),
)


def numbers(table: Frame) -> Frame:
    """Returns linear test accuracy by network, randomness and epoch."""
    rows = target_values(table, LINEAR)
    return over_seeds(rows[rows["layer_name"] == REPRESENTATION], ["randomness", "epoch"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no two targets or no two epochs."""
    table = self_supervised(table)  # the others would take panels, colours and dashes
    found = numbers(table)
    if found["randomness"].nunique() < 2 or found["epoch"].nunique() < 2:
        return None
    placed = by_network(networks(table), found.assign(series=found["randomness"], group=""), "linear accuracy (%)")
    looks, key = shades(sorted(found["randomness"].unique(), reverse=True), "randomness {}".format)
    note = (
        f"{network_subject(table, found)}; linear probe, test images; targets: predictions of a teacher, randomness "
        f"0 at the end of its training, 1 at its initialisation; {seeds_note(placed.found)}{placed.left_out}."
    )
    return lines(placed.found, looks, Words(TITLE, note, EPOCH_AXIS), key, x="epoch", percent=True,
                 reference=most_frequent(table))  # fmt: skip
