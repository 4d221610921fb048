"""Accuracy of linear probing, fine-tuning and both in turn, in source and target, by the encoder's checkpoint.

The epoch of the pretrained checkpoint stands for the quality of its features. Learning rate and epoch of fine-tuning
are chosen on validation images of the source; bars are 95 % intervals over seeds. The linear probe has no seed of its
own. The comparison of arXiv 2202.10054.
"""

from __future__ import annotations

from typing import Final

from matplotlib.figure import Figure

from analysis.figures.base.bars import bars
from analysis.figures.base.finetuned import CHOSEN, LOOKS, interval_note, over_seeds, start_names
from analysis.figures.base.networks import in_order
from analysis.figures.base.numbers import Frame, evenly
from analysis.figures.base.sheet import Words
from analysis.finetuned_choice import LP, START, TARGET, TEST, chosen
from analysis.needs import FineTuned

TITLE = "Linear probing, fine-tuning, and both in turn"
TOPIC = "Source and target"
FINE_TUNED = True
NEEDS: Final = (FineTuned(),)

IMAGES: Final = {TEST: "in the source", TARGET: "in the target"}
MAX_STARTS: Final = 6


def numbers(table: Frame) -> Frame:
    """Returns accuracy by pretrained network, its epoch, setting, protocol and images (test or target).

    Columns "rates" and "epochs" hold the different learning rates and epochs that validation images chose, as text, ""
    of the linear probe.
    """
    by = [*(name for name in START if name != "pretrained_seed"), "setting", "protocol"]
    choice = chosen(table)
    rows = choice.melt([*START, "setting", "seed", "protocol"], list(IMAGES), "images")
    found = over_seeds(rows.dropna(subset="value"), [*by, "images"])
    tuned = choice[choice["protocol"] != LP].groupby(by)
    picked = tuned[["rate", "epoch"]].agg(_listed).rename(columns={"rate": "rates", "epoch": "epochs"}).reset_index()
    return found.merge(picked, on=by, how="left").fillna({"rates": "", "epochs": ""})


def _listed(chosen_ones: Frame) -> str:
    return ", ".join(f"{value:g}" for value in sorted(set(chosen_ones.dropna())))


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where nothing was fine-tuned."""
    found = numbers(table)
    if found.empty:
        return None
    found = found.assign(start=start_names(found))
    names = list(found["start"].unique())
    starts = evenly(names, MAX_STARTS)
    left_out = "" if len(starts) == len(names) else f"; {len(starts)} of {len(names)} networks (the CSV has all)"
    found = found[found["start"].isin(starts)]
    several = len(starts) > 1
    found = found.assign(
        row=found["start"] + "\naccuracy (%)" if several else "accuracy (%)",
        column=in_order(found["images"].map(IMAGES), IMAGES.values()),
        group=found["images"], series=found["protocol"], at=found["pretrained_epoch"],
    )  # fmt: skip
    about = "" if several else f"{starts[0]} on "
    tuned = found[found["protocol"] != LP]
    seeds = interval_note(tuned if len(tuned) else found)
    note = f"{about}{found['dataset'].iloc[0]}; test images; {CHOSEN}; {seeds}{left_out}."
    return bars(found, LOOKS, Words(TITLE, note, "epochs of pretraining"), percent=True, ends=(0, 1))
