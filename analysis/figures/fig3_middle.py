"""Mutual information of input and representation by epoch: three lower bounds of trained critics (MINE).

Corresponds to figure 3 middle of arXiv 2305.15614, which shows that of Donsker and Varadhan; InfoNCE and NWJ stand
beside it on one scale. The band is the spread over seeds of the critic, not of the network. Dotted: what no bound
exceeds with its number of pairs; the note says how many points are within 5 % of it: these are not to be trusted. The
table has the same numbers in bits (mi_dv_bits).
"""

from __future__ import annotations

import math
from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.layout import network_subject, overlaid
from analysis.figures.base.needs import Shown
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import REPRESENTATION, Frame, over_seeds, prepare, values
from analysis.figures.base.panels import EPOCH_AXIS, lines
from analysis.figures.base.sheet import Line, Words
from analysis.figures.base.targets import self_supervised
from analysis.needs import Measured, Trials
from analysis.saturation import SATURATED

TITLE = "Mutual information of input and representation by epoch"

BOUNDS: Final = {
    "mi_dv": Line("Donsker-Varadhan", "#0072b2", "solid", "o"),
    "mi_infonce": Line("InfoNCE", "#d55e00", "solid", "s"),
    "mi_nwj": Line("NWJ", "#009e73", (0, (4, 1.5)), "^", hollow=True),
}
NEEDS = (Trials("self-supervised"), Shown(Measured("mi_dv", "none", "test", num_epochs=2)))


def numbers(table: Frame) -> Frame:
    """Returns the bounds in nats by network, bound and epoch.

    The mean is over the network's seeds, `n` of them; spread is the standard deviation over critic seeds, averaged
    over them; over_seeds that over the network's seeds; ceiling is what the bound cannot exceed. NaN where it was not
    measured.
    """
    rows = self_supervised(prepare(table, *(f"{name}{part}" for name in BOUNDS for part in ("", "_std", "_ceiling"))))
    rows = rows[(rows["layer_name"] == REPRESENTATION) & (rows["level"] == "none")]  # others: with a layer, not pixels
    return pd.concat([_of_bound(rows, name) for name in BOUNDS], ignore_index=True)


def _of_bound(rows: Frame, name: str) -> Frame:
    found = over_seeds(values(rows, name, level=False), ["epoch"]).rename(columns={"spread": "over_seeds"})
    for column, metric in (("spread", f"{name}_std"), ("ceiling", f"{name}_ceiling")):
        mean = values(rows, metric, level=False).groupby(["network", "epoch"])["value"].mean().rename(column)
        found = found.merge(mean.reset_index(), how="left", on=["network", "epoch"])
    found.insert(4, "bound", name)
    return found


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no two epochs of mi_dv."""
    table = self_supervised(table)  # the others would take panels, colours and dashes
    found = numbers(table)
    if found.loc[found["bound"] == "mi_dv", "epoch"].nunique() < 2:
        return None
    placed = overlaid(networks(table), found.assign(quantity=found["bound"]), BOUNDS, "mutual information (nats)")
    found = placed.found.assign(group="")
    most = int(found["n"].max())
    over = f"mean over {most} seeds; " if most > 1 else ""
    band = "band: standard deviation over seeds of the critic" if found["spread"].notna().any() else "no spread known"
    ceilings = found["ceiling"].dropna().round(6).unique()
    pairs = [f"{math.exp(ceiling):.0f}" for ceiling in (ceilings.min(), ceilings.max())] if len(ceilings) else []
    one = (float(ceilings[0]), f"ceiling {ceilings[0]:.3g}") if len(ceilings) == 1 else None
    limit = f"; dotted: the ceiling of all bounds, ln of {pairs[0]} pairs" if one else ""
    limit = f"; ceilings of the bounds: ln of {pairs[0]} to {pairs[1]} pairs" if len(ceilings) > 1 else limit
    saturated = int((found["mean"] >= SATURATED * found["ceiling"]).sum())
    at_ceiling = f"; {saturated} of {len(found)} points are at their ceiling" if saturated else ""
    note = (
        f"{network_subject(table, found)}; test images; lower bounds, 1 nat = {1 / math.log(2):.3f} bits; "
        f"{over}{band}{limit}{at_ceiling}{placed.left_out}."
    )
    return lines(found, placed.looks, Words(TITLE, note, EPOCH_AXIS), placed.key, x="epoch", reference=one)
