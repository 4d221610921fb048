"""Accuracy in the target against how far apart source and target lie, a mark for each method.

Of the representation at the last epoch; the head is logistic regression of labels of the source alone. Pretraining may
leave the domains further apart than domain-adversarial training (DANN) and transfer no worse (arXiv 2204.00570): its
marks then stand to the right of DANN's and no lower. Of a target without labels: the accuracy in the source, and
nothing on transfer. Bars are 95 % intervals over seeds.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.base.dots import trained
from analysis.figures.base.finetuned import interval_note
from analysis.figures.base.marks import DOTTED, panel_inches
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import (
    REPRESENTATION,
    Frame,
    last_epoch,
    over_seeds,
    prepare,
    subject,
    values,
    with_chance,
)
from analysis.figures.base.sheet import FAINT, GREY, Line, Row, Words, marker, sheet, text_width
from analysis.figures.base.ticks import padded, reaching, tick_labels, y_ticks
from analysis.figures.base.transfer import SOURCE_ACCURACY, TARGET_ACCURACY, with_intervals
from analysis.needs import Measured

TITLE = "Accuracy in the target against the distance of the domains"
_WITHOUT_LABELS = "Accuracy in the source against the distance of the domains"
TOPIC = "Source and target"
NEEDS: Final = (Measured(SOURCE_ACCURACY, "class", "test"), Measured("domain_distance", "class", "test"))

DISTANCES: Final = {
    "domain_accuracy": "told apart linearly (%)",
    "domain_distance": "distance of their means",
    "domain_distance_of_class": "distance of means within a class",
}
NOTHING: Final = {"domain_accuracy": 0.5, "domain_distance": 1.0, "domain_distance_of_class": 1.0}
"""What one compares with: domains that are mixed, and those as far apart as two classes."""

_HEIGHT = 2.2  # inches


def numbers(table: Frame) -> Frame:
    """Returns `of_networks` that have both accuracy and distances; empty where there is one method only."""
    found = of_networks(table)
    of_accuracy = ~found["metric"].isin(DISTANCES)
    whole = [set(found.loc[rows, "network"]) for rows in (of_accuracy, ~of_accuracy)]
    found = found[found["network"].isin(whole[0] & whole[1])].reset_index(drop=True)
    return found if found["method"].nunique() > 1 else found.iloc[:0]


def of_networks(table: Frame) -> Frame:
    """Returns accuracy in the target (in the source, where none is known there) and the distances, by network at its
    last epoch, with chance of the accuracy.

    Networks that were measured at initialisation alone where others were trained are left out.
    """
    accuracy = TARGET_ACCURACY if (table["metric"] == TARGET_ACCURACY).any() else SOURCE_ACCURACY
    rows = prepare(table, accuracy, *DISTANCES)
    rows = rows[rows["layer_name"] == REPRESENTATION]
    rows = pd.concat([values(rows, metric) for metric in (accuracy, *DISTANCES)])
    found = with_intervals(over_seeds(trained(last_epoch(rows)), ["level", "epoch", "metric"]))
    chance = with_chance(found, table)["chance"]
    return found.assign(chance=chance.where(found["metric"] == accuracy)).reset_index(drop=True)


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there is one method only, or no distance or accuracy."""
    found = numbers(table)
    if found.empty:
        return None
    looks = networks(table)
    shown = looks.drawn(found)
    accuracy = shown[~shown["metric"].isin(DISTANCES)].set_index("network")
    labelled = (accuracy["metric"] == TARGET_ACCURACY).all()
    where, title = ("target", TITLE) if labelled else ("source", _WITHOUT_LABELS)
    low, high = _range(accuracy, float(accuracy["chance"].min()))
    ticks = y_ticks(low, high, _HEIGHT)
    labels = tick_labels(ticks, 100)
    distances = [name for name in DISTANCES if (shown["metric"] == name).any()]
    epochs = " or ".join(map(str, sorted(shown["epoch"].unique())))
    chance = "" if accuracy["chance"].isna().all() else f"chance ({100 * accuracy['chance'].min():.3g}%), "
    missing = "" if labelled else "the target has no labels; "
    below = "below 0: nearer than by the choice of images; " if (_ends(shown)["low"] < 0).any() else ""
    note = (
        f"{subject(table)}; logistic head, labels of the source alone; test images; epoch {epochs}; {missing}dotted: "
        f"{chance}domains that are mixed (50%), as far apart as two classes (1); {below}{interval_note(shown)}"
        f"{looks.left_out}."
    )
    widths = [max(map(text_width, labels)) + 0.06, *[0.0] * (len(distances) - 1)]
    row = Row(f"accuracy in the {where} (%)", [DISTANCES[name] for name in distances], _HEIGHT, widths, True)
    words = Words(title, note, "how far apart source and target lie (distances: 1 is that of two classes)")
    key = [line._replace(dash="") for line in looks.key_of(shown)]
    figure, [axes] = sheet([row], words, key)
    for i, (name, ax) in enumerate(zip(distances, axes, strict=True)):
        assert ax is not None
        ax.set_ylim(low, high)
        ax.set_yticks(ticks, labels if i == 0 else [""] * len(ticks))
        _panel(ax, accuracy, shown[shown["metric"] == name].set_index("network"), name, looks.lines)
    return figure


def _range(rows: Frame, *also: float) -> tuple[float, float]:
    """Holds every mean and bar, and chance or what one compares with unless that would flatten them."""
    ends = _ends(rows)
    low, high = float(ends["low"].min()), float(ends["high"].max())
    for value in also:
        low, high = reaching(low, high, value) if value == value else (low, high)
    return padded(low, high, log=False)


def _ends(rows: Frame) -> Frame:
    """Returns the rows with the ends of their bars: intervals of few seeds reach beyond what is possible."""
    spread, share = rows["spread"].fillna(0), rows["metric"].str.contains("accuracy")
    low = (rows["mean"] - spread).clip(lower=np.where(share, 0, -np.inf))
    return rows.assign(low=low, high=(rows["mean"] + spread).clip(upper=np.where(share, 1, np.inf)))


def _panel(ax: Axes, accuracy: Frame, distance: Frame, name: str, looks: dict[str, Line]) -> None:
    low, high = _range(distance, NOTHING[name])
    ax.set_xlim(low, high)
    ticks = y_ticks(low, high, 0.6 * panel_inches(ax)[0])  # a number is wider than high
    ax.set_xticks(ticks, tick_labels(ticks, 100 if name == "domain_accuracy" else 1))
    ax.grid(True, color=FAINT, lw=0.6)
    chance = float(accuracy["chance"].min())
    for value, rule in ((NOTHING[name], ax.axvline), (chance, ax.axhline)):
        rule(value, color=GREY, lw=0.8, ls=DOTTED, zorder=1)
    ax.set(xlim=(low, high))
    accuracy = _ends(accuracy)
    for network, x in _ends(distance).iterrows():
        y, look = accuracy.loc[network], looks[str(network)]
        ax.plot([x["low"], x["high"]], [y["mean"]] * 2, color=look.colour, lw=1.0, zorder=2)
        ax.plot([x["mean"]] * 2, [y["low"], y["high"]], color=look.colour, lw=1.0, zorder=2)
        ax.plot([x["mean"]], [y["mean"]], ls="none", zorder=3, **marker(look, 5.5))
