"""Accuracy in source and target of heads that learned labels of the source alone, at the last epoch, method by method.

Heads of the representation: logistic regression, and preconditioned feature averaging (PFA) of features as they are and
of centred ones, each with that power t of 1, 2 and 3 which is best on training images of the source, so that neither a
label of the target nor the images that are shown choose it. Sorted by logistic accuracy in the target.
Bars are 95 % intervals over seeds. Drawn where a sweep with a --shift compares methods. The comparison of arXiv
2204.00570.
"""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.dots import Series, draw_dots, ranked, trained
from analysis.figures.base.finetuned import interval_note
from analysis.figures.base.numbers import REPRESENTATION, Frame, last_epoch, over_seeds, with_chance
from analysis.figures.base.transfer import (
    CENTRED,
    DOMAINS,
    LOGISTIC,
    PFA,
    TARGET_ACCURACY,
    prepared,
    transfer_accuracies,
    with_intervals,
)
from analysis.needs import Measured

TITLE = "Accuracy in source and target of heads that learned in the source, by method"
TOPIC = "Source and target"
NEEDS: Final = (Measured(TARGET_ACCURACY, "class", "test"),)

_LOGISTIC: Final = Series("logistic head", "logistic")
_PFA: Final = Series("PFA, t = 1, 2 or 3", "PFA", hollow=True)
_CENTRED: Final = Series("PFA of centred features", "centred", hollow=True, shape="D")


def numbers(table: Frame) -> Frame:
    """Returns `of_networks`; empty where there is one method only."""
    found = of_networks(table)
    return found if found["method"].nunique() > 1 else found.iloc[:0]


def of_networks(table: Frame) -> Frame:
    """Returns accuracy by network, domain and head at its last epoch, with that of chance.

    Networks that were measured at initialisation alone are left out where others were trained.
    """
    found, learned = (_means(table, split) for split in ("test", "train"))
    in_source = learned[learned["domain"] == "source"].sort_values("mean", ascending=False, kind="stable")
    of_head = ["network", "level", "head"]
    best = [
        in_source[in_source["head"].isin(heads)].drop_duplicates(["network", "level"])
        for heads in ([LOGISTIC], PFA, CENTRED)
    ]
    # Of a head that was measured in the target alone there is nothing to choose by.
    found = found.merge(pd.concat(best)[of_head], on=of_head)
    return with_chance(found, table).reset_index(drop=True)


def _means(table: Frame, split: str) -> Frame:
    """Accuracies of the representation at the last epoch, on images of a split, over seeds."""
    rows = transfer_accuracies(prepared(table), split)
    rows = trained(last_epoch(rows[rows["layer_name"] == REPRESENTATION]))
    return with_intervals(over_seeds(rows, ["level", "epoch", "domain", "head"]))


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where there is one method only, or no accuracy in a target."""
    found = numbers(table)
    in_target = found[(found["domain"] == "target") & (found["head"] == LOGISTIC)]
    series = {LOGISTIC: _LOGISTIC, **dict.fromkeys(PFA, _PFA), **dict.fromkeys(CENTRED, _CENTRED)}
    found = found.assign(
        panel=found["domain"].map({domain: f"in the {domain}" for domain in DOMAINS}),
        series=found["head"].map({name: one.head for name, one in series.items()}),
    )
    heads = {one.head: one for one in (_LOGISTIC, _PFA, _CENTRED)}
    about = "labels of the source alone; PFA with the t that is best on its training images; sorted by the target"
    return draw_dots(table, found, ranked(in_target), heads, TITLE, about, one_scale=True, bars=interval_note)
