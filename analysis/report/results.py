"""The numbers of the report's table: mean over seeds and how sure it is, of the representation and the best layer."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import pandas as pd
from scipy.special import stdtrit

from analysis.figures.base.numbers import LEVELS, LINEAR, NCC, REPRESENTATION, Frame, last_epoch, trials

CONFIDENCE: Final = 0.95
METRICS: Final = {LINEAR: "linear probe", NCC: "NCC"}


class Estimate(NamedTuple):
    """A mean over seeds.

    Attributes:
        mean: Over the seeds.
        half_width: Of the 95 % confidence interval, Student's t with n - 1 degrees of freedom; NaN of one seed.
        n: Seeds.
    """

    mean: float
    half_width: float
    n: int


class Result(NamedTuple):
    """A row of the table: one network at one level.

    Attributes:
        epoch: The last that is measured.
        representation: By metric; a metric that was not measured is absent.
        best: By metric, the layer with the highest mean over seeds, by name, and its estimate.
        layers: By name, the layers' numbers in the table.
    """

    dataset: str
    network: str
    level: str
    epoch: int
    representation: dict[str, Estimate]
    best: dict[str, tuple[str, Estimate]]
    layers: dict[str, int]


def estimate(values: list[float]) -> Estimate:
    """Returns mean and confidence interval of finite values, one a seed; all NaN where there are none."""
    n = len(values)
    mean = math.fsum(values) / n if n else math.nan
    if n < 2:
        return Estimate(mean, math.nan, n)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    return Estimate(mean, float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * spread / math.sqrt(n), n)


def with_networks(table: Frame) -> Frame:
    """Returns the table with the column `network`, named and in the order of `figures.base.numbers.trials`."""
    if table.empty:
        return table.assign(network=pd.Series(dtype=object))
    parts = []
    for _, rows in table.groupby("dataset", sort=True):
        found = trials(rows)
        names = dict(zip(found["trial_key"], found["network"], strict=True))
        order = {key: i for i, key in enumerate(found["trial_key"])}
        rows = rows.sort_values("trial_key", key=lambda keys: keys.map(order), kind="stable")
        parts.append(rows.assign(network=rows["trial_key"].map(names)))
    return pd.concat(parts, ignore_index=True)


def results(table: Frame) -> list[Result]:
    """Returns a row for each network and label level, of test accuracy after the last epoch.

    Args:
        table: As `with_networks` returns it.
    """
    rows = table[table["metric"].isin(list(METRICS)) & (table["split"] == "test") & table["level"].isin(LEVELS)]
    rows = rows[rows["value"].between(0, 1)]
    found = []
    for (dataset, network), of_network in rows.groupby(["dataset", "network"], sort=False):
        last = last_epoch(of_network)
        for level in LEVELS:
            at = last[last["level"] == level]
            if len(at):
                found.append(_result(str(dataset), str(network), level, at))
    return found


def _result(dataset: str, network: str, level: str, rows: Frame) -> Result:
    representation, best = {}, {}
    for metric, of_metric in rows.sort_values("layer", kind="stable").groupby("metric"):
        layers = {str(name): estimate(list(g["value"])) for name, g in of_metric.groupby("layer_name", sort=False)}
        if REPRESENTATION in layers:
            representation[str(metric)] = layers[REPRESENTATION]
        # Of equally good layers the last: the representation may repeat the layer before it.
        name = max(reversed(layers), key=lambda layer: layers[layer].mean)
        best[str(metric)] = (name, layers[name])
    numbers = {str(name): int(layer) for name, layer in zip(rows["layer_name"], rows["layer"], strict=True)}
    return Result(dataset, network, level, int(rows["epoch"].max()), representation, best, numbers)
