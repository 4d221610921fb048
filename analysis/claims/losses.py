"""Figure 3 left and middle of arXiv 2305.15614: what the terms of the loss and the information do through training.

Losses are means over the steps of an epoch; the first is that of epoch 1. "Hardly improves" is by less than a tenth of
the first value, so it may well get worse: a note says where it did. Mutual information is the bound of Donsker and
Varadhan (MINE).
"""

from __future__ import annotations

from typing import Final

from analysis.claims.base.contract import CORRELATION, Claim, Frame
from analysis.claims.base.interval import estimate
from analysis.claims.base.series import at_end, by_epoch, curve, per_trial, rank_correlation
from analysis.needs import Curve, Measured

HARDLY: Final = 0.1


def relative_fall(one: Frame) -> float | None:
    """Returns how far a curve fell from its first epoch to its last, as a part of the first value."""
    first, end = float(one["value"].iloc[0]), at_end(one)
    return (first - end) / abs(first) if end is not None and one["epoch"].nunique() > 1 and first != 0 else None


def invariance_fall(table: Frame) -> Frame:
    """Returns how far the invariance loss fell, as a part of its first value, by trial."""
    return per_trial(curve(table, "invariance"), relative_fall)


def worse(table: Frame) -> str:
    """Returns by how much the invariance loss rose, where it did; else ""."""
    fall = estimate(invariance_fall(table)).mean
    return f"it got worse: the invariance loss rose, by {-100 * fall:.3g} % of its first value" if fall < 0 else ""


def follows(table: Frame) -> Frame:
    """Returns the rank correlation of regularisation loss and linear class accuracy over the epochs that have both."""
    accuracy = by_epoch(table, "linear_accuracy", "class")[["trial_key", "epoch", "value"]]
    both = curve(table, "regularisation").merge(
        accuracy.rename(columns={"value": "accuracy"}), on=["trial_key", "epoch"]
    )
    return per_trial(both, lambda one: rank_correlation(one["value"], one["accuracy"]))


def _change(one: Frame) -> float | None:
    end = at_end(one)
    return end - float(one["value"].iloc[0]) if end is not None and one["epoch"].nunique() > 1 else None


CLAIMS: Final = (
    Claim(
        "invariance_hardly_improves", "3 left", "The invariance loss hardly improves.",
        "fall of the invariance loss from the first epoch to the last, as a part of the first",
        invariance_fall, "below", HARDLY, (Curve("invariance"),), caveat=worse,
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
