"""Linear probing (LP), fine-tuning (FT), and fine-tuning after it (LP-FT), in the source and in the target.

Claims of arXiv 2202.10054, there of averages over data sets, here of one: what validation images of the source choose
(`analysis.finetuned_choice`) of the newest checkpoint of every pretrained network, for they are made of good features.
Intervals are over encoders: seeds of the pretraining, or networks, each the mean of its fine-tunings, which are no
evidence on another one. Where there is one encoder they are over its fine-tunings, and say so. Ways to fine-tune, such
as with BatchNorm in training or frozen, have verdicts of their own, as methods have: they are not drawn anew, and what
holds of one may not of the other. The linear probe has no seed. "At least" is: less than a point of accuracy below
(`AT_LEAST`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from analysis.claims.base.contract import AT_LEAST, DIFFERENCE, SIZE, Claim, Frame
from analysis.claims.base.interval import Estimate, estimate
from analysis.finetuned_choice import (
    DISTANCE,
    FINE_TUNINGS,
    FT,
    LP,
    LP_FT,
    PROTOCOLS,
    RELATIVE_DISTANCE,
    TARGET,
    TEST,
    USUAL,
    begins_elsewhere,
    by_setting,
    chosen,
    in_training,
    moved,
    newest,
    side_by_side,
)
from analysis.needs import FineTuned

PAPER: Final = "arXiv 2202.10054"
_MARGIN: Final = f" (within {100 * AT_LEAST:g} point)"


def less(table: Frame, left: str, right: str, images: str) -> Frame | Estimate:
    """Returns the accuracy of one protocol less that of another."""
    wide = side_by_side(newest(chosen(table)), images)
    return _values(wide, wide[left] - wide[right], tuned=len({left, right} - {LP}))


def of_domains(table: Frame, metric: str = DISTANCE) -> Frame | Estimate:
    """Returns how far FT moves representations of the source over how far it moves those of the target."""
    distances = moved(newest(chosen(table)), table, metric)
    wide = side_by_side(distances, TEST)
    return _values(wide, wide[FT] / side_by_side(distances, TARGET)[FT])


def of_protocols(table: Frame) -> Frame | Estimate:
    """Returns how far LP-FT moves representations of the source over how far FT does."""
    wide = side_by_side(moved(newest(chosen(table)), table), TEST)
    return _values(wide, wide[LP_FT] / wide[FT], tuned=2)


def rate_at_the_edge(table: Frame, protocols: tuple[str, ...]) -> str:
    """Returns a note where validation images chose a rate at an end of its case's grid, or had one rate to choose from,
    "" where neither. Rates at which training diverged are no part of the grid.
    """
    rows = newest(chosen(table))
    rows = rows[rows["protocol"].isin(protocols) & rows["rate"].notna()]
    single = rows["lowest_rate"] == rows["highest_rate"]
    names = " and ".join(PROTOCOLS[name] for name in protocols)
    kinds = (
        ("chose the largest learning rate of the grid", "larger", ~single & (rows["rate"] == rows["highest_rate"])),
        ("chose the smallest learning rate of the grid", "smaller", ~single & (rows["rate"] == rows["lowest_rate"])),
        ("had one learning rate that did not fail to choose from", "other", single),
    )
    return "; ".join(
        f"{names} {what}, {', '.join(f'{rate:g}' for rate in sorted(rows.loc[which, 'rate'].unique()))}, in "
        f"{which.sum()} of {len(rows)} cases: {more} --learning-rates may be better"
        for what, more, which in kinds
        if which.any()
    )


def batch_norm_moves(table: Frame) -> str:
    """Returns a note where a floor is in the distances, "" where BatchNorm was frozen."""
    rows = newest(chosen(table))
    if not in_training(rows[rows["protocol"] != LP]).any():
        return ""
    return (
        f"{USUAL}: its running statistics move features without a step of the weights, a floor under both distances "
        "that draws their ratio to 1; --batch-norms frozen has none"
    )


def over_spread(table: Frame) -> str:
    """Returns a note on the same ratio of distances over the spread of features, which may say the contrary."""
    values = of_domains(table, RELATIVE_DISTANCE)
    if not isinstance(values, Estimate) and not len(values):
        return ""
    found = values if isinstance(values, Estimate) else estimate(values)
    interval = "" if math.isnan(found.low) else f" ({found.low:.2f} to {found.high:.2f})"
    return f"over the spread of the features on the same images the ratio is {found.mean:.2f}{interval}"


def begun_untrained(table: Frame) -> str:
    """Returns a note where LP-FT did not begin as its probe, "" where it did."""
    rows = newest(chosen(table))
    rows = rows[rows["protocol"] == LP_FT]
    which = begins_elsewhere(rows)
    if not which.any():
        return ""
    return (
        f"in {which.sum()} of {len(rows)} cases the encoder was untrained and BatchNorm in training, where LP-FT does "
        "not begin as its probe; --batch-norms frozen does"
    )


def _notes(table: Frame, notes: Sequence[Callable[[Frame], str]]) -> str:
    return "; ".join(filter(None, (note(table) for note in notes)))


def _values(wide: Frame, value: Frame, tuned: int = 1) -> Frame | Estimate:
    """A finite value for each network and seed of the pretraining (see `interval.estimate`), with the number of
    `trials` behind it, or the estimate over the fine-tunings of one encoder.
    """
    found = wide.assign(value=value).dropna(subset="value")
    encoders = found.groupby(["network", "pretrained_seed"])["value"].agg(value="mean", trials="size").reset_index()
    encoders["trials"] *= tuned
    if len(encoders) != 1:
        return encoders.rename(columns={"pretrained_seed": "seed"})
    over = estimate(found.assign(trials=tuned))
    return over if over.num_units == 1 else over._replace(basis=f"{over.num_units} {FINE_TUNINGS}")


_EDGE_OF_FT = partial(rate_at_the_edge, protocols=(FT,))
_OF_LP_FT, _OF_BOTH = (
    partial(_notes, notes=(partial(rate_at_the_edge, protocols=protocols), begun_untrained))
    for protocols in ((LP_FT,), (FT, LP_FT))
)

CLAIMS: Final = (
    Claim(
        "ft_at_least_lp_in_source", PAPER, "Fine-tuning is at least as accurate as linear probing in distribution.",
        f"accuracy in the source, FT less LP{_MARGIN}",
        partial(less, left=FT, right=LP, images=TEST), "above", -AT_LEAST,
        (FineTuned((LP, FT)),), compares=True, apart=by_setting, within=DIFFERENCE, caveat=_EDGE_OF_FT,
    ),
    Claim(
        "lp_above_ft_in_target", PAPER, "Linear probing is more accurate than fine-tuning out of distribution.",
        "accuracy in the target, LP less FT", partial(less, left=LP, right=FT, images=TARGET), "above", 0.0,
        (FineTuned((LP, FT), in_target=True),), compares=True, apart=by_setting, within=DIFFERENCE, caveat=_EDGE_OF_FT,
    ),
    Claim(
        "lp_ft_at_least_ft_in_source", PAPER, "LP-FT is best of both: at least fine-tuning in distribution.",
        f"accuracy in the source, LP-FT less FT{_MARGIN}",
        partial(less, left=LP_FT, right=FT, images=TEST), "above", -AT_LEAST,
        (FineTuned((FT, LP_FT)),), compares=True, apart=by_setting, within=DIFFERENCE, caveat=_OF_BOTH,
    ),
    Claim(
        "lp_ft_at_least_lp_in_target", PAPER, "LP-FT is best of both: at least linear probing out of distribution.",
        f"accuracy in the target, LP-FT less LP{_MARGIN}",
        partial(less, left=LP_FT, right=LP, images=TARGET), "above", -AT_LEAST,
        (FineTuned((LP, LP_FT), in_target=True),), compares=True, apart=by_setting, within=DIFFERENCE,
        caveat=_OF_LP_FT,
    ),
    Claim(
        "ft_distorts_source_more", PAPER, "Fine-tuning distorts features more in distribution than out of it.",
        "mean feature distance of FT, source over target", of_domains, "above", 1.0,
        (FineTuned((FT,), in_target=True),), compares=True, apart=by_setting, within=SIZE,
        caveat=partial(_notes, notes=(over_spread, batch_norm_moves)),
    ),
    Claim(
        "lp_ft_distorts_less", PAPER, "LP-FT distorts features less than fine-tuning.",
        "mean feature distance in the source, LP-FT over FT", of_protocols, "below", 1.0,
        (FineTuned((FT, LP_FT)),), compares=True, apart=by_setting, within=SIZE,
        caveat=partial(_notes, notes=(batch_norm_moves, begun_untrained)),
    ),
)  # fmt: skip
