"""Gain of linear probing before fine-tuning (LP-FT less FT) in the target: by features, and by the size of the shift.

Against the epochs of pretraining; where checkpoints of several epochs were fine-tuned, against the quality of their
features, the accuracy of the linear probe on test images of the source; and against the strength of the corruption that
makes the target (`--shift blur:0.5`), of the newest checkpoint, where the table holds several strengths of one
corruption, each a sweep. After 0 epochs with BatchNorm in training LP-FT does not begin as its probe: the gain there is
not one of features. Bars are 95 % intervals over seeds. Good features and a large shift are what arXiv 2202.10054 says
the effect needs.
"""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.bars import bars
from analysis.figures.base.finetuned import CHOSEN, interval_note, over_seeds, start_names
from analysis.figures.base.networks import DASHES, MARKERS, OKABE_ITO, in_order
from analysis.figures.base.numbers import Frame, evenly
from analysis.figures.base.sheet import Line, Words
from analysis.finetuned_choice import FT, LP, LP_FT, TARGET, TEST, USUAL, begins_elsewhere, chosen, newest, side_by_side
from analysis.needs import FineTuned
from ray_ssl.shift import corruption_of

TITLE = "When probing before fine-tuning pays: gain in the target"
TOPIC = "Source and target"
FINE_TUNED = True
ACROSS_DATASETS = True
NEEDS: Final = (FineTuned((FT, LP_FT), in_target=True),)

BY: Final = {
    "pretrained_epoch": "by epochs of pretraining",
    "probe": "by accuracy of the probe in the source (%)",
    "strength": "by strength of the corruption",
}
MAX_LINES: Final = 4
"""In a panel."""

_LINE: Final = ["dataset", "level", "network", "setting"]


def numbers(table: Frame) -> Frame:
    """Returns LP-FT less FT in the target (fraction) by data set, network, setting, and epoch, accuracy of the probe in
    the source (per cent) or strength (`by`, `at`).

    By strength, `dataset` is that of the corrupted images and the corruption: "shapes, blur".
    """
    wide = side_by_side(chosen(table), TARGET)
    wide = wide.assign(value=wide[LP_FT] - wide[FT]).dropna(subset="value")
    by_epoch = wide.assign(by="pretrained_epoch", at=wide["pretrained_epoch"].astype(float))
    parts = [by_epoch, _by_probe(wide, side_by_side(chosen(table), TEST)), _graded(wide)]
    return over_seeds(pd.concat(parts, ignore_index=True), [*_LINE, "by", "at"])


def _by_probe(wide: Frame, in_source: Frame) -> Frame:
    """Of networks of which checkpoints of several epochs were fine-tuned, at the probe's mean accuracy over seeds."""
    of_epoch = [*_LINE, "pretrained_epoch"]
    probe = (100 * in_source.groupby(of_epoch)[LP].mean()).round(2).rename("at").reset_index()
    found = wide.merge(probe.dropna(), on=of_epoch).assign(by="probe")
    return found[found.groupby(_LINE)["at"].transform("nunique") > 1]


def _graded(wide: Frame) -> Frame:
    """The newest checkpoints where the target is a corruption, of which there are several strengths."""
    wide = newest(wide)
    found = {name: (plain, shift) for name in wide["dataset"].unique()
             for plain, shift in [corruption_of(name)] if shift is not None}  # fmt: skip
    wide = wide[wide["dataset"].isin(found)]
    graded = wide.assign(
        dataset=wide["dataset"].map({name: f"{plain}, {shift.kind}" for name, (plain, shift) in found.items()}),
        by="strength", at=wide["dataset"].map({name: shift.strength for name, (_, shift) in found.items()}),
    ).astype({"dataset": object, "at": float})  # fmt: skip
    return graded[graded.groupby(_LINE)["at"].transform("nunique") > 1]


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where FT or LP-FT is missing, or there is no target."""
    found = numbers(table)
    if found.empty:
        return None
    found = found.assign(name=start_names(found, several_datasets=True))
    untrained = found["by"] == "pretrained_epoch"
    untrained &= begins_elsewhere(found.assign(pretrained_epoch=found["at"]))
    begun = f"; at 0 epochs ({USUAL}) LP-FT does not begin as its probe" if untrained.any() else ""
    names = list(found["name"].unique())
    # Lines by probe are lines by epoch once more.
    lines = [list(found.loc[found["by"] == by, "name"].unique()) for by in ("pretrained_epoch", "strength")]
    shown = [name for one in lines for name in evenly(one, MAX_LINES)]
    left_out = "" if len(shown) == len(names) else f"; {len(shown)} of {len(names)} lines (the CSV has all)"
    found = found[found["name"].isin(shown)]
    looks = {name: Line(name, OKABE_ITO[i], DASHES[i % 2], MARKERS[i]) for i, name in enumerate(shown)}
    found = found.assign(
        row="LP-FT less FT (points)", column=in_order(found["by"].map(BY), BY.values()), group="", series=found["name"]
    )
    about = f"{shown[0]}; " if len(shown) == 1 else ""
    note = f"{about}test images of the target; {CHOSEN}; {interval_note(found)}{left_out}{begun}."
    return bars(found, looks, Words(TITLE, note, ""), percent=True, zero=True, ends=(-1, 1))
