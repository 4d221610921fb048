"""Figure 4 of arXiv 2305.15614: what is learned follows how semantic a target is.

Targets are a teacher's predictions: semantic at the end of its training (randomness 0), random at its initialisation
(1). "No real gain" is less than 0.02 of accuracy; "stable" is by less than a quarter, either way.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Final

import pandas as pd

from analysis.claims.base.contract import CORRELATION, DIFFERENCE, SIZE, Claim, Frame
from analysis.claims.base.series import (
    TRIAL,
    by_epoch,
    by_layer,
    gain,
    growth,
    last_epoch,
    minus,
    over,
    per_trial,
    rank_correlation,
)
from analysis.figures.base.targets import RANDOM, SEMANTIC, measured_randomness
from analysis.needs import Measured

LINEAR: Final = "linear_accuracy"
NO_GAIN: Final = 0.02
STABLE: Final = math.log(1.25)


def gains(table: Frame) -> Frame:
    """Returns the gain of linear test accuracy since initialisation, by trial and measured randomness."""
    found = [per_trial(by_epoch(table, LINEAR, level), gain).assign(randomness=randomness)
             for level, randomness in measured_randomness(table).items()]  # fmt: skip
    return pd.concat(found) if found else pd.DataFrame(columns=[*TRIAL, "value", "randomness"])


def gain_by_randomness(table: Frame) -> Frame:
    """Returns the rank correlation of randomness and gain over the targets of a trial."""
    found = []
    for _, one in gains(table).groupby("trial_key"):
        correlation = rank_correlation(one["randomness"], one["value"])
        if correlation is not None:
            found.append({**one.iloc[0][TRIAL].to_dict(), "value": correlation})
    return pd.DataFrame(found, columns=[*TRIAL, "value"])


def depth_gain(table: Frame, level: str) -> Frame:
    """Returns linear test accuracy of the last layer less that of the first, at the last epoch."""
    rows = last_epoch(by_layer(table, LINEAR, level))
    return per_trial(rows, lambda one: None if len(one) < 2 else one["value"].iloc[-1] - one["value"].iloc[0])


def log_growth(table: Frame, metric: str) -> Frame:
    """Returns the logarithm of how the ratio of semantic to random grew since initialisation."""
    split = "test" if ((table["metric"] == metric) & (table["split"] == "test")).any() else "train"
    semantic, random = (by_epoch(table, metric, level, split) for level in (SEMANTIC, RANDOM))
    found = per_trial(over(semantic, random), growth)
    return found[found["value"] > 0].assign(value=lambda rows: rows["value"].map(math.log))


def _moved(table: Frame, metric: str) -> Frame:
    found = log_growth(table, metric)
    return found.assign(value=found["value"].abs())


def _separation(*metrics: str) -> tuple[Measured, ...]:
    return tuple(
        Measured(metric, level, num_epochs=2, start=True) for metric in metrics for level in (SEMANTIC, RANDOM)
    )


def _linear(level: str) -> Measured:
    return Measured(LINEAR, level, "test", 2, start=True)


def _layers(level: str) -> Measured:
    return Measured(LINEAR, level, "test", num_layers=2)


CLAIMS: Final = (
    Claim(
        "no_gain_on_random_targets", "4 left", "Linear accuracy of random targets gains next to nothing.",
        "linear test accuracy of the random target, end less initialisation",
        lambda table: per_trial(by_epoch(table, LINEAR, RANDOM), gain), "below", NO_GAIN, (_linear(RANDOM),),
        within=DIFFERENCE,
    ),
    Claim(
        "gain_grows_towards_semantic", "4 left", "The more semantic a target, the larger the gain.",
        "rank correlation of randomness and gain of linear test accuracy over the targets",
        gain_by_randomness, "below", 0.0, (_linear(SEMANTIC), _linear(RANDOM), _linear("teacher-0.50")),
        within=CORRELATION,
    ),
    Claim(
        "deeper_is_better_on_semantic_targets", "4 middle",
        "Deeper layers have a higher linear accuracy of semantic targets.",
        "linear test accuracy of the semantic target, last layer less first",
        partial(depth_gain, level=SEMANTIC), "above", 0.0, (_layers(SEMANTIC),), within=DIFFERENCE,
    ),
    Claim(
        "depth_helps_semantic_most", "4 middle", "Depth helps semantic targets more than random ones.",
        "last layer less first, semantic less random target",
        lambda table: minus(depth_gain(table, SEMANTIC), depth_gain(table, RANDOM)), "above", 0.0,
        (_layers(SEMANTIC), _layers(RANDOM)),
    ),
    Claim(
        "cdnv_ratio_falls", "4 right", "CDNV of semantic over random targets falls.",
        "logarithm of the ratio, end less initialisation",
        partial(log_growth, metric="cdnv"), "below", 0.0, _separation("cdnv"),
    ),
    Claim(
        "variance_ratio_is_stable", "4 right", "Class variance of semantic over random targets is stable.",
        "logarithm of the ratio, end less initialisation, either way",
        partial(_moved, metric="class_variance"), "below", round(STABLE, 3), _separation("class_variance"),
        within=SIZE,
    ),
    Claim(
        "cdnv_falls_through_distance", "4 right",
        "The ratio of CDNV changes through the distance of class means, not through the variance.",
        "logarithmic change of the ratio of distances less that of variances, each without its sign",
        lambda table: minus(_moved(table, "class_mean_distance"), _moved(table, "class_variance")), "above", 0.0,
        _separation("class_mean_distance", "class_variance"),
    ),
)  # fmt: skip
