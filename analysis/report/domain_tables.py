"""The report's tables of source and target: the numbers of the figures of transfer and of fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pandas as pd

from analysis.figures.base.finetuned import CHOSEN, over_seeds
from analysis.figures.base.numbers import Frame
from analysis.figures.base.transfer import CENTRED, DOMAINS, LOGISTIC, PFA
from analysis.figures.domain_distance_by_method import DISTANCES
from analysis.figures.domain_distance_by_method import of_networks as distances
from analysis.figures.finetuning import numbers as finetuned
from analysis.figures.transfer_by_method import of_networks as accuracies
from analysis.finetuned_choice import (
    FINE_TUNINGS,
    LP,
    PROTOCOLS,
    RELATIVE_DISTANCE,
    TARGET,
    TEST,
    USUAL,
    chosen,
    moved,
    without_fine_tuned,
)
from analysis.report import markup

_NONE: Final = "\N{EN DASH}"
_PLUS_MINUS: Final = "\N{PLUS-MINUS SIGN}"
_INTERVAL: Final = f"mean {_PLUS_MINUS} half the 95 % confidence interval over seeds (Student's t; one seed has none)"
_INTERVAL_OF_TUNED: Final = (
    f"mean {_PLUS_MINUS} half the 95 % confidence interval over n seeds of the pretraining or, where there is one, n "
    f"{FINE_TUNINGS} (Student's t; one has none)"
)
_NO_ROWS: Final = pd.DataFrame()
_HEADS: Final = {
    LOGISTIC: "logistic",
    **{head: f"PFA, t\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{head[-1]}" for head in PFA},
    **{head: f"PFA, centred, t\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{head[-1]}" for head in CENTRED},
}


def transfer_table(measurements: Frame) -> str:
    """Returns accuracy in source and target and how far the domains lie apart, one network and head a row; "" where
    none of it was measured. Of a target without labels there is no accuracy.

    Args:
        measurements: See `analysis.table`; fine-tuned trials are left out.
    """
    rows = without_fine_tuned(measurements)
    found = [table for _, one in rows.groupby("dataset") for table in _transfer_of(one)]
    return "".join(found)


def _transfer_of(table: Frame) -> Iterator[str]:
    """The tables of one data set, one a level."""
    of_heads, apart = accuracies(table), distances(table)
    for level, found in of_heads.groupby("level", sort=False):
        logistic = found[found["head"] == LOGISTIC]
        in_target = logistic[logistic["domain"] == "target"]
        labelled = len(in_target) > 0
        in_target = in_target if labelled else logistic
        in_target = in_target.sort_values("mean", ascending=False, kind="stable")
        away = apart[apart["level"] == level]
        metrics = [metric for metric in DISTANCES if (away["metric"] == metric).any()]
        chance = in_target["chance"].iloc[0]
        chance_words = "" if math.isnan(chance) else f"; chance {100 * chance:.1f}"
        by = "target" if labelled else "source, for the target has no labels"
        caption = (
            f"{table['dataset'].iloc[0]}, level {level}: accuracy in per cent on test images of heads of the "
            f"representation that learned labels of the source alone, after the last measured epoch; {_INTERVAL}; "
            f"sorted by the logistic head in the {by}{chance_words}. "
            "PFA, of features as they are and of centred ones, with the t that is best on training images of the "
            "source. Distances: 1 is that of two classes, below 0 nearer than the choice of images explains; domains "
            "that are mixed are told apart 50 % of the time."
        )
        titles = [f"domains: {DISTANCES[metric]}" for metric in metrics]
        head = ["trained on", "head", "in the source", "in the target", *titles, "seeds"]
        rows = _rows(in_target, found, away, metrics)
        yield markup.table(head, rows, caption, range(2, len(head)), (head.index("head"), head.index("seeds")))


def _rows(in_target: Frame, found: Frame, away: Frame, metrics: Sequence[str]) -> Iterator[list[str]]:
    """Cells of each network, in the order of `in_target`, and head."""
    alike = in_target["method"].is_unique and len(in_target[["depth", "width"]].drop_duplicates()) == 1
    for network, method in zip(in_target["network"], in_target["method"], strict=True):
        mine, apart = found[found["network"] == network], away[away["network"] == network].set_index("metric")
        for head in (head for head in _HEADS if (mine["head"] == head).any()):
            of_head = mine[mine["head"] == head].set_index("domain")
            yield [
                markup.text(method if alike else network), _HEADS[head],
                *(_of(of_head, domain, 100) for domain in DOMAINS),
                *(_of(apart, metric, 100 if metric == "domain_accuracy" else 1) for metric in metrics),
                str(int(of_head["n"].max())),
            ]  # fmt: skip


def finetuning_table(measurements: Frame) -> str:
    """Returns accuracy in source and target of LP, FT and LP-FT, and what was chosen, one start and protocol a row; ""
    where nothing was fine-tuned.

    Args:
        measurements: See `analysis.table`.
    """
    found = finetuned(measurements)
    if found.empty:
        return ""
    apart = _distances(measurements)
    about = [name for name in ("dataset", "level", "network", "setting") if found[name].nunique() > 1]
    same = ["dataset", "level", "network", "setting", "pretrained_epoch"]
    in_target, unnamed = (found["images"] == TARGET).any(), {"setting": USUAL}
    lines = []
    for place, start in found.groupby(same, sort=True):
        for protocol, words in PROTOCOLS.items():
            one = start[start["protocol"] == protocol].set_index("images")
            if one.empty:
                continue
            first, away = one.iloc[0], apart.get((*place, protocol), _NO_ROWS)
            lines.append([
                words, *(markup.text(first[name] or unnamed.get(name)) or _NONE for name in about),
                str(first["pretrained_epoch"]),
                _of(one, TEST, 100), *([_of(one, TARGET, 100)] if in_target else []),
                *(_of(away, images, 1) for images in (TEST, *([TARGET] if in_target else []))),
                first["rates"] or _NONE, first["epochs"] or _NONE, str(int(one["n"].max())),
            ])  # fmt: skip
    shared = ", ".join(str(found[name].iloc[0]) for name in same[:-1] if name not in about and found[name].iloc[0])
    caption = (
        f"{shared}: accuracy in per cent on test images, {_INTERVAL_OF_TUNED}; {CHOSEN}. "
        "Source: in distribution (ID), target: out of it (OOD). LP: linear probe; FT: fine-tuning with a fresh head; "
        "LP-FT: with the probe's. Moved: mean distance of the representation of an image from where it began, over the "
        "root mean square distance of these from their mean."
    )
    domains = ["source (ID)", *(["target (OOD)"] if in_target else [])]
    moved_titles = [f"moved, {name.partition(' ')[0]}" for name in domains]
    head = ["protocol", *about, "encoder's epoch", *domains, *moved_titles, "rates chosen", "epochs chosen", "n"]
    where = [head.index(name) for name in (*about, "encoder's epoch", "n")]
    return markup.table(head, lines, caption, range(1 + len(about), len(head)), where)


def _distances(measurements: Frame) -> dict[tuple[Any, ...], Frame]:
    """Mean relative distances with their intervals by images, of each start, setting and protocol but LP."""
    same = ["dataset", "level", "network", "setting", "pretrained_epoch", "protocol"]
    choice = chosen(measurements)
    rows = moved(choice[choice["protocol"] != LP], measurements, RELATIVE_DISTANCE)
    long = rows.melt([*same, "pretrained_seed", "seed"], [TEST, TARGET], "images").dropna(subset="value")
    found = over_seeds(long, [*same, "images"])
    return {key: one.set_index("images") for key, one in found.groupby(same)}


def _of(found: Frame, key: str, factor: float) -> str:
    """A mean with half its interval.

    Args:
        found: Columns mean and spread, which is half the interval.
        key: In its index.
        factor: 100 of what is shown in per cent.
    """
    if key not in found.index:
        return _NONE
    one = found.loc[key]
    width = one["spread"]
    digits = 1 if factor == 100 else 2
    interval = "" if math.isnan(width) else f" {_PLUS_MINUS} {factor * width:.{digits}f}"
    return f"{factor * one['mean']:.{digits}f}{interval}"
