"""The spectral contrastive loss against its minimum, and accuracy of features against the eigenvectors, by step.

Of `sweeps/graph.py`: features that this loss learns on an exact graph, by full-batch step. The upper row is
the loss of the population; its minimum over all features of k dimensions is known in closed form, minus the sum of the
k largest squared eigenvalues. The others are test accuracies of linear probes on each image's mean feature. Dashed:
that minimum, and the probe on the top k eigenvectors, which have it. Each graph and number of steps has a column. No
published panel; the theory is that of arXiv 2106.04156.
"""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.graphs import apart
from analysis.figures.base.needs import Learned
from analysis.figures.base.networks import MARKERS, OKABE_ITO, in_order
from analysis.figures.base.numbers import (
    LEARNED,
    LEVELS,
    LINEAR,
    Frame,
    level_names,
    prepare,
    seeds_note,
    values,
    with_chance,
)
from analysis.figures.base.panels import STEP_AXIS, lines
from analysis.figures.base.sheet import INK, Line, Words
from analysis.purity import EIGENVECTORS

TITLE = "Spectral contrastive loss on an exact graph, and linear accuracy of its features"

LOSS, LEAST = "spectral_loss", "least_loss"
GRAPH_NEEDS = (Learned(),)

_TABLE, _NETWORK = LEARNED
_LOOKS: Final = {  # those of `eigenvector_angles`
    _NETWORK: Line(_NETWORK, OKABE_ITO[0], marker=MARKERS[0]),
    _TABLE: Line(f"{_TABLE}: free features of each view", OKABE_ITO[1], marker=MARKERS[1]),
    EIGENVECTORS: Line("top k eigenvectors, which have the least loss", INK, (0, (4, 1.5)), "None", band=False),
}


def numbers(table: Frame) -> Frame:
    """Returns the loss and each level's accuracy by method, k, graph, number of steps and step, over seeds.

    Columns: method, k, study (graph and steps, in words where they differ), least_loss (it tells graphs apart), metric,
    level, epoch (the step), mean, spread, n, and best: what the eigenvectors of the same graph have, NaN where they
    were not measured.
    """
    words = apart(table)
    table = prepare(table, LOSS, LEAST, LINEAR)
    loss, least = (values(table, metric, split="train", level=False) for metric in (LOSS, LEAST))
    of_trial = least.assign(value=least["value"].round(9)).groupby("trial_key")["value"].first()  # rounding of a rerun
    found: Frame = pd.concat([loss, values(table, LINEAR)])
    found = found.assign(k=found["width"], least_loss=found["trial_key"].map(of_trial)).dropna(subset=["least_loss"])
    same = ["k", "least_loss", "metric", "level"]
    best = found[found["method"] == EIGENVECTORS].groupby(same)["value"].mean().rename("best").reset_index()
    learned = found[found["method"].isin(LEARNED)]
    learned = learned.assign(study=[words[key].removeprefix(", ") for key in learned["trial_key"]])
    groups = learned.groupby(["method", *same, "study", "epoch"], sort=True)["value"]
    means = groups.agg(mean="mean", spread="std", n="count").reset_index()
    return means.merge(best, on=same, how="left")


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where no features were learned on an exact graph (sweeps/graph.py)."""
    found = numbers(table)
    if found.empty:
        return None
    names = {level: f"{name}: accuracy (%)" for level, name in level_names(table).items()}
    rows = {"none": "spectral loss", **names}
    graphs = "k " + found["k"].astype(str) + ("\n" + found["study"]).where(found["study"] != "", "")
    found = found.assign(series=found["method"], row=in_order(found["level"].map(rows), rows.values()), column=graphs)
    found = found.assign(group=found["level"].where(found["metric"] == LINEAR, found["column"]))
    at = ["k", "least_loss", "study", "row", "column", "group", "level"]
    ends = found.groupby(at, observed=True).agg(best=("best", "first"), first=("epoch", "min"), last=("epoch", "max"))
    ends = ends.reset_index().dropna(subset=["best"]).melt([*at, "best"], ["first", "last"], value_name="epoch")
    drawn: Frame = pd.concat([found, ends.assign(series=EIGENVECTORS, mean=ends["best"])]).astype({"epoch": int})
    drawn = with_chance(drawn.assign(row=in_order(drawn["row"], rows.values())), table)
    drawn = drawn.sort_values(["k", "least_loss", "study", "row", "series", "epoch"], kind="stable")
    note = (
        f"{table['dataset'].iloc[0]}; full-batch training on the graph of all images; accuracy: linear probes of "
        f"images' mean features, learned from training images; {seeds_note(found)}."
    )
    shown = [look for name, look in _LOOKS.items() if (drawn["series"] == name).any()]
    possible = dict.fromkeys(LEVELS, (0.0, 1.0))
    words = Words(TITLE, note, STEP_AXIS)
    return lines(drawn, _LOOKS, words, shown, x="epoch", percent=frozenset(LEVELS), possible=possible)
