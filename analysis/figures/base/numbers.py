"""The numbers behind a figure: which rows are comparable, their ratios, and mean and spread over seeds."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from analysis.figures.base.graphs import EIGENVECTORS as EIGENVECTORS
from analysis.figures.base.graphs import LEARNED as LEARNED
from analysis.figures.base.graphs import OF_GRAPH, apart
from analysis.table import GRAPH
from ray_ssl.errors import UserError

Frame: TypeAlias = Any
"""A pandas DataFrame. pandas 3 ships annotations that a type checker cannot follow, so frames are not checked."""

LINEAR: Final = "linear_accuracy"
NCC: Final = "ncc_accuracy"
REPRESENTATION: Final = "representation"
LEVELS: Final = ("sample", "class", "superclass")
"""Label levels that these figures show, in order; targets of graded randomness are a figure of their own."""


def width_name(method: str) -> str:
    """Returns what the column width is of a method: of features of an exact graph the number of them, k."""
    return "k" if method in OF_GRAPH else "width"


def networks_alone(table: Frame) -> Frame:
    """Returns the rows of networks: not of an exact graph, its eigenvectors and features that are learned on it."""
    return table[~table["method"].isin(OF_GRAPH)]


def without_looks(table: Frame) -> Frame:
    """Returns the rows of what figures draw, not those of what exact graphs themselves look like."""
    return table[table["method"] != GRAPH]


def trials(table: Frame) -> Frame:
    """Returns a row for each trial: trial_key, method, depth, width, seed and network, sorted.

    A network is a method, depth and width: its trials differ by seed and are averaged. Features of exact graphs are
    told apart by graph and by number of steps too. Trials that agree in the seed too differ in an option that the table
    does not hold: those of each sweep are then networks of their own; within one sweep each trial is, named by its key.

    Raises:
        UserError: Several data sets.
    """
    table = without_looks(table)
    datasets = sorted(table["dataset"].unique())
    if len(datasets) > 1:
        raise UserError(f"a figure shows one data set, the table has {', '.join(datasets)}: draw each by itself")
    trial = ["trial_key", "method", "depth", "width", "seed"]
    found = table[[*trial, "sweep"]].drop_duplicates(trial)  # a copied sweep has the same ones
    several = found["method"].nunique() > 1
    rows = zip(found["method"], found["depth"], found["width"], strict=True)
    names = pd.Series([_name(*row, several) for row in rows], found.index, dtype=object)
    words = apart(table)
    names += pd.Series([words.get(key, "") for key in found["trial_key"]], found.index, dtype=object)
    for which, word in (("sweep", ", of " + found["sweep"]), ("trial_key", ", trial " + found["trial_key"].str[:6])):
        kind = [names, found["method"], found["depth"], found["width"]]
        twins = found.assign(network=names).duplicated(["network", "method", "depth", "width", "seed"], keep=False)
        differ = found[which].groupby(kind).transform("nunique") > 1
        names = names.where(~(twins.groupby(kind).transform("any") & differ), names + word)
    return (
        found.assign(network=names)
        .drop(columns="sweep")
        .sort_values(["method", "depth", "width", "network", "trial_key"])
    )


def _name(method: str, depth: int, width: int, several: bool) -> str:
    """The method where there are several, and depth and width; 0 in the table where a network has none."""
    words = [f"depth {depth}"] * (depth > 0) + [f"{width_name(method)} {width}"] * (width > 0)
    return ", ".join([method] * (several or not words) + words)


def prepare(table: Frame, *metrics: str) -> Frame:
    """Returns the rows of these metrics, each once, infinite values as NaN, with the column `network` (see `trials`).

    Raises:
        UserError: Several data sets.
    """
    found, table = trials(table), without_looks(table)
    table = table[table["metric"].isin(metrics)]
    table = table.drop_duplicates(["trial_key", "epoch", "layer", "level", "split", "metric"], keep="last")
    network = table["trial_key"].map(dict(zip(found["trial_key"], found["network"], strict=True)))
    table = table.assign(network=network, value=table["value"].where(np.isfinite(table["value"])))
    return table.sort_values(["method", "depth", "width", "trial_key", "epoch", "layer"])


def values(table: Frame, metric: str, *, split: str = "test", level: bool = True) -> Frame:
    """Returns the finite rows of one metric, of the shown label levels (or of no level).

    Raises:
        UserError: An accuracy above 1.
    """
    rows = table[(table["metric"] == metric) & (table["split"] == split) & table["value"].notna()]
    rows = rows[rows["level"].isin(LEVELS)] if level else rows
    if "accuracy" in metric and (rows["value"] > 1).any():
        raise UserError(f"{metric} is a fraction, 0 to 1; the table has {rows['value'].max():g}")
    return rows


def relative_to_start(rows: Frame) -> Frame:
    """Returns each value over that of the same trial at epoch 0; rows whose start is missing or 0 are left out."""
    same = ["trial_key", "layer", "level", "split", "metric"]
    start = rows[(rows["epoch"] == 0) & (rows["value"] != 0)].rename(columns={"value": "start"})
    rows = rows.merge(start[[*same, "start"]], on=same)
    return rows.assign(value=rows["value"] / rows["start"])


def ratio(over: Frame, under: Frame, same: list[str]) -> Frame:
    """Returns `over` with each value divided by that of `under` of the same trial, epoch, layer and `same`."""
    same = ["trial_key", "epoch", "layer", *same]
    divisor = under[under["value"] != 0].rename(columns={"value": "divisor"})
    rows = over.merge(divisor[[*same, "divisor"]], on=same)
    return rows.assign(value=rows["value"] / rows["divisor"])


def over_seeds(rows: Frame, by: list[str]) -> Frame:
    """Returns mean, spread (sample standard deviation, NaN of one seed) and n over seeds, for each network and `by`."""
    by = ["network", "method", "depth", "width", *by]
    found = rows.groupby(by, sort=False)["value"].agg(mean="mean", spread="std", n="count").reset_index()
    order = ["method", "depth", "width", "network", *by[4:]]
    in_order = {name: i for i, name in enumerate(LEVELS)}
    return found.sort_values(order, key=lambda c: c.map(in_order) if c.name == "level" else c, ignore_index=True)


def measured_split(table: Frame, metric: str) -> str:
    """Returns "test" where the metric is measured there, else "train"."""
    return "test" if ((table["metric"] == metric) & (table["split"] == "test")).any() else "train"


def last_epoch(rows: Frame) -> Frame:
    """Returns the rows of the newest epoch that each network has."""
    return rows[rows["epoch"] == rows.groupby("network")["epoch"].transform("max")]


def distinct_layers(table: Frame, metric: str = LINEAR) -> Frame:
    """Returns the table without the representation where it repeats the layer before it (as in RES-L-H).

    It does where a metric, an accuracy, has the same value at both whenever it was measured.
    """
    rows = table[(table["metric"] == metric) & table["value"].notna()]
    last = rows[rows["layer_name"] == REPRESENTATION]
    before = rows.assign(layer=rows["layer"] + 1)
    pair = last.merge(before, on=["trial_key", "epoch", "layer", "level", "split"], suffixes=("", "_before"))
    same = pair["value"].eq(pair["value_before"]).groupby(pair["trial_key"]).all()
    return table[~((table["layer_name"] == REPRESENTATION) & table["trial_key"].isin(same.index[same]))]


def num_classes(table: Frame) -> dict[str, int]:
    """Returns the number of labels of each level that the table holds it of."""
    rows = table[(table["metric"] == "num_classes") & table["value"].notna()]
    return {str(level): int(found.max()) for level, found in rows.groupby("level")["value"]}


def with_chance(found: Frame, table: Frame) -> Frame:
    """Returns the numbers with the column `chance`, the accuracy of guessing: 1 / number of labels, NaN if unknown."""
    chance = {level: 1 / count for level, count in num_classes(table).items()}
    return found.assign(chance=found["level"].map(chance).astype(float))


def level_names(table: Frame) -> dict[str, str]:
    """Returns what each level is called in a figure: "100 classes", or "class" where their number is unknown."""
    counts = num_classes(table)
    plural = {"sample": "samples", "class": "classes", "superclass": "superclasses"}
    return {level: f"{counts[level]} {plural[level]}" if level in counts else level for level in LEVELS}


def evenly(items: list[Any], most: int) -> list[Any]:
    """Returns at most `most` of the items, the first and the last and some evenly between."""
    at = np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int)
    return [items[i] for i in at]


def subject(table: Frame) -> str:
    """Returns what all trials share: "vicreg, depth 2 on cifar100"."""
    table = without_looks(table)
    names = {"method": "", "depth": "depth ", "width": f"{width_name(table['method'].iloc[0])} "}
    shared = [
        f"{names[name]}{table[name].iloc[0]}"
        for name in ("method", "depth", "width")
        if table[name].nunique() == 1 and table[name].iloc[0] != 0
    ]
    return " on ".join(filter(None, (", ".join(shared), table["dataset"].iloc[0])))


def seeds_note(found: Frame) -> str:
    """Returns what the bands are: "mean and standard deviation over 3 seeds"."""
    low, high = int(found["n"].min()), int(found["n"].max())
    if high == 1:
        return "one seed: no spread"
    return f"mean \N{PLUS-MINUS SIGN} standard deviation over {f'{low} to {high}' if low < high else high} seeds"
