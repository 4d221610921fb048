"""What the report's chart opens on: a metric that the study is about, and the best network of each method."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from analysis.figures.base.numbers import LINEAR, Frame
from analysis.figures.base.transfer import TARGET_ACCURACY
from analysis.finetuned_choice import ACCURACY, TARGET, TEST

ON_GRAPH: Final = "eigenvector_alignment"
"""Of features that are learned on an exact graph: how close they are to its eigenvectors."""

LEVEL: Final = "class"
"""The level that it opens on, where the metric has it."""

_NETWORK: Final = ["dataset", "network"]


def first_choice(metrics: Collection[str], splits: Collection[str]) -> dict[str, str]:
    """Returns metric and split; more of the metric is better."""
    if ACCURACY in metrics:
        return {"metric": ACCURACY, "split": TARGET if TARGET in splits else TEST}
    if ON_GRAPH in metrics:
        return {"metric": ON_GRAPH, "split": "train"}
    return {"metric": TARGET_ACCURACY if TARGET_ACCURACY in metrics else LINEAR, "split": TEST}


def ranked(rows: Frame, first: dict[str, str]) -> list[tuple[str, str]]:
    """Returns (dataset, network) of all: the best one of each method, then the second best of each, and so on.

    Good is what has a high mean over seeds, at the last epoch in the last layer; networks that were not measured there
    come last.

    Args:
        rows: With networks' names.
        first: See `first_choice`.
    """
    all_of_them = rows[[*_NETWORK, "method"]].drop_duplicates(_NETWORK)
    at = rows[(rows["metric"] == first["metric"]) & (rows["split"] == first["split"])]
    at = at[at["level"] == LEVEL] if (at["level"] == LEVEL).any() else at
    last = at.sort_values(["epoch", "layer"], kind="stable").drop_duplicates([*_NETWORK, "trial_key"], keep="last")
    mean = last.groupby(_NETWORK)["value"].mean().rename("mean").reset_index()
    found = all_of_them.merge(mean, on=_NETWORK, how="left").sort_values("mean", ascending=False, kind="stable")
    found = found.assign(place=found.groupby(["dataset", "method"], sort=False).cumcount())
    found = found.sort_values("place", kind="stable")
    return list(found[_NETWORK].itertuples(index=False, name=None))
