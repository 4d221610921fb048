"""How far fine-tuning moves features of source and target images, by layer and by epoch, with and without a probe.

Mean over images of the Euclidean distance of a feature before and after, and the same over the root mean square
distance of the features before from their mean, which makes layers comparable. Left: every layer at the chosen epoch;
right: the representation at every epoch of the chosen learning rate. Of the newest checkpoint of every pretrained
network; bars are 95 % intervals over seeds. With BatchNorm in training the drift of its running statistics is part of
the distance, though no weight moved: a floor under all. The measurement of arXiv 2202.10054.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.bars import bars
from analysis.figures.base.finetuned import CHOSEN, LOOKS, interval_note, over_seeds, start_names
from analysis.figures.base.networks import in_order
from analysis.figures.base.numbers import REPRESENTATION, Frame, evenly
from analysis.figures.base.sheet import Line, Words
from analysis.finetuned_choice import (
    CASE,
    DISTANCE,
    FT,
    LP,
    LP_FT,
    PROTOCOLS,
    RELATIVE_DISTANCE,
    START,
    TARGET,
    TEST,
    USUAL,
    chosen,
    in_training,
    newest,
)
from analysis.needs import FineTuned

TITLE = "How far fine-tuning moves features"
TOPIC = "Source and target"
FINE_TUNED = True
NEEDS: Final = (FineTuned(),)

METRICS: Final = {DISTANCE: "feature distance", RELATIVE_DISTANCE: "distance over spread"}
BY: Final = {"layer": "by layer (0: stem, last: representation)", "epoch": "representation, by epoch of fine-tuning"}
IMAGES: Final = {TEST: "source", TARGET: "target"}
MAX_STARTS: Final = 2


def numbers(table: Frame) -> Frame:
    """Returns distances by pretrained network, setting, protocol, images, metric, and layer or epoch (`by`, `at`)."""
    cases = newest(chosen(table))
    cases = cases.loc[cases["protocol"] != LP, [*CASE, "protocol", "trial_key", "epoch"]]
    rows = table[table["metric"].isin(list(METRICS)) & table["split"].isin(list(IMAGES)) & table["value"].notna()]
    rows = rows.drop_duplicates(["trial_key", "epoch", "layer", "split", "metric"])
    rows = rows[["trial_key", "epoch", "layer", "layer_name", "split", "metric", "value"]]
    by_layer = cases.merge(rows, on=["trial_key", "epoch"]).assign(by="layer").rename(columns={"layer": "at"})
    last = rows[rows["layer_name"] == REPRESENTATION].drop(columns="layer")
    by_epoch = cases.drop(columns="epoch").merge(last, on="trial_key").assign(by="epoch")
    by_epoch = by_epoch.rename(columns={"epoch": "at"})
    every = pd.concat([by_layer, by_epoch], ignore_index=True).rename(columns={"split": "images"})
    start = [name for name in START if name != "pretrained_seed"]
    return over_seeds(every, [*start, "setting", "protocol", "images", "metric", "by", "at", "layer_name"])


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where nothing was fine-tuned."""
    found = numbers(table)
    if found.empty:
        return None
    found = found.assign(start=start_names(found), name=found["metric"].map(METRICS))
    names = list(found["start"].unique())
    starts = evenly(names, MAX_STARTS)
    left_out = ""
    if len(starts) < len(names):
        left_out = f"; of {len(names)} networks the first and the last by name (the CSV has all)"
    found = found[found["start"].isin(starts)]
    found = found.assign(
        row=found["start"] + "\n" + found["name"] if len(starts) > 1 else found["name"],
        column=in_order(found["by"].map(BY), BY.values()),
        group=found["start"] + found["metric"] + found["by"],
        series=found["protocol"] + " " + found["images"],
    ).sort_values(["start", "metric"], kind="stable")
    about = f"{starts[0]} on " if len(starts) == 1 else ""
    epochs = " or ".join(map(str, sorted(found["pretrained_epoch"].unique())))
    several = chosen(table).groupby("network")["pretrained_epoch"].nunique().max() > 1
    newest_alone = ", the newest checkpoint that was fine-tuned" if several else ""
    floor = f"; {USUAL}: the drift of its statistics is in the distance, a floor" if in_training(found).any() else ""
    note = (
        f"{about}{found['dataset'].iloc[0]}; pretrained for {epochs} epochs{newest_alone}; test images; {CHOSEN}; "
        f"{interval_note(found)}{left_out}{floor}."
    )
    return bars(found, _looks(), Words(TITLE, note, ""), ends=(0, np.inf))


def _looks() -> dict[str, Line]:
    """Target images are hollow and dashed."""
    found = {}
    for protocol in (FT, LP_FT):
        for images, text in IMAGES.items():
            look = LOOKS[protocol]._replace(label=f"{PROTOCOLS[protocol]}, {text}")
            there = look._replace(dash=(0, (4, 1.5)), hollow=True)
            found[f"{protocol} {images}"] = there if images == TARGET else look
    return found
