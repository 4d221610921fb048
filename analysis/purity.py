"""Purity of clusters, eigengap and accuracy of linear heads by the number of directions k, from the table alone.

Rows of encoders are those of `analysis.metrics.cluster_purity`; rows of eigenvectors those of `python -m analysis
graph`, whose heads have a bound (see `analysis.graph.labels.error_bound`).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from analysis.figures.base.numbers import REPRESENTATION
from analysis.rank_intervals import interval

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

FIGURE: Final = "probe_by_purity"
EIGENVECTORS: Final = "eigenvectors"
"""Method of the rows of a graph's eigenvectors; k is their width."""

QUANTITIES: Final = {"cluster_purity": "purity", "linear_accuracy": "accuracy", "feature_eigengap": "eigengap"}
"""What is measured of the k strongest directions of an encoder's layer, in the table as NAME_topK."""

OF_GRAPH: Final = {"cluster_purity": "purity", "head_error": "error", "head_error_bound": "error_bound"}
"""What is measured of a graph's first k eigenvectors at each level, besides `GAP`."""
GAP: Final = "eigengap"

_TRIAL: Final = ["trial_key", "network", "method", "depth", "width", "seed", "dataset"]


class Correlation(NamedTuple):
    """Spearman's correlation with accuracy over points.

    Attributes:
        value: -1 .. 1; NaN of fewer than three points, or where one does not vary.
        low, high: Ends of its 95 % bootstrap interval over points. Those of one network are not independent, so it is
            narrower than that over other networks would be.
        within: Its smallest and largest value over points of one k. Purity and accuracy both rise with k whatever
            the encoder is; these say whether they go together besides. NaN where no k has one.
        num_points: Points.
    """

    value: float
    low: float
    high: float
    within: tuple[float, float]
    num_points: int


def heads(table: Frame) -> Frame:
    """Returns purity, accuracy and eigengap of every trial, epoch, level and k, of the representation.

    Args:
        table: As `analysis.figures.base.numbers.prepare` returns it.

    Returns:
        Columns of the trial, layer, epoch, level, k, purity, accuracy, eigengap; all are finite.
    """
    rows = table[(table["layer_name"] == REPRESENTATION) & np.isfinite(table["value"])]
    parts = rows["metric"].str.extract(r"^(?P<name>.+)_top(?P<k>\d+)$")
    rows = rows.assign(quantity=parts["name"].map(QUANTITIES), k=parts["k"])[parts["name"].isin(QUANTITIES)]
    rows = rows.assign(k=rows["k"].astype(int))
    same = [*_TRIAL, "layer", "epoch", "k"]
    purity, accuracy, gap = (
        rows.loc[rows["quantity"] == name, [*same, "level", "value"]].rename(columns={"value": name})
        for name in QUANTITIES.values()
    )
    return purity.merge(accuracy, on=[*same, "level"]).merge(gap.drop(columns="level"), on=same)


def heads_of_eigenvectors(table: Frame) -> Frame:
    """Returns purity, accuracy, eigengap and bound of the first k eigenvectors of exact graphs, by level and k.

    Args:
        table: See `analysis.table`.

    Returns:
        Columns trial_key, dataset, level, k, purity, accuracy (of the least-squares head, of views of all images),
        least_accuracy (what the bound guarantees; says nothing where it is 0 or less) and eigengap.
    """
    rows = table[table["method"] == EIGENVECTORS].rename(columns={"width": "k"})
    same = ["trial_key", "dataset", "k"]
    wide = rows[rows["metric"].isin(OF_GRAPH)].pivot_table(
        index=[*same, "level"], columns="metric", values="value"
    ).reindex(columns=list(OF_GRAPH)).rename(columns=OF_GRAPH).reset_index()  # fmt: skip
    gap = rows.loc[rows["metric"] == GAP, [*same, "value"]].rename(columns={"value": "eigengap"})
    found = wide.dropna(subset=["purity", "error"]).merge(gap, on=same)
    found = found.assign(accuracy=1 - found["error"], least_accuracy=1 - found["error_bound"])
    return found.drop(columns=["error", "error_bound"])


def correlation(found: Frame, across: str) -> Correlation:
    """Returns the correlation of accuracy with "purity" or "eigengap" over all rows, of one level.

    Rows that agree in every number count once: methods of one seed begin with the same network.
    """
    within = within_each_k(found, across) or [np.nan]
    found = _distinct(found)
    return Correlation(*interval(found[across], found["accuracy"]), (min(within), max(within)), len(found))


def within_each_k(found: Frame, across: str) -> list[float]:
    """Returns the same over the rows of each k, of those k that have one; see `Correlation.within`."""
    values = [interval(one[across], one["accuracy"], 0)[0] for _, one in _distinct(found).groupby("k")]
    return [value for value in values if np.isfinite(value)]


def _distinct(found: Frame) -> Frame:
    return found.drop_duplicates(["k", *QUANTITIES.values()])
