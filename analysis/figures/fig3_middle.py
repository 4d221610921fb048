"""Mutual information of input and representation by epoch: the Donsker-Varadhan bound of a trained critic (MINE).

Corresponds to figure 3 middle of arXiv 2305.15614. The band is the spread over seeds of the critic, not of the network.
Dotted: the most that InfoNCE could say with its number of pairs; the note says how many points are within 5 % of it or
above: these are not to be trusted. The table has the same numbers in bits (mi_dv_bits).
"""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from analysis.figures.base.layout import network_subject
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import REPRESENTATION, Frame, over_seeds, prepare, values
from analysis.figures.base.panels import EPOCH_AXIS, lines
from analysis.figures.base.sheet import Words
from analysis.figures.base.targets import self_supervised
from analysis.needs import Measured, Trials
from analysis.saturation import SATURATED

TITLE = "Mutual information of input and representation by epoch"

BOUND, SPREAD, CEILING = "mi_dv", "mi_dv_std", "mi_infonce_ceiling"
NEEDS = (Trials("self-supervised"), Measured(BOUND, "none", "test", num_epochs=2))


def numbers(table: Frame) -> Frame:
    """Returns the bound in nats by network and epoch.

    The mean is over the network's seeds, `n` of them; spread is the standard deviation over critic seeds, averaged
    over them; over_seeds that over the network's seeds; ceiling is that of InfoNCE. NaN where it was not measured.
    """
    rows = self_supervised(prepare(table, BOUND, SPREAD, CEILING))
    rows = rows[rows["layer_name"] == REPRESENTATION]
    found = over_seeds(values(rows, BOUND, level=False), ["epoch"]).rename(columns={"spread": "over_seeds"})
    for name, metric in (("spread", SPREAD), ("ceiling", CEILING)):
        mean = values(rows, metric, level=False).groupby(["network", "epoch"])["value"].mean().rename(name)
        found = found.merge(mean.reset_index(), how="left", on=["network", "epoch"])
    return found


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no two epochs of mi_dv."""
    table = self_supervised(table)  # the others would take panels, colours and dashes
    shown = networks(table)
    found = shown.drawn(numbers(table))
    if found["epoch"].nunique() < 2:
        return None
    most = int(found["n"].max())
    over = f"mean over {most} seeds; " if most > 1 else ""
    band = "band: standard deviation over seeds of the critic" if found["spread"].notna().any() else "no spread known"
    ceilings = found["ceiling"].dropna().round(6).unique()
    ceiling = (float(ceilings[0]), f"InfoNCE's ceiling {ceilings[0]:.3g}") if len(ceilings) == 1 else None
    saturated = int((found["mean"] >= SATURATED * found["ceiling"]).sum())
    at_ceiling = f"; {saturated} of {len(found)} points are at their ceiling" if saturated else ""
    several = f"; InfoNCE's ceilings {ceilings.min():.3g} to {ceilings.max():.3g} nats" if len(ceilings) > 1 else ""
    note = (
        f"{network_subject(table, found)}; test images; lower bound of Donsker and Varadhan, "
        f"1 nat = {1 / math.log(2):.3f} bits; {over}{band}{several}{at_ceiling}{shown.left_out}."
    )
    found = found.assign(title="", name="mutual information (nats)", group="", series=found["network"])
    found = shown.in_columns(found, column="title", row="name")
    return lines(found, shown.lines, Words(TITLE, note, EPOCH_AXIS), shown.key_of(found), x="epoch", reference=ceiling)
