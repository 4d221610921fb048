"""Tables of plausible measurements that the tests of the figures share, and what is drawn of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from analysis.figures.base.numbers import Frame
from analysis.table import SCHEMA
from ray_ssl.plugins import plugin_module, plugin_names

_ALL = plugin_names("analysis.figures")
ACROSS = tuple(name for name in _ALL if hasattr(plugin_module("analysis.figures", name), "ACROSS_DATASETS"))
"""Figures of any number of data sets, which have tests of their own."""
PROJECTION_NAMES = tuple(name for name in _ALL if hasattr(plugin_module("analysis.figures", name), "TABLE"))
FINE_TUNED_NAMES = tuple(name for name in _ALL if hasattr(plugin_module("analysis.figures", name), "FINE_TUNED"))
"""These have tests of their own, too."""
NAMES = tuple(name for name in _ALL if name not in PROJECTION_NAMES + ACROSS + FINE_TUNED_NAMES)
CLASSES = {"sample": 500, "class": 20, "superclass": 5}
EIGHT = ("simclr", "vicreg", "byol", "supervised", "spectral", "moco", "swav", "a_method_with_a_very_long_name_" * 4)


def synthetic(depths=(2, 5), widths=(16, 32), seeds=(0, 1, 2), epochs=(0, 3, 20), levels=("class", "superclass"),
              methods=("vicreg",), dataset="shapes") -> Frame:  # fmt: skip
    """A table with values of plausible size, all different."""
    rng = np.random.default_rng(0)
    rows = []
    for method, depth, width, seed in [(m, d, w, s) for m in methods for d in depths for w in widths for s in seeds]:
        trial = ("sweep", f"{method}{depth}_{width}_{seed}", method, depth, width, seed, dataset)
        for epoch in epochs:
            growth = np.log1p(epoch) / 7
            for layer, name in enumerate(["stem", *[f"block{i + 1}" for i in range(depth)], "representation"]):
                at = (*trial, epoch, layer, name)
                for level in levels:
                    rows.append((*at, level, "test", "num_classes", float(CLASSES[level])))
                    linear = (0.2 if level == "class" else 0.4) + 0.5 * growth * (1 + layer) / (2 + depth)
                    linear = min(linear + 0.01 * rng.normal(), 1)
                    for split in ("train", "test"):
                        rows += [
                            (*at, level, split, "linear_accuracy", linear),
                            (*at, level, split, "ncc_accuracy", linear * (0.5 + growth / 3 + 0.01 * rng.random())),
                            (*at, level, split, "class_variance", 1 + 0.1 * rng.random()),
                            (*at, level, split, "class_mean_distance", 0.1 * np.exp(3 * growth) + 0.01 * rng.random()),
                            (*at, level, split, "cdnv", 10 * np.exp(-3 * growth) + rng.random()),
                        ]
                rows.append((*at, "none", "train", "effective_rank", width**0.5 * (1 + growth + 0.1 * rng.random())))
    return pd.DataFrame(rows, columns=SCHEMA.names)


def with_holes(table: Frame) -> Frame:
    """NaN and infinite values, and a trial that has not got far."""
    table = table.assign(value=table["value"].mask(np.arange(len(table)) % 17 == 0, np.nan))
    table.loc[table["metric"].eq("cdnv") & table["epoch"].eq(3), "value"] = np.inf
    return table[~(table["trial_key"].str.endswith("_0") & (table["epoch"] > 3))]


def with_foreign(table: Frame, count: int = 1) -> Frame:
    """The table with networks trained elsewhere, measured at one epoch; they have no depth and no width."""
    one = synthetic((3,), (16,), (0,), (0,), methods=("foreign",))
    return pd.concat([table, *(one.assign(depth=0, width=0, trial_key=f"{i}foreign") for i in range(count))])


SHAPES = {
    "grid": lambda: synthetic(),
    "one network, one seed": lambda: synthetic((3,), (64,), (0,)),
    "one epoch": lambda: synthetic((2, 5), (16,), (0,), (20,)),
    "only initialisation": lambda: synthetic((2, 5), (16,), (0,), (0,)),
    "no initialisation": lambda: synthetic((2, 5), (16,), (0,), (1, 20)),
    "12 networks": lambda: synthetic((1, 2, 3, 4), (4, 64, 2048), (0,), (0, 1000)),
    "no superclass": lambda: synthetic((2, 3, 4, 5, 6), (16,), levels=("class",)),
    "three levels": lambda: synthetic((2,), (8, 16, 32), (0,), (0, 1, 4, 9, 800, 1000), tuple(CLASSES)),
    "three methods": lambda: synthetic((2,), (16, 32), methods=("simclr", "spectral", "vicreg")),
    "eight methods": lambda: synthetic((2,), (16,), (0, 1), methods=EIGHT, dataset="folder:/a/path" * 12),
    "unknown chance": lambda: synthetic((2,), (16, 32)).query("metric != 'num_classes'"),
    "many epochs": lambda: synthetic((2,), (16,), epochs=tuple(range(25))),
    "holes": lambda: with_holes(synthetic((2,), (16, 32))),
    "a foreign network": lambda: with_foreign(synthetic((2, 5), (16, 32), (0,))),
    "empty": lambda: synthetic((1,), (16,), (0,)).iloc[:0],
    "no linear accuracy": lambda: synthetic((2, 5), (16,), (0,)).query("metric != 'linear_accuracy'"),
}
BY_EPOCH = {"accuracy_by_epoch", "fig2_middle", "cdnv_by_epoch", "effective_rank_by_epoch"}


@cache
def table_of(shape: str) -> Frame:
    """The table of a shape; not to be changed."""
    return SHAPES[shape]()


@cache
def drawn(name: str, shape: str) -> Any:
    """The figure of a shape, drawn once; None where it lacks what is needed."""
    return plugin_module("analysis.figures", name).draw(table_of(shape))


def points(ax: Any) -> list[Line2D]:
    """The lines of data in a panel, not those that one compares with."""
    return [line for line in ax.lines if line.get_marker() != "None"]


def lookup(table: Frame) -> dict[tuple, float]:
    names = ["trial_key", "epoch", "layer", "level", "split", "metric"]
    return dict(zip(table[names].itertuples(index=False, name=None), table["value"], strict=True))
