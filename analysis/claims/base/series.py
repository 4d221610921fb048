"""What the statistics are made of: a series of one metric by epoch or by layer, within a trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.base.numbers import REPRESENTATION
from analysis.rank_intervals import order_of

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

TRIAL = ["trial_key", "network", "method", "depth", "width", "seed"]


def by_epoch(table: Frame, metric: str, level: str, split: str = "test") -> Frame:
    """Returns the rows of the representation."""
    return _rows(table, metric, level, split, table["layer_name"] == REPRESENTATION)


def curve(table: Frame, term: str) -> Frame:
    """Returns the curve of a term of the loss."""
    return _rows(table, term, "none", "train", table["layer_name"] == "training")


def by_layer(table: Frame, metric: str, level: str) -> Frame:
    """Returns the rows of all layers, on test images."""
    return _rows(table, metric, level, "test", table["layer"] >= 0)


def _rows(table: Frame, metric: str, level: str, split: str, where: Frame) -> Frame:
    same = (table["metric"] == metric) & (table["level"] == level) & (table["split"] == split)
    return table[same & where & np.isfinite(table["value"])]


def over(rows: Frame, under: Frame) -> Frame:
    """Returns the rows with each value over that of `under` at the same trial, epoch and layer."""
    same = ["trial_key", "epoch", "layer"]
    divisor = under.loc[under["value"] != 0, [*same, "value"]].rename(columns={"value": "divisor"})
    rows = rows.merge(divisor, on=same)
    return rows.assign(value=rows["value"] / rows["divisor"])


def per_trial(rows: Frame, statistic: Callable[[Frame], float | None]) -> Frame:
    """Returns a row for each trial with its statistic of the rows in order of epoch and layer; None leaves it out."""
    found = []
    for _, one in rows.sort_values(["epoch", "layer"]).groupby("trial_key"):
        value = statistic(one)
        if value is not None and np.isfinite(value):
            found.append({**one.iloc[0][TRIAL].to_dict(), "value": float(value)})
    return pd.DataFrame(found, columns=[*TRIAL, "value"])


def minus(left: Frame, right: Frame, same: tuple[str, ...] = ("trial_key",)) -> Frame:
    """Returns `left` with the value of `right` of the same trial, or of what else is the same, taken off."""
    other = right[[*same, "value"]].rename(columns={"value": "other"})
    rows = left.merge(other, on=list(same))
    return rows.assign(value=rows["value"] - rows["other"]).drop(columns="other")


def last_epoch(rows: Frame) -> Frame:
    """Returns the rows at the ends of their trials, none of a trial without any there."""
    return rows[rows["epoch"] == rows["end"]]


def at_end(one: Frame) -> float | None:
    """Returns the value at the end of the training; None where it was not measured there."""
    found = last_epoch(one)["value"]
    return float(found.iloc[-1]) if len(found) else None


def at_start(one: Frame) -> float | None:
    """Returns the value at epoch 0; None where it was not measured or is all there is."""
    epochs = one["epoch"].to_numpy()
    return float(one["value"].iloc[0]) if epochs[0] == 0 and epochs[-1] > 0 else None


def at_part(one: Frame, part: float) -> float | None:
    """Returns the value after a part of the training.

    That is at the last measured epoch up to `part` of the end, but after initialisation; where there is none, at the
    first epoch after it. None where this is all there is.
    """
    trained = one[one["epoch"] > 0]
    if trained["epoch"].nunique() < 2:
        return None
    until = trained[trained["epoch"] <= part * trained["end"]]
    return float(until["value"].iloc[-1] if len(until) else trained["value"].iloc[0])


def gain(one: Frame) -> float | None:
    """Returns the value at the end less that at initialisation; None where one of them was not measured."""
    start, end = at_start(one), at_end(one)
    return None if start is None or end is None else end - start


def growth(one: Frame) -> float | None:
    """Returns the value at the end over that at initialisation; None where one was not measured, or this is 0."""
    start, end = at_start(one), at_end(one)
    return None if not start or end is None else end / start


def rank_correlation(x: Frame, y: Frame) -> float | None:
    """Returns Spearman's correlation, -1 .. 1; None of fewer than three pairs or where one does not vary."""
    of_x, of_y = (pd.Series(order_of(np.asarray(values, float))).rank() for values in (x, y))
    if len(of_x) < 3 or of_x.nunique() < 2 or of_y.nunique() < 2:
        return None
    return float(np.corrcoef(of_x, of_y)[0, 1])
