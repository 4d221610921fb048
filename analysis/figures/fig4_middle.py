"""Linear test accuracy by layer at the last epoch, one line for each randomness of the targets.

Corresponds to figure 4 middle of arXiv 2305.15614. Targets: see `fig4_left`.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.base.layers import layers_note
from analysis.figures.base.layout import by_network, network_subject
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import LINEAR, Frame, last_epoch, over_seeds, seeds_note
from analysis.figures.base.panels import LAYER_AXIS, lines, shades
from analysis.figures.base.sheet import Words
from analysis.figures.base.targets import RANDOM, SEMANTIC, most_frequent, self_supervised, target_values
from analysis.needs import Measured, Trials

TITLE = "Linear accuracy of targets of graded randomness by layer"

NEEDS = (
    Trials("self-supervised"),
    Measured(LINEAR, SEMANTIC, "test", num_layers=2),
    Measured(LINEAR, RANDOM, "test", num_layers=2),
)


def numbers(table: Frame) -> Frame:
    """Returns linear test accuracy by network, randomness and layer at the network's last epoch."""
    rows = last_epoch(target_values(table, LINEAR))
    return over_seeds(rows, ["randomness", "epoch", "layer", "layer_name"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no two targets or no two layers."""
    table = self_supervised(table)  # the others would take panels, colours and dashes
    found = numbers(table)
    if found["randomness"].nunique() < 2 or found["layer"].nunique() < 2:
        return None
    placed = by_network(networks(table), found.assign(series=found["randomness"], group=""), "linear accuracy (%)")
    looks, key = shades(sorted(found["randomness"].unique(), reverse=True), "randomness {}".format)
    epochs = " or ".join(map(str, sorted(found["epoch"].unique())))
    note = (
        f"{network_subject(table, found)}; linear probe, test images; epoch {epochs}; targets: predictions of a "
        f"teacher, randomness 0 at the end of its training, 1 at its initialisation; {seeds_note(placed.found)}"
        f"{placed.left_out}; {layers_note(placed.found)}."
    )
    return lines(placed.found, looks, Words(TITLE, note, LAYER_AXIS), key, x="layer", percent=True,
                 reference=most_frequent(table))  # fmt: skip
