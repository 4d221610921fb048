"""Claims read trials where their training ends, or after a part of it, and say which trials were not measured there."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import __main__ as command
from analysis.claims import check
from analysis.claims.base.contract import FAILS, HOLDS, UNKNOWN
from analysis.claims.supervision import CLAIMS
from analysis.figures.base.numbers import Frame
from analysis.report.tables import claims_table
from ray_ssl.errors import EXIT_DONE
from tests.analysis.study_tables import NO_AUGMENTATION, study
from tests.analysis.written_tables import write_table

COMPARED = [claim.name for claim in CLAIMS]
FITS, RAISES = "supervised_fits_training_images", "augmentation_raises_test_accuracy"
EARLY, LATE = "sample_ncc_near_one_early", "class_ncc_keeps_rising"


@pytest.fixture(scope="module")
def table() -> Frame:
    return study((1,), (16,), (0, 1, 2, 3))


def without(table: Frame, metric: str, epochs: tuple[int, ...], seeds: tuple[int, ...], method: str = "") -> Frame:
    gone = (table["metric"] == metric) & table["epoch"].isin(epochs) & table["seed"].isin(seeds)
    return table[~(gone & (table["method"] == method if method else True))]


def verdicts(table: Frame, *names: str) -> Frame:
    return check(table, "results/x", names).set_index("claim")


def test_trials_that_are_not_measured_at_their_end_do_not_count_and_are_said(table: Frame) -> None:
    rows = without(table, "ncc_accuracy", (100,), (0, 1), NO_AUGMENTATION)
    found, alone = verdicts(rows, *COMPARED), verdicts(table[table["seed"] > 1], *COMPARED)
    for name in COMPARED:
        assert found.loc[name, "num_trials"] == alone.loc[name, "num_trials"] == 2
        assert found.loc[name, "estimate"] == alone.loc[name, "estimate"], name
        split = "train" if "train" in name else "test"
        num = 4 if name == FITS else 8
        assert (
            f"leaves out 2 of {num} trials, which were not measured in ncc_accuracy at level class ({split}) "
            "at the end of the training: python -m analysis results/x"
        ) in found.loc[name, "note"]
        assert found.loc[name, "command"] == "python -m analysis results/x"


def test_an_analysis_that_was_interrupted_is_not_the_end_of_the_training(table: Frame) -> None:
    rows = table[(table["epoch"] < 10) | (table["layer"] < 0)].copy()
    rows = rows[rows["layer_name"] != "training"]  # curves are put into the table last
    names = ["best_layer_of_class_is_deep", LATE]
    last = rows["epoch"].max()
    assert set(verdicts(rows, *names)["num_trials"]) == {4}
    epochs = {key: [0, 1, last, 100] for key in rows["trial_key"].unique()}
    found = check(rows, "results/x", names, epochs=epochs).set_index("claim")
    assert set(found["num_trials"]) == {0}
    assert all("all 4 trials" in note and "at the end of the training" in note for note in found["note"])
    assert set(check(rows, "results/x", COMPARED, epochs=epochs)["verdict"]) == {UNKNOWN}


def test_a_stored_checkpoint_that_is_not_measured_is_what_a_claim_would_read(table: Frame) -> None:
    rows = table[table["epoch"] != 10]  # that of a tenth of the training
    assert check(rows, "results/x", [EARLY]).iloc[0]["num_trials"] == 4
    stored = {key: [0, 1, 3, 10, 30, 100] for key in table["trial_key"].unique()}
    found = check(rows, "results/x", [EARLY], epochs=stored).iloc[0]
    assert "after 0.1 of the training" in found["note"] and found["num_trials"] == 0


def test_where_no_trial_is_measured_at_its_end_nothing_is_compared(table: Frame) -> None:
    found = verdicts(without(table, "ncc_accuracy", (100,), (0, 1, 2, 3), NO_AUGMENTATION), *COMPARED)
    assert (found["verdict"] == UNKNOWN).all() and (found["num_trials"] == 0).all()
    assert (found["command"] == "python -m analysis results/x").all()
    assert found.loc[FITS, "note"].startswith("leaves out all 4 trials, ")
    of_one = without(without(table, "ncc_accuracy", (100,), (0, 1), "supervised"), "ncc_accuracy", (100,), (2, 3),
                     NO_AUGMENTATION)  # fmt: skip
    assert verdicts(of_one, RAISES).loc[RAISES, "note"].startswith("leaves out 4 of 8 trials, ")  # none in common


@pytest.mark.parametrize("known_from", ["curves", "other metrics"])
def test_the_end_is_known_from_all_that_the_table_has_of_a_trial(known_from: str, table: Frame) -> None:
    curves = table["layer_name"] == "training"
    rows = table[curves | (table["metric"] == "cdnv") | ((table["metric"] == "ncc_accuracy") & (table["epoch"] < 100))]
    of_training = rows["layer_name"] == "training"
    rows = rows[~of_training if known_from == "other metrics" else of_training | (rows["epoch"] < 100)]
    assert verdicts(rows, LATE).loc[LATE, "note"].startswith("leaves out all 4 trials, ")


def test_number_of_classes_beside_the_curves_is_no_end(table: Frame) -> None:
    one = table[table["layer_name"] == "training"].iloc[[0]]
    stopped = one.assign(epoch=1000, level="class", split="test", metric="num_classes", value=100.0)
    assert verdicts(pd.concat([table, stopped]), LATE).loc[LATE, "note"] == ""


def test_trials_of_several_lengths_are_compared_at_their_own_ends(table: Frame) -> None:
    shorter = table[(table["epoch"] <= 30) | (table["method"] != NO_AUGMENTATION)]
    found = verdicts(shorter, *COMPARED)
    assert (found["note"].str.find("leaves out") < 0).all() and (found["num_trials"] == 4).all()
    at = shorter[(shorter["metric"] == "ncc_accuracy") & (shorter["level"] == "class") & (shorter["split"] == "test")]
    at = at[at["layer_name"] == "representation"].sort_values("seed")
    ends = {"supervised": 100, NO_AUGMENTATION: 30}
    over, under = (at[(at["method"] == m) & (at["epoch"] == e)]["value"].to_numpy() for m, e in ends.items())
    assert found.loc[RAISES, "estimate"] == pytest.approx(np.mean(over - under))


def test_a_part_of_the_training_is_of_all_of_it_and_at_the_same_checkpoint_in_every_trial(table: Frame) -> None:
    at = table[(table["metric"] == "ncc_accuracy") & (table["level"] == "sample") & (table["split"] == "train")]
    at = at[(at["layer_name"] == "representation") & (at["method"] == "vicreg") & (at["epoch"] == 10)]
    assert verdicts(table, EARLY).loc[EARLY, "estimate"] == pytest.approx(at["value"].mean())
    found = verdicts(without(table, "ncc_accuracy", (10,), (0,)), EARLY).loc[EARLY]
    assert found["estimate"] == pytest.approx(at.loc[at["seed"] > 0, "value"].mean()) and found["num_trials"] == 3
    assert "ncc_accuracy at level sample (train) after 0.1 of the training: python" in found["note"]
    assert found["command"] == "python -m analysis results/x --levels sample"
    everywhere = table[table["epoch"] != 10]  # no checkpoint there: the one before it is read, as ever
    assert verdicts(everywhere, EARLY).loc[EARLY, "num_trials"] == 4


def test_a_gain_counts_trials_alone_that_have_their_beginning(table: Frame) -> None:
    found = verdicts(without(table, "linear_accuracy", (0,), (0, 1)), "accuracy_rises_with_training").iloc[0]
    assert found["num_trials"] == 2 and "linear_accuracy at level class (test) at initialisation" in found["note"]


@pytest.mark.parametrize("name", ["accuracy_rises_with_layer", "gain_grows_towards_semantic", "cdnv_ratio_falls",
                                  "transfer_follows_connectivity", "mutual_information_falls"])  # fmt: skip
def test_every_kind_of_claim_leaves_out_the_same_trials(name: str, table: Frame) -> None:
    metrics = ("linear_accuracy", "cdnv", "pair_target_accuracy", "mi_dv")
    gone = table["metric"].isin(metrics) & (table["epoch"] == 100) & (table["seed"] == 0)
    found, alone = verdicts(table[~gone], name).iloc[0], verdicts(table[table["seed"] > 0], name).iloc[0]
    assert [found["estimate"], found["num_trials"]] == [pytest.approx(alone["estimate"]), 3]
    assert "leaves out 1 of 4 trials" in found["note"] and found["command"].startswith("python -m analysis results/x")
    assert "--targets" not in found["command"]  # the sweep has them


def test_a_loss_that_got_worse_is_said_to_wherever_its_claim_is_read(
    table: Frame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, risen = "invariance_hardly_improves", table["metric"] == "invariance"
    rows = table.assign(value=table["value"].where(~risen, 2 + table["epoch"] / 100 + table["seed"] / 1000))
    found = check(rows, names=[name])
    fall = -0.99 / (2.01 + np.arange(4) / 1000)
    said = f"it got worse: the invariance loss rose, by {-100 * fall.mean():.3g} % of its first value"
    assert found.iloc[0]["verdict"] == HOLDS and found.iloc[0]["estimate"] == pytest.approx(fall.mean())
    assert found.iloc[0]["note"] == said and said in claims_table(found)
    assert verdicts(table, name).loc[name, "note"] == ""
    write_table(rows[(rows["method"] == "vicreg") & risen], tmp_path)
    assert command.main(["claims", str(tmp_path)]) == EXIT_DONE
    assert f"  {name}: {said}" in capsys.readouterr().out
    assert said in (tmp_path / "figures" / "claims.csv").read_text()


def test_verdicts_do_not_flip_where_the_last_measurements_are_missing(table: Frame) -> None:
    """Supervised accuracy is far below the bound until the very end, in the trials that are not measured there."""
    assert verdicts(table, FITS).loc[FITS, "verdict"] == HOLDS
    rows = without(table, "ncc_accuracy", (30, 100), (1, 2, 3), NO_AUGMENTATION)
    one = verdicts(rows, FITS).loc[FITS]
    assert one["verdict"] == UNKNOWN != FAILS and one["num_trials"] == 1 and math.isnan(one["low"])
