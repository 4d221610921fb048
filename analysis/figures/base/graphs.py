"""Trials of exact graphs (`sweeps/graph.py`): which are of one graph and one training, and what differs.

A table may hold several graphs of one data set, of other images or other views. Two trainings of k features are of one
graph where the number of nodes and the least loss agree, and comparable after equally many steps; eigenvectors are of
one graph where the sum of all eigenvalues agrees.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from analysis.graph.alignment import EIGENVALUE_SUM, NUM_NODES, NUM_STEPS
from analysis.table import GRAPH

Frame: TypeAlias = Any
"""A pandas DataFrame or Series; see `analysis.figures.base.numbers`."""

LEARNED: Final = ("spectral table", "spectral network")
"""Methods of features that are learned on an exact graph, of which an epoch is a full-batch step."""

EIGENVECTORS: Final = "eigenvectors"
OF_GRAPH: Final = (GRAPH, EIGENVECTORS, *LEARNED)

LEAST_LOSS: Final = "least_loss"
_DIGITS: Final = 9
"""Significant ones of numbers that tell graphs apart: a rerun may round otherwise."""


def apart(table: Frame) -> dict[str, str]:
    """Returns what differs between the trials of exact graphs in a table of one data set, by trial key.

    Args:
        table: See `analysis.table`.

    Returns:
        Words to stand after the name of a network, ", 467 nodes, 300 steps"; "" where all are of one graph and equally
        long. Trials whose words and k agree are of one graph and differ by seed.
    """
    return _learned_apart(table) | _eigenvectors_apart(table)


def lengths(table: Frame) -> Frame:
    """Returns the step that each training has reached and how many it is to have, by trial key: `reached` and `steps`.

    Where the table does not say how many, a training counts as finished.
    """
    rows = table[table["method"].isin(LEARNED)]
    reached = rows.groupby("trial_key")["epoch"].max()
    steps = _values(rows, NUM_STEPS).reindex(reached.index).fillna(reached)
    return reached.to_frame("reached").assign(steps=steps.astype(int))


def _learned_apart(table: Frame) -> dict[str, str]:
    rows = table[table["method"].isin(LEARNED)]
    if rows.empty:
        return {}
    found = rows.groupby("trial_key")[["width"]].first()
    found = found.assign(
        nodes=_values(rows, NUM_NODES).round(), least=_values(rows, LEAST_LOSS).map(_rounded),
        steps=lengths(rows)["steps"],
    )  # fmt: skip
    alike = found.groupby(["width", "nodes"], dropna=False)["least"].transform("nunique") > 1
    words = _words(found["nodes"], "{:.0f} nodes", found["nodes"].nunique() > 1)
    words += _words(found["least"], f"least loss {{:.{_DIGITS}g}}", alike)
    words += _words(found["steps"], "{} steps", found["steps"].nunique() > 1)
    return dict(words)


def _eigenvectors_apart(table: Frame) -> dict[str, str]:
    rows = table[table["method"] == EIGENVECTORS]
    if rows.empty:
        return {}
    found = rows.groupby("trial_key")[["width"]].first()
    found = found.assign(nodes=_values(rows, NUM_NODES).round(), total=_values(rows, EIGENVALUE_SUM).map(_rounded))
    alike = found.groupby("nodes", dropna=False)["total"].transform("nunique") > 1
    words = _words(found["nodes"], "{:.0f} nodes", found["nodes"].nunique() > 1)
    words += _words(found["total"], f"sum of eigenvalues {{:.{_DIGITS}g}}", alike)
    unclear = found["total"].isna() & found[found["total"].isna()].duplicated("width", keep=False).any()
    keys = found.index.to_series().str[:6]
    return dict(words + _words(keys, "trial {}", unclear))


def _values(rows: Frame, metric: str) -> Frame:
    """The number that a metric has at every step of a trial, by trial key."""
    return rows[rows["metric"] == metric].groupby("trial_key")["value"].max()


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _words(values: Frame, form: str, where: Any) -> Frame:
    """ ", 467 nodes" for each value that is known, where it is to be said, else ""."""
    return values.map(lambda value: f", {form.format(value)}").where(values.notna() & where, "")
