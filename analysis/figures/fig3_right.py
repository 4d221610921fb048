"""Nearest class-centre accuracy of classes by epoch on training and test images, supervised and self-supervised.

Corresponds to figure 3 right of arXiv 2305.15614: supervised without and with augmentation, and self-supervised.
"""

from __future__ import annotations

from typing import Final

from matplotlib.figure import Figure

from analysis.figures.base.layout import joined
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import (
    NCC,
    REPRESENTATION,
    Frame,
    level_names,
    over_seeds,
    prepare,
    seeds_note,
    subject,
    values,
    with_chance,
)
from analysis.figures.base.panels import EPOCH_AXIS, lines
from analysis.figures.base.sheet import Words
from analysis.needs import NO_AUGMENTATION, Measured, Trials, is_self_supervised

TITLE = "NCC accuracy on training and test images by epoch"

SUPERVISED: Final = ("supervised", NO_AUGMENTATION)
NEEDS = (
    Trials("self-supervised"),
    Trials("supervised"),
    Trials(NO_AUGMENTATION),
    Measured(NCC, "class", "train", num_epochs=2),
)


def numbers(table: Frame) -> Frame:
    """Returns the accuracy by network, split and epoch, with that of chance; empty without both kinds of method."""
    rows = prepare(table, NCC)
    kept = rows["method"].map(lambda method: method in SUPERVISED or is_self_supervised(method)).astype(bool)
    rows = rows[kept & (rows["layer_name"] == REPRESENTATION) & (rows["level"] == "class")]
    rows = joined(values(rows, NCC, split="train"), values(rows, NCC, split="test"))
    found = with_chance(over_seeds(rows.assign(level="class"), ["level", "split", "epoch"]), table)
    methods = set(found["method"])
    return found if methods & set(SUPERVISED) and methods - set(SUPERVISED) else found.iloc[:0]


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no supervised trials or no others, or there are no two epochs."""
    found = numbers(table)
    if found["epoch"].nunique() < 2:
        return None
    shown = networks(table)
    found = shown.drawn(found)
    note = f"{subject(table)}; {level_names(table)['class']}; NCC: nearest class centre; {seeds_note(found)}"
    found = found.assign(
        label=found["split"].map({"train": "training images", "test": "test images"}), name="NCC accuracy (%)",
        group="", series=found["network"],
    ).sort_values("split", ascending=False, kind="stable")  # fmt: skip
    found = shown.in_columns(found, column="label", row="name")
    words = Words(TITLE, f"{note}{shown.left_out}.", EPOCH_AXIS)
    return lines(found, shown.lines, words, shown.key_of(found), x="epoch", percent=True)
