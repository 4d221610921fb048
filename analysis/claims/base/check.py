"""Every claim against a table of measurements."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any, Final

import pandas as pd

from analysis.claims.base.contract import FAILS, HOLDS, UNKNOWN, Claim
from analysis.claims.base.ends import Epochs, counted, with_ends
from analysis.claims.base.interval import Estimate, estimate
from analysis.figures.base.numbers import LEARNED, networks_alone, prepare
from analysis.lacking import Unmeasured, first_lacking, lacking_learners
from analysis.needs import Lacking, is_self_supervised
from ray_ssl.plugins import plugin_module, plugin_names

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

CLAIMS: Final = "analysis.claims"
COLUMNS: Final = (
    "claim", "figure", "dataset", "method", "statement", "statistic", "bound", "estimate", "low", "high",
    "num_trials", "basis", "verdict", "note", "command",
)  # fmt: skip

NOT_COMPUTED: Final = "all that it needs was measured, but of no trial can it be computed"
"""Begins the note where that is so."""

LEAST_EQUAL: Final = 3
"""Seeds or networks whose numbers are all the same, that are evidence."""


def every_claim() -> list[Claim]:
    """Returns all claims, in the order of the figures; before them those of other papers, for which a sweep is made."""
    found = [claim for name in plugin_names(CLAIMS) for claim in plugin_module(CLAIMS, name).CLAIMS]
    order = ("left", "middle", "right")

    def place(claim: Claim) -> tuple[bool, str, int]:
        number, _, panel = claim.figure.partition(" ")
        return number != "arXiv", number, order.index(panel) if panel in order else 0

    return sorted(found, key=place)


def check(
    table: pd.DataFrame,
    sweep: str = "SWEEP_FOLDER",
    names: Collection[str] | None = None,
    unmeasured: Collection[Unmeasured] = (),
    epochs: Epochs | None = None,
) -> pd.DataFrame:
    """Returns a verdict on every claim, for each data set and each self-supervised method by itself.

    A claim holds where the whole 95 % confidence interval of its number keeps the bound, does not hold where the whole
    interval breaks it, and otherwise there is not enough data. The interval is over seeds or networks (see
    `interval.estimate`) or over what the claim says. One trial has none, and two that agree to the last digit prove
    nothing: not enough data. A trial in which a number is not measured where the claim reads it, such as at the end of
    its training, does not count (see `ends.counted`). Claims over several data sets have one row, whose data set names
    all of them. Of exact graphs are the claims alone that can be about one (`Claim.on_graph`).

    Args:
        table: As `analysis.table.read_table` returns it.
        sweep: The sweep's folder, as it is to stand in commands.
        names: Of the claims that are checked; None: all.
        unmeasured: Trials of the sweep that the table does not have.
        epochs: Of its trained trials; without them a trial ends where the table does.

    Returns:
        Columns claim, figure, dataset, method ("" where methods are compared, or what tells these from others, see
        `Claim.apart`; of a graph with k and what tells it from other graphs), statement, statistic, bound ("> 0"),
        estimate, low, high (95 % confidence interval, NaN where there is none), num_trials, basis (what the interval
        is over), verdict ("holds", "does not hold", "not enough data"), note (what is lacking, or which trials lack it,
        and the command that measures it; or what makes the comparison less than it says) and command (that one alone,
        "" where there is none).
    """
    claims = [claim for claim in every_claim() if names is None or claim.name in names]
    rows = []
    for dataset, one in table.groupby("dataset"):
        about = {"dataset": dataset}
        networks = with_ends(networks_alone(one), epochs)
        prepared = prepare(networks, *networks["metric"].unique())
        for claim in claims if len(networks) else ():
            if not claim.across:
                rows += [about | row for row in _rows(claim, networks, prepared, sweep, unmeasured, epochs)]
        rows += [about | row for claim in claims if claim.on_graph for row in _graph_rows(claim.on_graph, one, sweep)]
    networks = networks_alone(table)
    every, ends = ", ".join(sorted(networks["dataset"].unique())), with_ends(networks, epochs)
    across = [claim for claim in claims if claim.across and every]
    rows += [{"dataset": every, **_row(claim, networks, ends, "", sweep, unmeasured, epochs)} for claim in across]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _graph_rows(claim: Claim, table: Frame, sweep: str) -> Iterator[dict[str, Any]]:
    """The verdicts of features that are learned on exact graphs: one for each kind, graph and number of steps."""
    learned = with_ends(table[table["method"].isin(LEARNED)])
    prepared = prepare(learned, *learned["metric"].unique())
    for name, rows in prepared.groupby("network", sort=False):  # as they stand: k by size
        yield _row(claim, rows, rows, str(name), sweep, ())


def _rows(
    claim: Claim, table: Frame, prepared: Frame, sweep: str, unmeasured: Collection[Unmeasured], epochs: Epochs | None
) -> Iterator[dict[str, Any]]:
    """The verdicts on a claim: one, or one for each that it takes apart or each method that learns without labels."""
    if claim.compares:
        parts, ready = ({"": rows} if claim.apart is None else claim.apart(rows) for rows in (table, prepared))
        for name in parts:
            yield _row(claim, parts[name], ready[name], name, sweep, unmeasured, epochs)
        return
    methods = [method for method in sorted(table["method"].unique()) if is_self_supervised(method)]
    for method in methods:
        one, ready = (rows[rows["method"] == method] for rows in (table, prepared))
        yield _row(claim, one, ready, method, sweep, unmeasured, epochs)
    if not methods:
        lacking = lacking_learners(claim.needs, table, sweep, unmeasured)
        assert lacking is not None
        yield _about(claim, "") | _unknown(lacking)


def _row(
    claim: Claim,
    table: Frame,
    prepared: Frame,
    method: str,
    sweep: str,
    unmeasured: Collection[Unmeasured],
    epochs: Epochs | None = None,
) -> dict[str, Any]:
    lacking = first_lacking(claim.needs, table, sweep, unmeasured)
    prepared, left_out = (prepared, None) if lacking else counted(claim, prepared, sweep, epochs)
    values = None if lacking else claim.measure(prepared)
    nothing = math.isnan(values.mean) if isinstance(values, Estimate) else values is None or values.empty
    if nothing:
        return _about(claim, method) | _unknown(
            lacking
            or left_out
            or Lacking(
                f"{NOT_COMPUTED}, for too few values are there or all are the same: {claim.statistic}",
                "a sweep with more --epochs, more checkpoints or a deeper network",
            )
        )
    found = (values if isinstance(values, Estimate) else estimate(values)).within(*claim.within)
    verdict, note = judge(claim, found)
    caveat = claim.caveat(prepared) if claim.caveat else ""
    note = "; ".join(filter(None, (note, caveat, str(left_out or ""))))
    numbers = {"estimate": found.mean, "low": found.low, "high": found.high}
    return _about(claim, method) | numbers | {
        "num_trials": found.num_trials, "basis": found.basis, "verdict": verdict, "note": note,
        "command": left_out.way if left_out else "",
    }  # fmt: skip


def _unknown(lacking: Lacking) -> dict[str, Any]:
    return {"num_trials": 0, "basis": "", "verdict": UNKNOWN, "note": str(lacking), "command": lacking.way}


def judge(claim: Claim, found: Estimate) -> tuple[str, str]:
    """Returns the verdict and a note, "" where there is nothing to say."""
    if math.isnan(found.low):
        return UNKNOWN, "one trial, no interval: more seeds or networks would tell"
    if found.low == found.high and found.num_units < LEAST_EQUAL:
        return (
            UNKNOWN,
            f"the same in all {found.num_units}, no measure of chance: more seeds or networks would tell",
        )
    kept = {claim.keeps(found.low), claim.keeps(found.high)}
    if len(kept) == 2:
        return UNKNOWN, f"the interval holds the bound: more than {found.basis} would tell"
    return (HOLDS if True in kept else FAILS), ""


def _about(claim: Claim, method: str) -> dict[str, Any]:
    sign = ">" if claim.direction == "above" else "<"
    return {
        "claim": claim.name, "figure": claim.figure, "method": method, "statement": claim.statement,
        "statistic": claim.statistic, "bound": f"{sign} {claim.bound:g}", "estimate": math.nan, "low": math.nan,
        "high": math.nan,
    }  # fmt: skip
