"""Figure 3 left and middle of arXiv 2305.15614: what the terms of the loss and the information do through training.

Losses are means over the steps of an epoch; the first is that of epoch 1. "Hardly improves" is by less than a tenth of
the first value (it may well get worse). Mutual information is the bound of Donsker and Varadhan (MINE).
"""

from __future__ import annotations

from typing import Final

from analysis.claims.base.contract import CORRELATION, Claim, Frame
from analysis.claims.base.series import at_end, by_epoch, curve, per_trial, rank_correlation
from analysis.needs import Curve, Measured

HARDLY: Final = 0.1


def relative_fall(one: Frame) -> float | None:
    """Returns how far a curve fell from its first epoch to its last, as a part of the first value."""
    first = float(one["value"].iloc[0])
    return (first - at_end(one)) / abs(first) if one["epoch"].nunique() > 1 and first != 0 else None


def follows(table: Frame) -> Frame:
    """Returns the rank correlation of regularisation loss and linear class accuracy over the epochs that have both."""
    accuracy = by_epoch(table, "linear_accuracy", "class")[["trial_key", "epoch", "value"]]
    both = curve(table, "regularisation").merge(
        accuracy.rename(columns={"value": "accuracy"}), on=["trial_key", "epoch"]
    )
    return per_trial(both, lambda one: rank_correlation(one["value"], one["accuracy"]))


def _change(one: Frame) -> float | None:
    return at_end(one) - float(one["value"].iloc[0]) if one["epoch"].nunique() > 1 else None


CLAIMS: Final = (
    Claim(
        "invariance_hardly_improves", "3 left", "The invariance loss hardly improves.",
        "fall of the invariance loss from the first epoch to the last, as a part of the first",
        lambda table: per_trial(curve(table, "invariance"), relative_fall), "below", HARDLY, (Curve("invariance"),),
    ),
    Claim(
        "regularisation_falls", "3 left", "The regularisation loss falls.",
        "fall of the regularisation loss from the first epoch to the last, as a part of the first",
        lambda table: per_trial(curve(table, "regularisation"), relative_fall), "above", 0.0,
        (Curve("regularisation"),),
    ),
    Claim(
        "regularisation_falls_with_accuracy_gain", "3 left",
        "The regularisation loss falls together with the gain of linear accuracy.",
        "rank correlation of regularisation loss and linear class test accuracy over epochs",
        follows, "below", 0.0, (Curve("regularisation"), Measured("linear_accuracy", "class", "test", 4)),
        within=CORRELATION,
    ),
    Claim(
        "mutual_information_falls", "3 middle", "Mutual information of input and representation falls.",
        "bound of Donsker and Varadhan (nats), last epoch less the first measured one",
        lambda table: per_trial(by_epoch(table, "mi_dv", "none"), _change), "below", 0.0,
        (Measured("mi_dv", "none", "test", 2),),
    ),
)  # fmt: skip
