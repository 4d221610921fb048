"""What connectivity predicts of transfer beside what was measured, pair of classes by pair, from the table alone.

arXiv 2204.00570 (section 4): a head of the source transfers where alpha and beta, the edges to the own class in the
other domain and to the other class in the own domain, exceed gamma, that to what differs in both. The prediction of a
pair is min(alpha, beta) - gamma. That its size, not its sign alone, orders pairs is what is asked here, not the theory.
Where source and target hardly differ, beta is gamma but for noise, and so is the prediction; the ratio
log(alpha beta / gamma^2) still orders pairs there, and stands beside it (relative strengths are the paper's; that both
weigh the same was not checked).

Two controls stand beside them, for pairs of classes that are easy to tell apart are so in both domains: -gamma alone,
and the accuracy of the same head in the source. A prediction says something where it orders pairs better than these.
How sure the orders are, see `analysis.rank_intervals`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from analysis.class_pairs import PAIR_MARK
from analysis.figures.base.numbers import REPRESENTATION, trials
from analysis.needs import is_self_supervised
from analysis.rank_intervals import Interval, intervals
from ray_ssl.shift import corruption_of

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

FIGURE: Final = "transfer_prediction"
RHO, ALPHA, BETA, GAMMA = EDGES = tuple(f"connectivity_{name}" for name in ("rho", "alpha", "beta", "gamma"))
ACCURACY: Final = "pair_target_accuracy"
SOURCE_ACCURACY: Final = "pair_source_accuracy"
PREDICTIONS: Final = {"prediction": "min(alpha, beta) - gamma", "log_ratio": "log(alpha beta / gamma^2)"}
CONTROLS: Final = {"minus_gamma": "-gamma alone", "source_accuracy": "accuracy in the source"}
QUANTITIES: Final = PREDICTIONS | CONTROLS
LEAST_ERROR: Final = 1e-3
"""Errors below it count as this much in the ratio: they are of too few images to tell."""

ALL_PAIRS, SHIFT_MEANS = "all pairs", "shift means"
LEAST_SHIFTS: Final = 3
"""Fewer are not correlated."""

_TRIAL: Final = ["dataset", "trial_key", "method", "depth", "width", "seed"]


class Correlation(NamedTuple):
    """Spearman's correlation of a quantity and accuracy in the target.

    Attributes:
        series: Of whose pairs: a network, after its data set where there are several; `ALL_PAIRS`, of all networks and
            shifts; or `SHIFT_MEANS`, of means over pairs, a point for each shift and network.
        quantity: One of `QUANTITIES`, or "PREDICTION less CONTROL": the difference of two correlations.
        value: -1 .. 1, of a difference -2 .. 2; NaN of fewer than three points, or where one does not vary.
        low, high: Ends of its 95 % bootstrap interval.
        num_points: How many points there are.
        num_units: Pairs of classes, or shifts, that are drawn anew.
    """

    series: str
    quantity: str
    value: float
    low: float
    high: float
    num_points: int
    num_units: int


def saw_target(method: str) -> bool:
    """Returns whether a method, as the table names it, learned from unlabelled images of both domains."""
    return is_self_supervised(method) and not method.endswith("(source)")


def edges_of_pairs(table: Frame) -> Frame:
    """Returns a row for each trial and pair with its level and the columns of `EDGES`."""
    rows = table[table["metric"].isin(EDGES) & np.isfinite(table["value"])]
    wide = rows.pivot_table(index=[*_TRIAL, "level"], columns="metric", values="value").reindex(columns=list(EDGES))
    return wide.dropna().reset_index()


def by_pair(table: Frame) -> Frame:
    """Returns a row for each trial and pair: `edges_of_pairs`, `QUANTITIES`, and accuracy at the last epoch."""
    measured = table["metric"].isin([ACCURACY, SOURCE_ACCURACY]) & np.isfinite(table["value"])
    rows = table[measured & (table["layer_name"] == REPRESENTATION)]
    rows = rows[rows["epoch"] == rows.groupby("trial_key")["epoch"].transform("max")]
    wide = rows.drop_duplicates([*_TRIAL, "level", "metric"]).pivot_table(
        index=[*_TRIAL, "level"], columns="metric", values="value"
    ).reindex(columns=[ACCURACY, SOURCE_ACCURACY]).dropna(subset=[ACCURACY]).reset_index()  # fmt: skip
    wide = wide.rename(columns={ACCURACY: "accuracy", SOURCE_ACCURACY: "source_accuracy"})
    found = edges_of_pairs(table).merge(wide, on=[*_TRIAL, "level"])
    alpha, beta, gamma = (found[edge].clip(lower=LEAST_ERROR) for edge in (ALPHA, BETA, GAMMA))
    return found.assign(
        prediction=np.minimum(found[ALPHA], found[BETA]) - found[GAMMA], log_ratio=np.log(alpha * beta / gamma**2),
        minus_gamma=-found[GAMMA],
    )  # fmt: skip


def over_seeds(found: Frame, table: Frame) -> Frame:
    """Returns means over seeds of pairs.

    Args:
        found: Rows of `by_pair`.
        table: What it was made of.

    Returns:
        Columns series (the network, after its data set where there are several), dataset, network, level, unit (see
        `units`), those of `EDGES` and `QUANTITIES`, accuracy, n (seeds).
    """
    names = [trials(one).set_index("trial_key")["network"] for _, one in table.groupby("dataset")]
    names = pd.concat(names) if names else pd.Series(dtype=object)
    network = found["trial_key"].map(names[~names.index.duplicated()])
    prefix = found["dataset"] + ", " if found["dataset"].nunique() > 1 else ""
    found = found.assign(network=network, series=prefix + network, unit=units(found, table))
    values = [*EDGES, *QUANTITIES, "accuracy"]
    groups = found.groupby(["series", "dataset", "network", "level", "unit"], sort=True)
    return groups[values].mean().assign(n=groups.size()).reset_index()


def units(found: Frame, table: Frame) -> list[str]:
    """Returns what each row is a pair of, equal where images and classes are: "cifar100, 100 labels, class:3-7".

    Corruptions of one set share its images and labels, and so its pairs. Other shifts have other classes, whatever
    their numbers: superclasses of subpopulations, classes that two sets share. Nor are classes 0 and 1 of two the
    first of twenty, so the number of labels counts too, where it was measured.

    Args:
        found: Rows with the columns trial_key, dataset and level.
        table: What they were made of.
    """
    rows = table[table["metric"] == "num_classes"].drop_duplicates(["trial_key", "level"])
    num_labels = {(key, level): f"{value:g} labels" for key, level, value in
                  rows[["trial_key", "level", "value"]].itertuples(index=False)}  # fmt: skip
    plain = {name: corruption_of(name)[0] for name in found["dataset"].unique()}
    words = ((plain[name], num_labels.get((key, level.partition(PAIR_MARK)[0]), ""), level)
             for key, name, level in found[["trial_key", "dataset", "level"]].itertuples(index=False))  # fmt: skip
    return [", ".join(filter(None, parts)) for parts in words]


def over_trials(table: Frame) -> Frame:
    """Returns `over_seeds` of the networks that saw both domains unlabelled."""
    found = by_pair(table)
    return over_seeds(found[found["method"].map(saw_target).astype(bool)], table)


def shift_means(found: Frame) -> Frame:
    """Returns means over pairs of `over_seeds`, one for each data set and network; none of fewer than three shifts."""
    if found["dataset"].nunique() < LEAST_SHIFTS:
        return found.iloc[:0]
    values = [*EDGES, *QUANTITIES, "accuracy"]
    return found.groupby(["series", "dataset", "network"], sort=True)[values].mean().reset_index()


def correlations(table: Frame) -> list[Correlation]:
    """Returns the correlations of every series of `over_trials`, and of all together where there are several.

    Pairs of classes are drawn anew with all their networks and corruptions together, for these share images (see
    `units`); shifts with all their networks. Pairs that share a class are not independent either: other classes would
    vary more.
    """
    found = over_trials(table)
    rows = [(str(name), one, "unit") for name, one in found.groupby("series")]
    rows += [(ALL_PAIRS, found, "unit")] if len(rows) > 1 else []
    means = shift_means(found)
    rows += [(SHIFT_MEANS, means, "dataset")] if len(means) else []
    return [Correlation(name, quantity, *interval, len(one), one[unit].nunique())
            for name, one, unit in rows for quantity, interval in _of_quantities(one, unit).items()]  # fmt: skip


def correlations_as_text(found: Sequence[Correlation]) -> Iterator[str]:
    """Yields the correlations in lines, those of controls below those of predictions."""
    for series in dict.fromkeys(one.series for one in found):
        mine = [one for one in found if one.series == series]
        unit = ("shift", "shifts") if series == SHIFT_MEANS else ("pair of classes", "pairs of classes")
        counts = f"{counted(mine[0].num_points, 'point', 'points')}, {counted(mine[0].num_units, *unit)} drawn anew"
        yield f"{series}: rank correlation with accuracy in the target, {counts}"
        known = [one for one in mine if not np.isnan(one.value)]
        if not known:
            yield "  none: all points are alike, or fewer than three"
        width = max((len(quantity_words(one.quantity)) for one in known), default=0)
        for one in known:
            yield f"  {quantity_words(one.quantity):<{width}} {one.value:5.2f} ({one.low:.2f} to {one.high:.2f})"


def counted(number: int, one: str, several: str) -> str:
    """Returns a number and what it counts: "1 pair", "3 pairs"."""
    return f"{number} {one if number == 1 else several}"


def quantity_words(quantity: str) -> str:
    """Returns a quantity of `Correlation` in words."""
    return " less that of ".join(QUANTITIES[name] for name in quantity.split(" less "))


def _of_quantities(found: Frame, unit: str) -> dict[str, Interval]:
    """The correlations of rows, and how far those of predictions are above those of controls."""
    known = {name: found[name] for name in QUANTITIES if found[name].notna().all()}
    pairs = [(name, control) for name in PREDICTIONS for control in CONTROLS if control in known]
    of_each, less = intervals(known, found["accuracy"], found[unit], pairs)
    return of_each | {f"{name} less {control}": one for (name, control), one in less.items()}
