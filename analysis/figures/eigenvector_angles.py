"""How close features come to the top eigenvectors of the exact graph of positive pairs, by epoch or step.

Of encoders (`--metrics spectral_alignment`): the 20 strongest directions of the representation against the top 20
eigenvectors of a graph of test images, by epoch. Of `sweeps/graph.py`: features that the spectral contrastive
loss learns on the graph itself, by full-batch step; the lower row is the cosine of the largest angle, 1
where the spans are the same. Dotted: what a random span of as many dimensions has: of the mean squared cosine k /
nodes, of the smallest cosine the mean of 256 drawn ones; of encoders one that holds the constant feature, as features
with a mean nearly do. Where eigenvalue k equals the next, features are compared with the closest of all spans of least
loss, and a random span has no line. Graphs and numbers of features of which it differs have columns of their own. No
published panel; the theory is that of arXiv 2106.04156.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.needs import Learned
from analysis.figures.base.networks import in_order, networks
from analysis.figures.base.numbers import (
    LEARNED,
    REPRESENTATION,
    Frame,
    measured_split,
    over_seeds,
    prepare,
    seeds_note,
    subject,
    values,
)
from analysis.figures.base.panels import EPOCH_AXIS, STEP_AXIS, lines
from analysis.figures.base.sheet import Words
from analysis.graph.alignment import (
    NUM_DRAWS,
    NUM_EQUAL,
    NUM_NODES,
    random_alignment,
    random_alignment_with_constant,
    random_smallest_cosine,
)
from analysis.needs import Measured, OneOf

TITLE = "Features against the top eigenvectors of the positive-pair graph"

ALIGNMENT, SMALLEST = "eigenvector_alignment", "eigenvector_cosine"
NUM_ENCODED: Final = 20
ENCODERS: Final = f"spectral_alignment_top{NUM_ENCODED}"
ENCODED_EQUAL: Final = f"{NUM_EQUAL}_top{NUM_ENCODED}"
QUANTITIES: Final = {
    ENCODERS: "mean squared cosine",
    ALIGNMENT: "mean squared cosine",
    SMALLEST: "smallest cosine",
}
GRAPH_NEEDS = (Learned(2),)
NEEDS = (OneOf(((Measured(ENCODERS, num_epochs=2),), (Measured(ALIGNMENT, num_epochs=2),))),)


def numbers(table: Frame) -> Frame:
    """Returns each quantity by network, split and epoch, with what a random span has of it (`chance`; NaN: unknown) and
    whether eigenvalue k equals the next (`tied`)."""
    table = prepare(_with_angles(table), *QUANTITIES, NUM_NODES, NUM_EQUAL, ENCODED_EQUAL)
    nodes = table[table["metric"] == NUM_NODES].groupby(["network", "split"])["value"].max()
    equal = table[table["metric"].isin([NUM_EQUAL, ENCODED_EQUAL])].groupby(["network", "split"])["value"].max()
    table = table[table["layer_name"] == REPRESENTATION]
    found = [values(table, metric, split=measured_split(table, metric), level=False) for metric in QUANTITIES]
    found = over_seeds(pd.concat(found), ["metric", "split", "epoch"])
    k = found["width"].where(found["metric"] != ENCODERS, NUM_ENCODED)
    at = pd.MultiIndex.from_frame(found[["network", "split"]])
    num_nodes, tied = nodes.reindex(at).to_numpy(float), equal.reindex(at).fillna(0).to_numpy(float) > 0
    found = found.assign(k=k, num_nodes=num_nodes, tied=tied)
    chance = pd.Series([_random(*row) for row in zip(found["metric"], k, num_nodes, strict=True)], found.index, float)
    return found.assign(chance=chance.where(~found["tied"]))


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no two epochs."""
    table = _with_angles(table)
    if table.empty:
        return None
    shown = networks(table)
    found = shown.drawn(numbers(table))
    if found["epoch"].nunique() < 2:
        return None
    found = found.assign(
        measured=_of_what(found), learned=found["metric"] != ENCODERS,
        quantity=in_order(found["metric"].map(QUANTITIES), QUANTITIES.values()), group="", series=found["network"],
    ).sort_values(["learned", "k", "num_nodes", "quantity"], kind="stable")  # fmt: skip
    found = shown.in_columns(found.assign(quantity=found["quantity"].astype(str)), column="measured", row="quantity")
    note = (
        f"{subject(table)}; principal angles between the strongest directions of features and as many eigenvectors, "
        f"rows scaled by the root of the view's probability; 1: the same span; {_spans(found)}"
        f"{seeds_note(found)}{shown.left_out}."
    )
    words = Words(TITLE, note, _axis(set(found["method"])))
    return lines(found, shown.lines, words, shown.key_of(found), x="epoch", possible={"": (0.0, 1.0)},
                 level="random span")  # fmt: skip


def _random(metric: str, k: int, num_nodes: float) -> float:
    """What a random span has of a quantity; NaN of an unknown number of nodes."""
    if metric == ENCODERS:
        return float(random_alignment_with_constant(float(k), num_nodes))
    if metric != SMALLEST or not np.isfinite(num_nodes):
        return float(random_alignment(float(k), num_nodes))
    return random_smallest_cosine(int(k), int(num_nodes))


def _of_what(found: Frame) -> Frame:
    """Title of the column of each number, so that a random span has the same of all in a panel."""
    titles = found["metric"].eq(ENCODERS).map({True: "encoders", False: "learned on the graph"})
    known = found["num_nodes"].map(lambda number: f", {number:.0f} nodes" if np.isfinite(number) else "")
    return titles + found["k"].map(", k {:.0f}".format) + known


def _spans(found: Frame) -> str:
    """How it is known what random spans have."""
    equal = [f"{k:.0f} and {k + 1:.0f}" for k in sorted(set(found.loc[found["tied"], "k"]))]
    tied = f"eigenvalues {', '.join(equal)} are equal: compared with the closest span of least loss; " if equal else ""
    if found["tied"].all():
        return tied
    words = []
    if (found["metric"] == SMALLEST).any():
        words.append(f"a random span has k / nodes, and as the smallest cosine the mean of {NUM_DRAWS} drawn ones")
    if (found["metric"] == ENCODERS).any():
        words.append("of encoders the random span holds the constant feature, as features with a mean nearly do")
    return f"{tied}{'; '.join(words)}; "


def _with_angles(table: Frame) -> Frame:
    """The trials of which angles are measured: eigenvectors themselves have none."""
    return table[table["trial_key"].isin(prepare(table, *QUANTITIES)["trial_key"])]


def _axis(methods: set[str]) -> str:
    if methods <= {*LEARNED}:
        return STEP_AXIS
    return EPOCH_AXIS if methods.isdisjoint(LEARNED) else f"epoch; learned on the graph: {STEP_AXIS}"
