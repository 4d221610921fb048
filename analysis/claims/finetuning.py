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

from functools import partial
from typing import Final

from analysis.claims.base.contract import AT_LEAST, DIFFERENCE, SIZE, Claim, Frame
from analysis.claims.base.interval import Estimate, estimate
from analysis.finetuned_choice import (
    DISTANCE,
    FT,
    LP,
    LP_FT,
    PROTOCOLS,
    TARGET,
    TEST,
    by_setting,
    chosen,
    newest,
    side_by_side,
)
from analysis.needs import FineTuned

PAPER: Final = "arXiv 2202.10054"
_MARGIN: Final = f" (within {100 * AT_LEAST:g} point)"


def less(table: Frame, left: str, right: str, images: str) -> Frame | Estimate:
    """Returns the accuracy of one protocol less that of another."""
    wide = side_by_side(newest(chosen(table)), images)
    return _values(wide, wide[left] - wide[right])


def of_domains(table: Frame) -> Frame | Estimate:
    """Returns how far FT moves representations of the source over how far it moves those of the target."""
    moved = _moved(table)
    wide = side_by_side(moved, TEST)
    return _values(wide, wide[FT] / side_by_side(moved, TARGET)[FT])


def of_protocols(table: Frame) -> Frame | Estimate:
    """Returns how far LP-FT moves representations of the source over how far FT does."""
    wide = side_by_side(_moved(table), TEST)
    return _values(wide, wide[LP_FT] / wide[FT])


def rate_at_the_edge(table: Frame, protocols: tuple[str, ...]) -> str:
    """Returns a note where validation images chose a rate at an end of its case's grid, or had one rate to choose from,
    "" where neither.
    """
    rows = newest(chosen(table))
    rows = rows[rows["protocol"].isin(protocols) & rows["rate"].notna()]
    single = rows["lowest_rate"] == rows["highest_rate"]
    names = " and ".join(PROTOCOLS[name] for name in protocols)
    kinds = (
        ("chose the largest learning rate of the grid", "larger", ~single & (rows["rate"] == rows["highest_rate"])),
        ("chose the smallest learning rate of the grid", "smaller", ~single & (rows["rate"] == rows["lowest_rate"])),
        ("had one learning rate to choose from", "other", single),
    )
    return "; ".join(
        f"{names} {what}, {', '.join(f'{rate:g}' for rate in sorted(rows.loc[which, 'rate'].unique()))}, in "
        f"{which.sum()} of {len(rows)} cases: {more} --learning-rates may be better"
        for what, more, which in kinds
        if which.any()
    )


def _moved(table: Frame) -> Frame:
    """What is chosen, with mean distances of the representation in the place of accuracies."""
    rows = table[(table["metric"] == DISTANCE) & (table["layer_name"] == "representation")]
    wide = rows.pivot_table(index=["trial_key", "epoch"], columns="split", values="value")
    wide = wide.reindex(columns=[TEST, TARGET]).reset_index()
    return newest(chosen(table)).drop(columns=[TEST, TARGET]).merge(wide, on=["trial_key", "epoch"])


def _values(wide: Frame, value: Frame) -> Frame | Estimate:
    """A finite value for each network and seed of the pretraining (see `interval.estimate`), or the estimate over the
    fine-tunings of one encoder.
    """
    found = wide.assign(value=value).dropna(subset="value")
    encoders = found.groupby(["network", "pretrained_seed"])["value"].mean().reset_index()
    if len(encoders) != 1:
        return encoders.rename(columns={"pretrained_seed": "seed"})
    over = estimate(found)
    return over if over.num_units == 1 else over._replace(basis=f"{over.num_units} fine-tunings of one encoder")


_EDGE_OF_FT, _EDGE_OF_LP_FT, _EDGE_OF_BOTH = (
    partial(rate_at_the_edge, protocols=protocols) for protocols in ((FT,), (LP_FT,), (FT, LP_FT))
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
        (FineTuned((FT, LP_FT)),), compares=True, apart=by_setting, within=DIFFERENCE, caveat=_EDGE_OF_BOTH,
    ),
    Claim(
        "lp_ft_at_least_lp_in_target", PAPER, "LP-FT is best of both: at least linear probing out of distribution.",
        f"accuracy in the target, LP-FT less LP{_MARGIN}",
        partial(less, left=LP_FT, right=LP, images=TARGET), "above", -AT_LEAST,
        (FineTuned((LP, LP_FT), in_target=True),), compares=True, apart=by_setting, within=DIFFERENCE,
        caveat=_EDGE_OF_LP_FT,
    ),
    Claim(
        "ft_distorts_source_more", PAPER, "Fine-tuning distorts features more in distribution than out of it.",
        "mean feature distance of FT, source over target", of_domains, "above", 1.0,
        (FineTuned((FT,), in_target=True),), compares=True, apart=by_setting, within=SIZE,
    ),
    Claim(
        "lp_ft_distorts_less", PAPER, "LP-FT distorts features less than fine-tuning.",
        "mean feature distance in the source, LP-FT over FT", of_protocols, "below", 1.0,
        (FineTuned((FT, LP_FT)),), compares=True, apart=by_setting, within=SIZE,
    ),
)  # fmt: skip
