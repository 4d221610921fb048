"""Figure 3 right of arXiv 2305.15614: NCC accuracy of classes, supervised and self-supervised, at the last epoch.

Methods are compared between trials of one depth, width and seed. Self-supervised and supervised test accuracy are
compared where both see the same images, so against supervised training without augmentation, which is the one the
paper's gain by augmentation starts from.
"""

from __future__ import annotations

from typing import Final

import pandas as pd

from analysis.claims.base.contract import DIFFERENCE, SHARE, Claim, Frame
from analysis.claims.base.series import at_end, by_epoch, minus, per_trial
from analysis.needs import NO_AUGMENTATION, Measured, Trials, is_self_supervised

NCC: Final = "ncc_accuracy"
ABOUT_ONE: Final = 0.95
PLAIN, AUGMENTED = Trials(NO_AUGMENTATION), Trials("supervised")


def _last(table: Frame, method: str, split: str) -> Frame:
    found = per_trial(by_epoch(table[table["method"] == method], NCC, "class", split), at_end)
    # Networks are named by their method too: of several methods, one network is a depth and a width.
    names = [f"depth {depth}, width {width}" for depth, width in zip(found["depth"], found["width"], strict=True)]
    return found.assign(network=pd.Series(names, found.index, dtype=object))


def compared(table: Frame, over: str, under: str, split: str) -> Frame:
    """Returns NCC accuracy of one method less that of another, of the same depth, width and seed."""
    return minus(_last(table, over, split), _last(table, under, split), ("depth", "width", "seed"))


def _above_supervised(table: Frame) -> Frame:
    """Of each self-supervised method; their mean, where there are several."""
    methods = [method for method in table["method"].unique() if is_self_supervised(method)]
    if not methods:  # none is measured where its training ends
        return compared(table, "", NO_AUGMENTATION, "test")
    return pd.concat([compared(table, method, NO_AUGMENTATION, "test") for method in methods])


CLAIMS: Final = (
    Claim(
        "supervised_fits_training_images", "3 right",
        "Supervised training without augmentation reaches an NCC training accuracy of about 1.",
        "NCC training accuracy of classes, supervised without augmentation",
        lambda table: _last(table, NO_AUGMENTATION, "train"), "above", ABOUT_ONE,
        (PLAIN, Measured(NCC, "class", "train")), compares=True, within=SHARE,
    ),
    Claim(
        "augmentation_lowers_training_accuracy", "3 right",
        "Augmentation lowers the NCC training accuracy of supervised training.",
        "NCC training accuracy, supervised with less without augmentation",
        lambda table: compared(table, "supervised", NO_AUGMENTATION, "train"), "below", 0.0,
        (PLAIN, AUGMENTED, Measured(NCC, "class", "train")), compares=True, within=DIFFERENCE,
    ),
    Claim(
        "augmentation_raises_test_accuracy", "3 right",
        "Augmentation raises the NCC test accuracy of supervised training.",
        "NCC test accuracy, supervised with less without augmentation",
        lambda table: compared(table, "supervised", NO_AUGMENTATION, "test"), "above", 0.0,
        (PLAIN, AUGMENTED, Measured(NCC, "class", "test")), compares=True, within=DIFFERENCE,
    ),
    Claim(
        "self_supervised_above_supervised", "3 right",
        "NCC test accuracy is higher self-supervised than supervised without augmentation.",
        "NCC test accuracy of classes, self-supervised less supervised without augmentation",
        _above_supervised, "above", 0.0,
        (PLAIN, Trials("self-supervised"), Measured(NCC, "class", "test")), compares=True,
        within=DIFFERENCE,
    ),
)  # fmt: skip
