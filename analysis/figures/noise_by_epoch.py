"""Linear test accuracy by epoch of a teacher's predictions, and below of classes with as much uniform noise.

Both go from semantic to random labels. A teacher at its initialisation is a random function of the image, which a
linear head can learn; uniform noise is no function of it, and test images are told at chance.
"""

from __future__ import annotations

from typing import Final

from matplotlib.figure import Figure

from analysis.figures.base.layout import by_network, joined, network_subject
from analysis.figures.base.needs import Shown
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import LINEAR, REPRESENTATION, Frame, over_seeds, seeds_note
from analysis.figures.base.panels import EPOCH_AXIS, lines, shades
from analysis.figures.base.sheet import Words
from analysis.figures.base.targets import NOISE, RANDOM, TEACHER, self_supervised, target_values
from analysis.needs import Measured, Trials

TITLE = "Linear accuracy of a teacher's predictions and of noisy classes by epoch"

NEEDS = (
    Trials("self-supervised"),
    Shown(Measured(LINEAR, RANDOM, "test", num_epochs=2)),
    Shown(Measured(LINEAR, f"{NOISE}1.00", "test", num_epochs=2)),
)

_ROWS: Final = {TEACHER: "teacher: accuracy (%)", NOISE: "noise: accuracy (%)"}


def numbers(table: Frame) -> Frame:
    """Returns linear test accuracy by network, kind of targets, randomness and epoch.

    `guess` is the share of test images with the most frequent label of the most random target of the kind, NaN where
    it is not measured.
    """
    return joined(*(_of_kind(table, kind) for kind in _ROWS))


def _of_kind(table: Frame, kind: str) -> Frame:
    rows = target_values(table, LINEAR, kind=kind)
    found = over_seeds(rows[rows["layer_name"] == REPRESENTATION], ["randomness", "epoch"])
    shares = table[(table["metric"] == "target_largest_share") & (table["split"] == "test")]
    return found.assign(kind=kind, guess=shares.loc[shares["level"] == f"{kind}1.00", "value"].mean())


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where one of the kinds is lacking, or there are no two epochs."""
    table = self_supervised(table)
    found = numbers(table)
    if found["kind"].nunique() < len(_ROWS) or found["epoch"].nunique() < 2:
        return None
    placed = [
        by_network(
            networks(table),
            found[found["kind"] == kind].assign(series=lambda one: one["randomness"], group=kind).rename(
                columns={"guess": "chance"}
            ),
            row,
        )
        for kind, row in _ROWS.items()
    ]  # fmt: skip
    drawn = joined(*(one.found for one in placed))
    looks, key = shades(sorted(found["randomness"].unique(), reverse=True), "randomness {}".format)
    note = (
        f"{network_subject(table, found)}; linear probe, test images; teacher: its predictions, randomness 0 at the "
        "end of its training, 1 at its initialisation; noise: the classes, that share of them replaced by uniform "
        "ones, of test images too; chance: the most frequent label at randomness 1; "
        f"{seeds_note(drawn)}{placed[0].left_out}."
    )
    return lines(drawn, looks, Words(TITLE, note, EPOCH_AXIS), key, x="epoch", percent=True)
