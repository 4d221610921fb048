"""Semantic over random targets: NCC, CDNV, class variance and squared distance of class means by epoch.

Corresponds to figure 4 right of arXiv 2305.15614. Semantic and random are a teacher's predictions at the end of its
training and at its initialisation. CDNV is variance over distance: its ratio falls through one, the other, or both.
"""

from __future__ import annotations

from typing import Final

from matplotlib.figure import Figure

from analysis.figures.base.layout import joined, network_subject, overlaid
from analysis.figures.base.needs import Ratio, Shown
from analysis.figures.base.networks import OKABE_ITO, networks
from analysis.figures.base.numbers import NCC, REPRESENTATION, Frame, measured_split, over_seeds, ratio, seeds_note
from analysis.figures.base.panels import EPOCH_AXIS, lines
from analysis.figures.base.sheet import Line, Words
from analysis.figures.base.targets import RANDOM, SEMANTIC, labels_note, self_supervised, target_values
from analysis.needs import Measured, Trials

TITLE = "Semantic over random targets by epoch"

LOOKS: Final = {
    NCC: Line("NCC accuracy", OKABE_ITO[0], "solid", "o"),
    "cdnv": Line("CDNV", OKABE_ITO[3], "solid", "s"),
    "class_variance": Line("class variance", OKABE_ITO[2], "solid", "^"),
    "class_mean_distance": Line("squared distance of means", OKABE_ITO[5], "solid", "D"),
}
NEEDS = (
    Trials("self-supervised"),
    Shown(Measured("cdnv", SEMANTIC, num_epochs=2)),
    Shown(Measured("cdnv", RANDOM, num_epochs=2)),
    Ratio(Measured("cdnv", SEMANTIC), Measured("cdnv", RANDOM)),
)


def numbers(table: Frame) -> Frame:
    """Returns the ratio of each quantity (column `metric`), within a trial, by network, split and epoch."""
    found = []
    for metric in LOOKS:
        rows = target_values(table, metric, split=measured_split(table, metric))
        rows = rows[rows["layer_name"] == REPRESENTATION]
        semantic, random = (rows[rows["level"] == level] for level in (SEMANTIC, RANDOM))
        found.append(ratio(semantic, random, ["split", "metric"]))
    rows = joined(*found)
    return over_seeds(rows[rows["value"] > 0], ["metric", "split", "epoch"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where an end of the targets is missing, or there are no two epochs."""
    table = self_supervised(table)  # the others would take panels, colours and dashes
    found = numbers(table)
    if found["epoch"].nunique() < 2:
        return None
    placed = overlaid(networks(table), found.assign(quantity=found["metric"]), LOOKS, "ratio, semantic over random")
    # The parts share a scale, so that one sees which of them moves.
    parts = {"class_variance": "parts", "class_mean_distance": "parts"}
    placed = placed._replace(found=placed.found.assign(group=placed.found["group"].replace(parts)))
    split = " and ".join(sorted(found["split"].unique()))
    note = (
        f"{network_subject(table, found)}; {split} images; targets: predictions of a teacher at the end of its "
        f"training over those at its initialisation; NCC: nearest class centre; logarithmic axes"
        f"{labels_note(table)}; {seeds_note(found)}{placed.left_out}."
    )
    return lines(placed.found, placed.looks, Words(TITLE, note, EPOCH_AXIS), placed.key, x="epoch", log_y=True,
                 reference=(1, "equal"))  # fmt: skip
