"""Claims on transfer: each holds, fails or lacks data where the table says so, within depth, width and seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.claims import check
from analysis.claims.base.command import as_text
from analysis.claims.base.contract import FAILS, HOLDS, UNKNOWN
from analysis.claims.transfer import CLAIMS, more_steps
from analysis.figures.base.numbers import Frame
from tests.analysis.transfer_tables import transferred

BOTH, EXTRA, DANN = "swav (source + target)", "swav (source + target + extra)", "dann (source + target)"
NAMES = [claim.name for claim in CLAIMS]
COMPARED = {
    "pretraining_on_both_matches_dann": (BOTH, DANN, "target_accuracy_logistic"),
    "pretraining_on_both_beats_source_alone": (BOTH, "swav (source)", "target_accuracy_logistic"),
    "extra_data_helps": (EXTRA, BOTH, "target_accuracy_logistic"),
    "domains_further_apart_than_dann": (BOTH, DANN, "domain_distance"),
    "domains_told_apart_better_than_dann": (BOTH, DANN, "domain_accuracy"),
}


@pytest.fixture(scope="module")
def table() -> Frame:
    return transferred()


def at_end(table: Frame, method: str, metric: str) -> np.ndarray:
    rows = table[(table["method"] == method) & (table["metric"] == metric) & (table["split"] == "test")]
    rows = rows[(rows["layer_name"] == "representation") & (rows["epoch"] == rows["epoch"].max())]
    return rows.sort_values("seed")["value"].to_numpy()


def test_every_claim_is_a_difference_over_seeds_and_holds_where_the_trend_is_in_the_table(table: Frame) -> None:
    found = check(table, names=NAMES).set_index("claim")
    assert set(found.index) == set(NAMES) == set(COMPARED)
    for name, (over, under, metric) in COMPARED.items():
        one = found.loc[name]
        difference = at_end(table, over, metric) - at_end(table, under, metric)
        low, high = stats.t.interval(0.95, 2, np.mean(difference), stats.sem(difference))
        assert [one["estimate"], one["low"], one["high"]] == pytest.approx([difference.mean(), low, high]), name
        assert one["verdict"] == HOLDS and one["basis"] == "3 seeds" and one["method"] == "", name


@pytest.mark.parametrize("name", COMPARED)
def test_a_claim_does_not_hold_where_the_methods_are_exchanged(name: str, table: Frame) -> None:
    over, under, _ = COMPARED[name]
    exchanged = table.assign(method=table["method"].replace({over: under, under: over}))
    assert check(exchanged, names=[name])["verdict"].tolist() == [FAILS]


@pytest.mark.parametrize("name", COMPARED)
def test_a_claim_that_lacks_trials_or_measurements_says_what_gives_them(name: str, table: Frame) -> None:
    over, under, metric = COMPARED[name]
    for lacking in (over, under):
        rows = table[table["method"] != lacking]
        one = check(rows, names=[name]).iloc[0]
        flags = {DANN: " --baselines dann", EXTRA: " --num-extra N"}.get(lacking, "")
        assert one["verdict"] == UNKNOWN and one["note"].endswith(f"): python sweeps/transfer.py{flags}"), name
    both = [metric, metric.replace("target_accuracy", "source_accuracy")]  # the source alone: a target without labels
    one = check(table[~table["metric"].isin(both)], "results/x", [name]).iloc[0]
    what = f"needs {metric} at level class (test): python -m analysis results/x --levels domains"
    assert one["verdict"] == UNKNOWN and one["note"].startswith(what)


def test_dann_is_compared_with_pretraining_on_the_same_images(table: Frame) -> None:
    one = check(table[table["method"] != EXTRA], names=["pretraining_on_both_matches_dann"]).iloc[0]
    assert one["verdict"] == HOLDS and one["num_trials"] == 3
    assert one["estimate"] == check(table, names=["pretraining_on_both_matches_dann"]).iloc[0]["estimate"]


def test_a_point_below_dann_is_no_match_and_half_a_point_is(table: Frame) -> None:
    for below, verdict in ((0.005, HOLDS), (0.015, FAILS)):
        level = {BOTH: 0.5 - below, DANN: 0.5}
        rows = table[table["method"].isin(level)]
        rows = rows.assign(value=rows["method"].map(level) + rows["seed"] / 100)
        assert check(rows, names=["pretraining_on_both_matches_dann"])["verdict"].tolist() == [verdict]


def test_dann_that_adapts_nothing_is_said_to(table: Frame) -> None:
    names = [name for name, (_, under, _) in COMPARED.items() if under == DANN]
    of_both: Frame = check(table, names=[*names, "extra_data_helps"]).set_index("claim")
    assert (of_both.loc[names, "note"] == "").all()  # it is above supervised training on the source
    alike = table.assign(method=table["method"].replace({"supervised (source)": DANN, DANN: "supervised (source)"}))
    worse = check(alike, names=[*names, "extra_data_helps"]).set_index("claim")
    difference = at_end(alike, DANN, "target_accuracy_logistic")
    difference = difference - at_end(alike, "supervised (source)", "target_accuracy_logistic")
    low, high = stats.t.interval(0.95, 2, np.mean(difference), stats.sem(difference))
    said = f"DANN adapts nothing here: {100 * difference.mean():.1f} points ({100 * low:.1f} to {100 * high:.1f})"
    assert all(said in str(worse.loc[name, "note"]) for name in names)
    assert worse.loc["extra_data_helps", "note"] == of_both.loc["extra_data_helps", "note"] == more_steps(table)
    text = as_text(worse.reset_index())
    assert "\nbut:\n  pretraining_on_both_matches_dann: DANN adapts nothing here: " in text
    alone: Frame = check(table[table["method"] != "supervised (source)"], names=names)
    assert alone["note"].str.contains("no supervised training on the source beside it").all()
    assert list(alone["verdict"]) == [HOLDS] * len(names)


def test_methods_are_never_mixed(table: Frame) -> None:
    other = table[table["method"] == "swav (source)"].assign(method="vicreg (source)", trial_key="other")
    both = pd.concat([table[table["method"] != "swav (source)"], other])
    one = check(both, names=["pretraining_on_both_beats_source_alone"]).iloc[0]
    assert one["verdict"] == UNKNOWN and one["num_trials"] == 0
