"""How close encoders come to the top eigenvectors of the estimated graph of classes and of images, by epoch.

The 10 strongest directions of the representation's mean over each node's views against the top 10 eigenvectors of the
graph that `python -m analysis connectivity SWEEP --groups class` (or image) estimates by classifiers (`--metrics
estimated_alignment`). Dotted: what a random span of 10 has that holds the constant feature, as features with a mean
nearly do. Where eigenvalue 10 equals the next, means are compared with the closest of all spans of least loss, and a
random span has no line. Estimates are noisy: the note says how far two of them, of other seeds, agree. No published
panel; the theory is that of arXiv 2106.04156.
"""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import REPRESENTATION, Frame, over_seeds, prepare, seeds_note, subject, values
from analysis.figures.base.panels import EPOCH_AXIS, lines
from analysis.figures.base.sheet import Words
from analysis.graph.alignment import random_alignment_with_constant
from analysis.needs import Measured

TITLE = "Representations against the top eigenvectors of the estimated graph"

NUM_EIGENVECTORS: Final = 10
ALIGNMENT: Final = f"estimated_alignment_top{NUM_EIGENVECTORS}"
NUM_NODES: Final = "estimated_num_nodes"
NUM_EQUAL: Final = f"estimated_num_equal_top{NUM_EIGENVECTORS}"
NODES: Final = {"class": "classes", "sample": "images"}
"""What the nodes are, by level."""
AGREEMENT: Final = {
    f"{kind}_graph_agreement_top{NUM_EIGENVECTORS}": nodes
    for kind, nodes in (("class", "classes"), ("image", "images"))
}
"""Between estimates, by metric what the nodes are."""

NEEDS = (Measured(ALIGNMENT, num_epochs=2),)


def numbers(table: Frame) -> Frame:
    """Returns the mean squared cosine by network, level and epoch, with what a random span has of it (`chance`; NaN:
    unknown) and whether the eigenvalue equals the next (`tied`)."""
    table = prepare(table, ALIGNMENT, NUM_NODES, NUM_EQUAL)
    table = table[table["layer_name"] == REPRESENTATION]
    of = ["network", "level"]
    nodes = table[table["metric"] == NUM_NODES].groupby(of)["value"].max()
    equal = table[table["metric"] == NUM_EQUAL].groupby(of)["value"].max()
    found = over_seeds(values(table, ALIGNMENT), ["level", "epoch"])
    at = pd.MultiIndex.from_frame(found[of].astype(str))
    tied = pd.Series(equal.reindex(at).fillna(0).to_numpy(float) > 0, found.index)
    num_nodes = pd.Series(nodes.reindex(at).to_numpy(float), found.index)
    chance = random_alignment_with_constant(float(NUM_EIGENVECTORS), num_nodes)
    return found.assign(num_nodes=num_nodes, chance=chance.where(~tied), tied=tied)


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there are no two epochs."""
    shown = networks(table)
    found = shown.drawn(numbers(table))
    if found["epoch"].nunique() < 2:
        return None
    names = [f"graph of {n:.0f} {NODES[level]}" for level, n in zip(found["level"], found["num_nodes"], strict=True)]
    found = found.assign(name=names, quantity="mean squared cosine", group="", series=found["network"])
    found = found.sort_values(["level", "num_nodes"], kind="stable")
    found = shown.in_columns(found, column="name", row="quantity")
    note = (
        f"{subject(table)}; principal angles between the {NUM_EIGENVECTORS} strongest directions of means over the "
        f"views of a node and the top {NUM_EIGENVECTORS} eigenvectors{_agreement(table)}; {_sweeps(table)}"
        f"{_spans(found)}{seeds_note(found)}{shown.left_out}."
    )
    return lines(found, shown.lines, Words(TITLE, note, EPOCH_AXIS), shown.key_of(found), x="epoch",
                 possible={"": (0.0, 1.0)}, level="random span")  # fmt: skip


def _sweeps(table: Frame) -> str:
    """That sweeps have estimates of their own, where there are several."""
    several = table.loc[table["metric"] == ALIGNMENT, "sweep"].nunique() > 1
    return "every sweep has graphs of its own, also where they have as many nodes; " if several else ""


def _spans(found: Frame) -> str:
    """What the means are compared with where the eigenvalue equals the next, and what a random span has elsewhere."""
    graphs = [f"the graph of {NODES[level]}" for level in NODES if level in set(found.loc[found["tied"], "level"])]
    tied = (
        f"in {' and '.join(graphs)} eigenvalues {NUM_EIGENVECTORS} and {NUM_EIGENVECTORS + 1} are equal: compared with "
        "the closest span of least loss; "
    )
    random = "random span: one that holds the constant feature, as features with a mean nearly do; "
    return f"{tied if graphs else ''}{'' if found['tied'].all() else random}"


def _agreement(table: Frame) -> str:
    """How far estimates of several seeds agree; "" where there is one."""
    found = table[table["metric"].isin(AGREEMENT)].groupby(["metric", "sweep"])["value"].mean().groupby("metric")
    said = [f"{_range(values)} ({AGREEMENT[str(metric)]})" for metric, values in found]
    return f", of which two estimates share {', '.join(said)}" if said else ""


def _range(values: Frame) -> str:
    """One number, or from which to which."""
    return " to ".join(dict.fromkeys(f"{value:.2f}" for value in (values.min(), values.max())))
