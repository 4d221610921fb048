"""Linear probing (LP), fine-tuning (FT), and fine-tuning after it (LP-FT), in the source and in the target.

Claims of arXiv 2202.10054, there of averages over data sets, here of one: what validation images of the source choose
(`analysis.finetuned_choice`) of the newest checkpoint of every pretrained network, for they are made of good features.
Seeds are those of the pretraining where it has several, else those of fine-tuning; the linear probe has none. "At
least" is: less than a point of accuracy below (`AT_LEAST`).
"""

from __future__ import annotations

from functools import partial
from typing import Final

from analysis.claims.base.contract import AT_LEAST, DIFFERENCE, SIZE, Claim, Frame
from analysis.finetuned_choice import (
    DISTANCE,
    FT,
    LP,
    LP_FT,
    PROTOCOLS,
    RATE,
    TARGET,
    TEST,
    chosen,
    newest,
    side_by_side,
)
from analysis.needs import FineTuned

PAPER: Final = "arXiv 2202.10054"
_MARGIN: Final = f" (within {100 * AT_LEAST:g} point)"


def less(table: Frame, left: str, right: str, images: str) -> Frame:
    """Returns the accuracy of one protocol less that of another, for each network and seed."""
    wide = side_by_side(newest(chosen(table)), images)
    return _values(wide, wide[left] - wide[right])


def of_domains(table: Frame) -> Frame:
    """Returns how far FT moves representations of the source over how far it moves those of the target."""
    moved = _moved(table)
    wide = side_by_side(moved, TEST)
    return _values(wide, wide[FT] / side_by_side(moved, TARGET)[FT])


def of_protocols(table: Frame) -> Frame:
    """Returns how far LP-FT moves representations of the source over how far FT does."""
    wide = side_by_side(_moved(table), TEST)
    return _values(wide, wide[LP_FT] / wide[FT])


def rate_at_the_edge(table: Frame, protocols: tuple[str, ...]) -> str:
    """Returns a note where validation images chose a rate at an end of the sweep's grid, "" where they did not."""
    rows = newest(chosen(table))
    rows = rows[rows["protocol"].isin(protocols) & rows["rate"].notna()]
    grid = table.loc[table["metric"] == RATE, "value"]
    names = " and ".join(PROTOCOLS[name] for name in protocols)
    ends = (("larger", "largest", grid.max()), ("smaller", "smallest", grid.min()))
    notes = [
        f"{names} chose the {end} learning rate of the grid, {rate:g}, in {number} of {len(rows)} cases: "
        f"{more} --learning-rates may be better"
        for more, end, rate in ends
        if (number := int((rows["rate"] == rate).sum()))
    ]
    return "; ".join(notes if grid.nunique() > 1 else notes[:1])


def _moved(table: Frame) -> Frame:
    """What is chosen, with mean distances of the representation in the place of accuracies."""
    rows = table[(table["metric"] == DISTANCE) & (table["layer_name"] == "representation")]
    wide = rows.pivot_table(index=["trial_key", "epoch"], columns="split", values="value")
    wide = wide.reindex(columns=[TEST, TARGET]).reset_index()
    return newest(chosen(table)).drop(columns=[TEST, TARGET]).merge(wide, on=["trial_key", "epoch"])


def _values(wide: Frame, value: Frame) -> Frame:
    """A finite value for each network and seed; see `interval.estimate`."""
    several = wide["pretrained_seed"].nunique() > 1
    seed = wide["pretrained_seed"] if several else wide["seed"]
    network = wide["network"] + " " + wide["level"] + " " + wide["setting"]  # seeds of fine-tuning are averaged
    found = wide.assign(network=network, seed=seed, value=value)
    return found.loc[found["value"].notna(), ["network", "seed", "value"]].reset_index(drop=True)


_EDGE_OF_FT, _EDGE_OF_LP_FT, _EDGE_OF_BOTH = (
    partial(rate_at_the_edge, protocols=protocols) for protocols in ((FT,), (LP_FT,), (FT, LP_FT))
)

CLAIMS: Final = (
    Claim(
        "ft_at_least_lp_in_source", PAPER, "Fine-tuning is at least as accurate as linear probing in distribution.",
        f"accuracy in the source, FT less LP{_MARGIN}",
        partial(less, left=FT, right=LP, images=TEST), "above", -AT_LEAST,
        (FineTuned((LP, FT)),), compares=True, within=DIFFERENCE, caveat=_EDGE_OF_FT,
    ),
    Claim(
        "lp_above_ft_in_target", PAPER, "Linear probing is more accurate than fine-tuning out of distribution.",
        "accuracy in the target, LP less FT", partial(less, left=LP, right=FT, images=TARGET), "above", 0.0,
        (FineTuned((LP, FT), in_target=True),), compares=True, within=DIFFERENCE, caveat=_EDGE_OF_FT,
    ),
    Claim(
        "lp_ft_at_least_ft_in_source", PAPER, "LP-FT is best of both: at least fine-tuning in distribution.",
        f"accuracy in the source, LP-FT less FT{_MARGIN}",
        partial(less, left=LP_FT, right=FT, images=TEST), "above", -AT_LEAST,
        (FineTuned((FT, LP_FT)),), compares=True, within=DIFFERENCE, caveat=_EDGE_OF_BOTH,
    ),
    Claim(
        "lp_ft_at_least_lp_in_target", PAPER, "LP-FT is best of both: at least linear probing out of distribution.",
        f"accuracy in the target, LP-FT less LP{_MARGIN}",
        partial(less, left=LP_FT, right=LP, images=TARGET), "above", -AT_LEAST,
        (FineTuned((LP, LP_FT), in_target=True),), compares=True, within=DIFFERENCE, caveat=_EDGE_OF_LP_FT,
    ),
    Claim(
        "ft_distorts_source_more", PAPER, "Fine-tuning distorts features more in distribution than out of it.",
        "mean feature distance of FT, source over target", of_domains, "above", 1.0,
        (FineTuned((FT,), in_target=True),), compares=True, within=SIZE,
    ),
    Claim(
        "lp_ft_distorts_less", PAPER, "LP-FT distorts features less than fine-tuning.",
        "mean feature distance in the source, LP-FT over FT", of_protocols, "below", 1.0,
        (FineTuned((FT, LP_FT)),), compares=True, within=SIZE,
    ),
)  # fmt: skip
