"""Which trials a claim counts: those whose numbers are measured where their training begins, goes through and ends.

How far a trial was trained its sweep's records say; without them it is taken from all that the table has of it: curves
reach the last epoch, and other metrics may be measured at checkpoints that one is not. A trial in which a number is not
measured where the claim reads it would be compared at another epoch than the others; it is left out, which the claim's
note says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from analysis.claims.base.contract import Claim
from analysis.figures.base.numbers import REPRESENTATION
from analysis.needs import TRAINING, Adapted, Curve, Lacking, Measured, Trials, is_self_supervised

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

TRIAL: Final = ["dataset", "trial_key"]

Epochs = Mapping[str, Sequence[int]]
"""Epochs of the stored checkpoints of trials by key, ascending; the last is where training ended. See
`survey.trained_epochs`."""


class Gap(NamedTuple):
    """Where numbers are not measured.

    Attributes:
        trials: Keys of the trials that do not count for it.
        what: What is not measured: "ncc_accuracy at level class (train)".
        when: "at the end of the training".
        way: The command that measures them.
    """

    trials: frozenset[tuple[str, str]]
    what: str
    when: str
    way: str


def with_ends(table: Frame, epochs: Epochs | None = None) -> Frame:
    """Returns the table with the column `end`, the last epoch that a trial was trained, NaN where nothing says it.

    A table that has the column is returned as it is.
    """
    if "end" in table.columns:
        return table
    if table.empty:  # of a sweep of which projections alone were asked for
        return table.assign(end=np.nan)
    # How many classes there are may stand with the curves, at the epochs that were asked for, not those trained.
    of_training = (table["layer_name"] == TRAINING) & (table["metric"] != "num_classes")
    found = table[(table["layer"] >= 0) | of_training].groupby(TRIAL)["epoch"].max().rename("end")
    joined = table.join(found, on=TRIAL)
    known = joined["trial_key"].map({key: saved[-1] for key, saved in (epochs or {}).items() if saved})
    return joined.assign(end=known.fillna(joined["end"]))


def counted(claim: Claim, table: Frame, sweep: str, epochs: Epochs | None = None) -> tuple[Frame, Lacking | None]:
    """Returns the rows of the trials that a claim counts, and what the others lack, None where it counts all.

    Args:
        claim: Its needs say what is read, and `parts` after which parts of the training.
        table: Of all trials that it is asked of, with the column `end`.
        sweep: The sweep's folder, as it is to stand in the command.
        epochs: Of trials whose checkpoints are known.
    """
    gaps = [gap for need in claim.needs for gap in _gaps(need, claim, table, sweep, epochs or {}) if gap.trials]
    if not gaps:
        return table, None
    left_out = frozenset[tuple[str, str]]().union(*(gap.trials for gap in gaps))
    keys = np.fromiter(map(left_out.__contains__, zip(table["dataset"], table["trial_key"], strict=True)), bool)
    of_claim = _compared(claim, table)
    meant = left_out & _keys(of_claim)
    mine = [gap for gap in gaps if gap.trials & meant]
    if not mine:
        return table[~keys], None
    lacking = {gap.when: [other.what for other in mine if other.when == gap.when] for gap in mine}
    what = ", or ".join(f"{' or '.join(dict.fromkeys(of))} {when}" for when, of in lacking.items())
    ways = " && ".join(dict.fromkeys(gap.way for gap in mine))
    num_trials = len(_keys(of_claim))
    num = f"{len(meant)} of {num_trials}" if len(meant) < num_trials else f"all {num_trials}"
    return table[~keys], Lacking(f"leaves out {num} trials, which were not measured in {what}", ways)


def _gaps(need: Any, claim: Claim, table: Frame, sweep: str, epochs: Epochs) -> Iterator[Gap]:
    """The trials that lack a number, for each moment at which it is read."""
    if not isinstance(need, Measured | Curve):
        return
    rows = table[(table["metric"] == need.metric) & np.isfinite(table["value"])]
    if isinstance(need, Curve):
        rows = rows[rows["layer_name"] == TRAINING]
    else:
        rows = rows[rows["layer"] >= 0]  # what is measured of the images themselves has no epochs
        rows = rows[rows["level"] == need.level] if need.level else rows
        rows = rows[rows["split"] == need.split] if need.split else rows
        rows = rows[rows["layer_name"] == REPRESENTATION] if (rows["layer_name"] == REPRESENTATION).any() else rows
    if rows.empty:
        return
    measured = set(zip(rows["dataset"], rows["trial_key"], rows["epoch"], strict=True))
    asked = table if not claim.across else table.merge(rows[TRIAL].drop_duplicates(), on=TRIAL)
    parts = claim.parts if isinstance(need, Measured) else ()
    for when, read in _moments(asked, isinstance(need, Measured) and need.start, parts, epochs):
        lacking = frozenset(key for key, epoch in read.items() if (*key, epoch) not in measured)
        yield Gap(lacking, need.words, when, need.command(sweep))


def _moments(
    table: Frame, start: bool, parts: tuple[float, ...], epochs: Epochs
) -> Iterator[tuple[str, dict[tuple[str, str], int]]]:
    """What is read when: words, and the epoch of each trial that has a checkpoint for it."""
    measured = table[table["layer"] >= 0].groupby(TRIAL)["epoch"].unique().to_dict()
    ends = table.groupby(TRIAL)["end"].first().to_dict()
    # A checkpoint that is stored and not measured yet is what a claim would read.
    there = {key: sorted({*measured.get(key, ()), *epochs.get(key[1], ())}) for key in ends}
    if start:
        yield "at initialisation", {key: 0 for key, found in there.items() if 0 in found}
    trained = {key: found for key, one in there.items() if (found := [epoch for epoch in one if epoch > 0])}
    for part in parts:
        until = {key: max((epoch for epoch in found if epoch <= part * ends[key]), default=found[0])
                 for key, found in trained.items()}  # fmt: skip
        yield f"after {part:g} of the training", until
    yield "at the end of the training", ends


def _compared(claim: Claim, table: Frame) -> Frame:
    """The rows of the methods that a claim is about."""
    needs = [need for need in claim.needs if isinstance(need, Trials | Adapted)]
    names = table["method"].unique()
    if needs:
        return table[table["method"].isin([name for name in names if any(need.takes(name) for need in needs)])]
    return table[table["method"].isin([name for name in names if is_self_supervised(name)])]


def _keys(table: Frame) -> frozenset[tuple[str, str]]:
    return frozenset(zip(table["dataset"], table["trial_key"], strict=True))
