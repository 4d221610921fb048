"""What is lacking is said with the command that gives it, of figures and claims alike."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from analysis import __main__ as command
from analysis.claims import check
from analysis.figures import __main__ as figures
from analysis.figures.base import lacks, why_not_drawn
from analysis.figures.base.numbers import Frame
from analysis.lacking import Unmeasured
from analysis.needs import TRAIN_ONE, TRAINING, Curve, Measured
from analysis.report.facts import gather
from analysis.survey import unmeasured_trials
from ray_ssl.config import PretrainConfig
from ray_ssl.errors import EXIT_BAD_INPUT, EXIT_DONE
from ray_ssl.ledger import DONE, FAILED, Ledger, make_trials
from ray_ssl.storage import Storage
from tests.analysis.study_tables import NO_AUGMENTATION, study
from tests.analysis.written_tables import write_table

FITS = "supervised_fits_training_images"


@cache
def table() -> Frame:
    return study((1,), (16,), (0, 1), epochs=(0, 1, 10))


def without(level: str, *metrics: str, epochs: tuple[int, ...] = (0, 1, 10), method: str = "vicreg") -> Frame:
    rows = table()
    gone = rows["metric"].isin(metrics) & (rows["level"] == level) & rows["epoch"].isin(epochs)
    return rows[~(gone & (rows["method"] == method))]


def test_too_few_epochs_have_the_command_that_measures_more() -> None:
    need, rows = Measured("cdnv", "sample", num_epochs=2, start=True), table()
    cdnv = rows["metric"] == "cdnv"
    other = need.lacking(rows[~cdnv | (rows["epoch"] == 10)], "S")
    assert other is not None and str(other) == (
        "needs 2 measured epochs of cdnv at level sample, has 1: python -m analysis S --levels sample"
    )
    late = need.lacking(rows[~cdnv | (rows["epoch"] > 0)], "S")
    assert late is not None and late.way == "python -m analysis S --levels sample"
    alone = need.lacking(rows[(rows["epoch"] == 10) & cdnv], "S")  # no checkpoint is known but this
    assert alone is not None and alone.way == (
        "python -m analysis S --levels sample, or if it has no more checkpoints a sweep with more --epochs and "
        "--num-checkpoints"
    )
    layers = Measured("cdnv", "sample", num_layers=9).lacking(rows, "S")
    curve = Curve("invariance").lacking(rows[rows["epoch"] < 2], "S")
    assert layers is not None and layers.way == "a sweep with a larger --depth"
    assert curve is not None and curve.way == "a sweep with more --epochs"
    other, none = (
        Curve("no_such_term").lacking(rows[rows["layer_name"] != without], "S") for without in ("", TRAINING)
    )
    assert other is not None and other.way == TRAIN_ONE  # methods that have no such term: measuring does not help
    assert none is not None and none.way == "python -m analysis S"


PARTLY = {
    "fig2_left": (without("sample", "ncc_accuracy"), "ncc_accuracy at level sample (train)", " --levels sample"),
    "fig2_middle": (
        without("class", "ncc_accuracy", epochs=(0,)).query("level == 'class' or metric != 'ncc_accuracy'"),
        "needs ncc_accuracy at epoch 0, begins with epoch 1", "",
    ),
    "fig2_right": (without("sample", "linear_accuracy"), "linear_accuracy at level sample (test)", " --levels sample"),
    "fig3_middle": (without("none", "mi_dv", epochs=(0, 1)), "2 measured epochs of mi_dv", " --metrics mine"),
    "fig4_left": (
        without("teacher-1.00", "linear_accuracy"), "linear_accuracy at level teacher-1.00 (test)", " --levels targets"
    ),
    "fig4_right": (without("teacher-0.00", "cdnv"), "cdnv at level teacher-0.00", " --levels targets"),
}  # fmt: skip
"""Tables that the named figure is not drawn of, for all that other methods have there; what is lacking; the flags."""


@pytest.mark.parametrize("name", PARTLY)
def test_a_panel_that_is_not_drawn_says_what_is_lacking_and_what_measures_it(name: str) -> None:
    rows, what, flags = PARTLY[name]
    said = why_not_drawn(name, rows, "results/x")
    assert said.startswith("needs ") and what in said and f": python -m analysis results/x{flags}" in said, said
    assert lacks(name, table(), "results/x") is None


def test_a_ratio_needs_both_numbers_at_the_same_epochs() -> None:
    rows = without("teacher-0.00", "cdnv", "ncc_accuracy", "class_variance", "class_mean_distance", epochs=(0, 1))
    others = ("cdnv", "ncc_accuracy", "class_variance", "class_mean_distance")
    at = rows["metric"].isin(others) & (rows["level"] == "teacher-0.00") & (rows["seed"] == 1)
    rows = rows[~at]  # one epoch of one trial is left
    more = table()[(table()["metric"] == "cdnv") & (table()["level"] == "teacher-0.00") & (table()["epoch"] == 1)]
    more = more[(more["seed"] == 1) & (more["method"] == "vicreg")]
    random = (rows["level"] == "teacher-1.00") & (rows["epoch"] == 1) & (rows["seed"] == 1)
    said = why_not_drawn("fig4_right", pd.concat([rows[~random], more]), "S")
    assert said == (
        "needs cdnv at level teacher-0.00 and cdnv at level teacher-1.00 at the same 2 epochs of a trial: "
        "python -m analysis S --levels targets"
    )


def test_targets_of_one_randomness_are_said_to_be() -> None:
    rows = table()
    one = rows[rows["metric"] == "num_classes"].assign(metric="target_randomness", value=1.0)
    said = why_not_drawn("fig4_left", pd.concat([rows, one]), "S")
    assert said.startswith("needs targets of 2 degrees of randomness, those that were measured have 1: a sweep on")


def test_trials_that_are_in_the_sweep_are_not_asked_for_but_measured() -> None:
    rows, name = table(), NO_AUGMENTATION
    rows = rows[rows["method"] != name]
    for trained, words in (
        (True, "the sweep has 2, not measured yet: python -m analysis S"),
        (False, "the sweep has 2, not trained yet: the sweep's command again"),
    ):
        one = check(rows, "S", [FITS], [Unmeasured(name, trained), Unmeasured(name, trained)]).iloc[0]
        assert one["note"] == f"needs trials of {name}: {words}"
    other = check(rows, "S", [FITS], [Unmeasured("supervised", True)]).iloc[0]
    assert other["note"] == f"needs trials of {name}: python sweeps/depth_width.py --method supervised --no-augment"
    none = check(rows[rows["method"] == "supervised"], "S", ["cdnv_ratio_falls"], [Unmeasured("vicreg", True)]).iloc[0]
    assert none["note"] == "needs self-supervised trials: the sweep has 1, not measured yet: python -m analysis S"


def test_what_measures_a_claim_of_a_sweep_that_is_still_to_be_trained() -> None:
    rows = table()
    rows = rows[rows["method"] == "supervised"]
    connectivity, domains = "connectivity THAT_SWEEP", "python -m analysis THAT_SWEEP --levels domains"
    for name, more in (
        ("class_ncc_keeps_rising", ""),
        ("sample_ncc_then_flat", ", then python -m analysis THAT_SWEEP --levels sample"),
        ("spectral_features_approach_eigenvectors",
         ", then python -m analysis THAT_SWEEP --metrics spectral_alignment"),
        ("transfer_follows_connectivity", f" --shift SHIFT, then python -m analysis {connectivity} && {domains}"),
    ):  # fmt: skip
        one = check(rows, "S", [name]).iloc[0]
        assert one["command"] == f"python sweeps/depth_width.py --method vicreg{more}"
        assert one["note"] == f"needs self-supervised trials: {one['command']}"


def test_the_commands_know_them_from_the_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = table()[table()["metric"].isin(["ncc_accuracy", "num_classes"]) & (table()["level"] == "class")]
    write_table(rows[rows["method"] == "vicreg"], tmp_path)
    ledger = Ledger(Storage.at(tmp_path))
    plain, augmented = (
        PretrainConfig.from_dict({"method": {"name": "supervised", "augment": a}}) for a in (False, True)
    )
    (trial, running) = make_trials([plain, augmented], "data")
    ledger.write_config(trial)
    ledger.end(trial.key, DONE, {"history": []})
    ledger.write_config(running)
    found = [Unmeasured(NO_AUGMENTATION, True), Unmeasured("supervised", False)]
    assert sorted(unmeasured_trials(ledger, rows)) == sorted(found)
    assert command.main(["claims", str(tmp_path)]) == EXIT_DONE
    wanted = f"needs trials of {NO_AUGMENTATION}: the sweep has 1, not measured yet: python -m analysis {tmp_path}"
    assert wanted in (tmp_path / "figures" / "claims.csv").read_text()
    out = capsys.readouterr().out
    assert f"1 trained trial(s) of which nothing is measured count nowhere: python -m analysis {tmp_path}\n" in out
    assert figures.main(["fig3_right", str(tmp_path)]) == EXIT_BAD_INPUT
    wanted = "fig3 right needs trials of supervised: the sweep has 1, not trained yet: the sweep's command again"
    assert wanted in capsys.readouterr().out
    assert gather(ledger).unmeasured(rows) == unmeasured_trials(ledger, rows)  # so the report knows them too


@pytest.mark.parametrize("failed", [False, True])
def test_trials_that_failed_count_nowhere(failed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = table()[table()["metric"].isin(["ncc_accuracy", "num_classes"]) & (table()["level"] == "class")]
    ledger, (trial,) = Ledger(Storage.at(tmp_path)), make_trials([PretrainConfig.from_dict({})], "data")
    write_table(rows[rows["method"] == "vicreg"].assign(trial_key=trial.key), tmp_path)
    ledger.write_config(trial)
    ledger.end(trial.key, FAILED if failed else DONE, {"history": []})
    assert command.main(["claims", str(tmp_path)]) == EXIT_DONE
    line = f"1 trial(s) that failed or are not at their end count nowhere: {trial.key}\n"
    assert (line in capsys.readouterr().out) is failed
