"""Transfer to a target domain, of arXiv 2204.02683 and 2204.00570: pretraining on both against other ways to train.

Accuracy is that of the logistic head, which learns labels of the source alone, on test images of the target, of the
representation at the last epoch. Trainings are compared between trials of one depth, width and seed. "At least" is:
less than a point of accuracy below (`AT_LEAST`).
"""

from __future__ import annotations

import math
from typing import Final

import pandas as pd

from analysis.claims.base.contract import AT_LEAST, Claim, Frame
from analysis.claims.base.interval import estimate
from analysis.claims.base.series import at_end, by_epoch, minus, per_trial
from analysis.needs import Adapted, Measured, is_self_supervised

PAPER: Final = "arXiv 2204.02683"
CONNECT: Final = "arXiv 2204.00570"
ACCURACY: Final = "target_accuracy_logistic"
SOURCE: Final = "source"
BOTH: Final = "source + target"
EXTRA: Final = "source + target + extra"
DANN: Final = "dann"
SUPERVISED: Final = "supervised"


def _at_end(table: Frame, metric: str, domains: str) -> Frame:
    """The last value of each trial that was trained on these domains, with the column `base`, its method."""
    found = per_trial(by_epoch(table[table["method"].str.endswith(f" ({domains})")], metric, "class"), at_end)
    return found.assign(base=found["method"].str.removesuffix(f" ({domains})"))


def pretrained_less(table: Frame, metric: str, domains: str, other: str) -> Frame:
    """Returns a number of pretraining on some domains less that of the same method on others."""
    found = _at_end(table, metric, domains)
    found = found[found["base"].map(is_self_supervised).astype(bool)]
    return _named(minus(found, _at_end(table, metric, other), ("base", "depth", "width", "seed")))


def pretrained_less_dann(table: Frame, metric: str) -> Frame:
    """Returns a number of each pretraining on source and target less that of DANN on the same images."""
    found = _at_end(table, metric, BOTH)
    free = found["base"].map(is_self_supervised).astype(bool)
    return _named(minus(found[free], found[found["base"] == DANN], ("depth", "width", "seed")))


def dann_adapts(table: Frame) -> str:
    """Returns "" where DANN is above supervised training on the source, in the target, by the interval of their
    difference; else what to know of a comparison with it.
    """
    dann, alone = _at_end(table, ACCURACY, BOTH), _at_end(table, ACCURACY, SOURCE)
    found = minus(dann[dann["base"] == DANN], alone[alone["base"] == SUPERVISED], ("depth", "width", "seed"))
    if found.empty:
        rows = table[table["metric"] == ACCURACY]
        why = "no supervised training on the source beside it" if len(rows) else "no accuracy in the target is known"
        return f"whether DANN adapts anything here is not known: {why}"
    gain = estimate(_named(found))
    if gain.low > 0:
        return ""
    interval = "one trial" if math.isnan(gain.low) else f"{100 * gain.low:.1f} to {100 * gain.high:.1f}"
    return (f"DANN adapts nothing here: {100 * gain.mean:+.1f} points ({interval}) in the target over supervised "
            "training on the source alone")  # fmt: skip


def more_steps(_: Frame) -> str:
    """Says what else differs where trainings on more images are compared at equal epochs."""
    return "trained for equal epochs: on more images that is more steps"


def _named(found: Frame) -> Frame:
    """Networks by method, depth and width: their names are those of one training."""
    rows = zip(found["base"], found["depth"], found["width"], strict=True)
    names = [f"{base}, depth {depth}, width {width}" for base, depth, width in rows]
    return found.assign(network=pd.Series(names, found.index, dtype=object))


_MEASURED: Final = Measured(ACCURACY, "class", "test")
_WITH_DANN: Final = (Adapted((BOTH,)), Adapted((BOTH,), DANN))

CLAIMS: Final = (
    Claim(
        "pretraining_on_both_matches_dann", CONNECT,
        "Pretraining on source and target without labels at least matches DANN in the target.",
        f"accuracy in the target, pretrained on source and target less DANN (within {100 * AT_LEAST:g} point)",
        lambda table: pretrained_less_dann(table, ACCURACY), "above", -AT_LEAST,
        (_MEASURED, *_WITH_DANN), compares=True, caveat=dann_adapts,
    ),
    Claim(
        "pretraining_on_both_beats_source_alone", PAPER,
        "Pretraining on source and target transfers better than the same pretraining on the source alone.",
        "accuracy in the target, pretrained on source and target less on the source",
        lambda table: pretrained_less(table, ACCURACY, BOTH, SOURCE), "above", 0.0,
        (_MEASURED, Adapted((BOTH,)), Adapted((SOURCE,))), compares=True, caveat=more_steps,
    ),
    Claim(
        "extra_data_helps", CONNECT,
        "Further unlabelled images in pretraining raise accuracy in the target.",
        "accuracy in the target, pretrained on source, target and extra images less without the extra ones",
        lambda table: pretrained_less(table, ACCURACY, EXTRA, BOTH), "above", 0.0,
        (_MEASURED, Adapted((BOTH,)), Adapted((EXTRA,))), compares=True, caveat=more_steps,
    ),
    Claim(
        "domains_further_apart_than_dann", CONNECT,
        "Pretraining leaves the domains further apart than DANN does.",
        "distance of domain means over that of class means, pretrained on source and target less DANN",
        lambda table: pretrained_less_dann(table, "domain_distance"), "above", 0.0,
        (Measured("domain_distance", "class", "test"), *_WITH_DANN), compares=True, caveat=dann_adapts,
    ),
    Claim(
        "domains_told_apart_better_than_dann", CONNECT,
        "A linear classifier tells the domains apart better after pretraining than after DANN.",
        "accuracy in telling the domains apart, pretrained on source and target less DANN",
        lambda table: pretrained_less_dann(table, "domain_accuracy"), "above", 0.0,
        (Measured("domain_accuracy", "class", "test"), *_WITH_DANN), compares=True, caveat=dann_adapts,
    ),
)  # fmt: skip
