"""Figures 1 and 2 of arXiv 2305.15614: clusters at every level; of samples early, those of classes go on forming.

"Early" is after a tenth of the training: epoch 100 of the paper's 1000, epoch 2 of 20; it is read at the last
checkpoint until then, or at the first one after initialisation. "Keeps rising" compares the end with half of the
training. The ratio of NCC to linear accuracy is taken as it is, not over its value at initialisation.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from analysis.claims.base.contract import DIFFERENCE, SHARE, SIZE, Claim, Frame
from analysis.claims.base.series import at_end, at_part, by_epoch, gain, growth, minus, over, per_trial
from analysis.needs import Measured

LINEAR, NCC = "linear_accuracy", "ncc_accuracy"
EARLY: Final = 0.1
HALF: Final = 0.5
NEAR_ONE: Final = 0.9
FLAT: Final = 0.05
"""Change of an accuracy, or of the ratio of two, that counts as none."""


def early(rows: Frame) -> Frame:
    """Returns the value of each trial after a tenth of its training."""
    return per_trial(rows, lambda one: at_part(one, EARLY))


def late_change(rows: Frame, part: float) -> Frame:
    """Returns the value of each trial at its end less that after a part of its training."""

    def change(one: Frame) -> float | None:
        then, end = at_part(one, part), at_end(one)
        return None if then is None or end is None else end - then

    return per_trial(rows, change)


def _train_ncc(table: Frame, level: str) -> Frame:
    return by_epoch(table, NCC, level, "train")


def _ratio(table: Frame, level: str) -> Frame:
    return over(by_epoch(table, NCC, level), by_epoch(table, LINEAR, level))


def _later(rows: Frame) -> Frame:
    """The change after a tenth of the training, either way."""
    found = late_change(rows, EARLY)
    return found.assign(value=found["value"].abs())


def _more_than_samples(table: Frame, level: str) -> Frame:
    of_level, of_sample = (per_trial(by_epoch(table, LINEAR, name), growth) for name in (level, "sample"))
    return minus(of_level, of_sample)


def _more(figure: str, level: str) -> Claim:
    return Claim(
        f"{level}_gains_more_than_sample", figure,
        f"Linear accuracy of {level} labels gains more than that of samples.",
        f"linear test accuracy over that at initialisation, {level} less sample",
        partial(_more_than_samples, level=level), "above", 0.0,
        (Measured(LINEAR, "sample", "test", 2, start=True), Measured(LINEAR, level, "test", 2, start=True)),
    )  # fmt: skip


def _clusters(level: str) -> Claim:
    """What figure 1 shows of some labels in the plane, as a number of all labels and features."""
    return Claim(
        f"{level}_clusters_form", "1", f"Labels of level {level} are clusters after training, more than before.",
        f"CDNV of {level} test images at the end over that at initialisation",
        lambda table: per_trial(by_epoch(table, "cdnv", level), growth), "below", 1.0,
        (Measured("cdnv", level, "test", 2, start=True),), within=SIZE,
    )  # fmt: skip


CLAIMS: Final = (
    *map(_clusters, ("sample", "class", "superclass")),
    Claim(
        "sample_ncc_near_one_early", "2 left", "NCC training accuracy of samples is near 1 early.",
        "NCC training accuracy of samples after a tenth of the training",
        lambda table: early(_train_ncc(table, "sample")), "above", NEAR_ONE,
        (Measured(NCC, "sample", "train", 3),), within=SHARE, parts=(EARLY,),
    ),
    Claim(
        "sample_ncc_then_flat", "2 left", "NCC training accuracy of samples then stays as it is.",
        "change of it from a tenth of the training to the end, either way",
        lambda table: _later(_train_ncc(table, "sample")), "below", FLAT, (Measured(NCC, "sample", "train", 3),),
        within=SHARE, parts=(EARLY,),
    ),
    Claim(
        "class_ncc_keeps_rising", "2 left", "NCC training accuracy of classes keeps rising.",
        "NCC training accuracy of classes at the end less that after half of the training",
        lambda table: late_change(_train_ncc(table, "class"), HALF), "above", 0.0,
        (Measured(NCC, "class", "train", 3),), within=DIFFERENCE, parts=(HALF,),
    ),
    Claim(
        "sample_ncc_linear_ratio_early", "2 middle",
        "NCC over linear accuracy of samples is 0.9 or more after a tenth of the training.",
        "NCC over linear test accuracy of samples after a tenth of the training",
        lambda table: early(_ratio(table, "sample")), "above", NEAR_ONE,
        (Measured(NCC, "sample", "test", 3), Measured(LINEAR, "sample", "test", 3)), parts=(EARLY,),
    ),
    Claim(
        "sample_ncc_linear_ratio_then_flat", "2 middle", "NCC over linear accuracy of samples then stays as it is.",
        "change of it from a tenth of the training to the end, either way",
        lambda table: _later(_ratio(table, "sample")), "below", FLAT,
        (Measured(NCC, "sample", "test", 3), Measured(LINEAR, "sample", "test", 3)),
        within=SIZE, parts=(EARLY,),
    ),
    Claim(
        "class_ncc_linear_ratio_rises", "2 middle", "NCC over linear accuracy of classes rises.",
        "NCC over linear test accuracy of classes, end less initialisation",
        lambda table: per_trial(_ratio(table, "class"), gain), "above", 0.0,
        (Measured(NCC, "class", "test", 2, start=True), Measured(LINEAR, "class", "test", 2, start=True)),
    ),
    _more("2 right", "class"),
    _more("2 right", "superclass"),
)  # fmt: skip
