"""Claims: each holds, fails or lacks data where the table says so; statistics are those of a naive computation."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import __main__ as command
from analysis.claims import check
from analysis.claims.base.check import NOT_COMPUTED, every_claim, judge
from analysis.claims.base.command import as_json, as_text
from analysis.claims.base.contract import FAILS, HOLDS, UNKNOWN, Claim
from analysis.claims.base.interval import Estimate, estimate, t_interval
from analysis.claims.base.series import rank_correlation
from analysis.claims.base.standing import tally
from analysis.figures.base.numbers import Frame
from analysis.figures.base.targets import measured_randomness
from analysis.needs import TRAINING
from ray_ssl.config import PretrainConfig
from ray_ssl.errors import EXIT_BAD_INPUT, EXIT_DONE
from ray_ssl.ledger import Ledger, make_trials
from ray_ssl.storage import Storage
from tests.analysis.figure_tables import lookup
from tests.analysis.study_tables import NO_AUGMENTATION, study
from tests.analysis.written_tables import write_table

NAMES = [claim.name for claim in every_claim() if not claim.figure.startswith("arXiv")]
"""Of arXiv 2305.15614; `test_transfer_claims` has those of other papers."""
LAST = 4  # layer of the representation


@pytest.fixture(scope="module")
def table() -> Frame:
    return study()


@pytest.fixture(scope="module")
def found(table: Frame) -> Frame:
    return check(table, names=NAMES).set_index("claim")


def test_every_claim_holds_where_every_trend_is_in_the_table(found: Frame) -> None:
    assert list(found.index) and set(found.index) == set(NAMES)
    assert found["verdict"].to_dict() == dict.fromkeys(NAMES, HOLDS)
    of_pairs, of_seeds = found.loc["transfer_follows_connectivity"], found.drop("transfer_follows_connectivity")
    assert (found["note"] == "").all() and (found["num_trials"] == 3).all()
    assert (of_seeds["basis"] == "3 seeds").all() and of_pairs["basis"] == "10 pairs of classes"
    assert ((found["low"] <= found["estimate"]) & (found["estimate"] <= found["high"])).all()


CONTRARY = {
    **{
        f"{level}_clusters_form": ("cdnv", level, lambda rows: 1 + rows["epoch"])
        for level in ("sample", "class", "superclass")
    },
    "sample_ncc_near_one_early": ("ncc_accuracy", "sample", lambda rows: 0.5 * rows["value"]),
    "sample_ncc_then_flat": ("ncc_accuracy", "sample", lambda rows: rows["epoch"] / 200),
    "class_ncc_keeps_rising": ("ncc_accuracy", "class", lambda rows: 0.4 - rows["epoch"] / 1000),
    "sample_ncc_linear_ratio_early": ("ncc_accuracy", "sample", lambda rows: 0.5 * rows["value"]),
    "sample_ncc_linear_ratio_then_flat": ("ncc_accuracy", "sample", lambda rows: rows["epoch"] / 200),
    "class_ncc_linear_ratio_rises": ("ncc_accuracy", "class", lambda rows: 0.1 - rows["epoch"] / 2000),
    "class_gains_more_than_sample": ("linear_accuracy", "class", lambda rows: 0.2 - rows["epoch"] / 2000),
    "superclass_gains_more_than_sample": ("linear_accuracy", "superclass", lambda rows: 0.2 - rows["epoch"] / 2000),
    "invariance_hardly_improves": ("invariance", "none", lambda rows: 3 - rows["epoch"] / 100),
    "regularisation_falls": ("regularisation", "none", lambda rows: 3 + rows["epoch"] / 100),
    "regularisation_falls_with_accuracy_gain": ("regularisation", "none", lambda rows: 3 + rows["epoch"] / 100),
    "mutual_information_falls": ("mi_dv", "none", lambda rows: 3 + rows["epoch"] / 100),
    "supervised_fits_training_images": ("ncc_accuracy", "class", lambda rows: 0.9 * rows["value"].clip(0, 1)),
    "augmentation_lowers_training_accuracy": (
        "ncc_accuracy", "class", lambda rows: 0.5 + 0.1 * (rows["method"] == "supervised")
    ),
    "augmentation_raises_test_accuracy": (
        "ncc_accuracy", "class", lambda rows: 0.5 - 0.1 * (rows["method"] == "supervised")
    ),
    "self_supervised_above_supervised": (
        "ncc_accuracy", "class", lambda rows: 0.5 - 0.1 * (rows["method"] == "vicreg")
    ),
    "no_gain_on_random_targets": ("linear_accuracy", "teacher-1.00", lambda rows: 0.3 + rows["epoch"] / 1000),
    "gain_grows_towards_semantic": (
        "linear_accuracy", "teacher", lambda rows: 0.1 + rows["epoch"] / 1000 * rows["level"].str[-4:].astype(float)
    ),
    "deeper_is_better_on_semantic_targets": ("linear_accuracy", "teacher-0.00", lambda rows: 0.5 - rows["layer"] / 20),
    "depth_helps_semantic_most": ("linear_accuracy", "teacher-0.00", lambda rows: 0.5 - rows["layer"] / 20),
    "cdnv_ratio_falls": ("cdnv", "teacher-0.00", lambda rows: 1 + rows["epoch"]),
    "variance_ratio_is_stable": ("class_variance", "teacher-0.00", lambda rows: 1 + rows["epoch"]),
    "cdnv_falls_through_distance": ("class_mean_distance", "teacher", lambda rows: 1 + 0 * rows["epoch"]),
    "accuracy_rises_with_layer": ("linear_accuracy", "class", lambda rows: 0.5 - rows["layer"] / 20),
    "accuracy_rises_with_training": ("linear_accuracy", "class", lambda rows: 0.5 - rows["epoch"] / 1000),
    "last_layer_is_not_best_for_classes": ("linear_accuracy", "class", lambda rows: 0.2 + rows["layer"] / 20),
    "best_layer_of_sample_is_deep": ("linear_accuracy", "sample", lambda rows: 0.5 - rows["layer"] / 20),
    "best_layer_of_class_is_deep": ("linear_accuracy", "class", lambda rows: 0.5 - rows["layer"] / 20),
    "best_layer_of_superclass_is_deep": ("linear_accuracy", "superclass", lambda rows: 0.5 - rows["layer"] / 20),
    "superclass_accuracy_rises_with_layer": ("linear_accuracy", "superclass", lambda rows: 0.5 - rows["layer"] / 20),
    "superclass_gains_more_in_deep_layers": (
        "linear_accuracy", "superclass", lambda rows: 0.5 - rows["epoch"] / 1000
    ),
    "spectral_features_approach_eigenvectors": (
        "spectral_alignment_top20", "none", lambda rows: 0.5 - rows["epoch"] / 1000
    ),
    "heads_follow_cluster_purity": (
        r"cluster_purity_top\d+", "class", lambda rows: 0.9 - rows["epoch"] / 1000  # purest where heads are worst
    ),
    "own_group_is_connected_most": ("connectivity_alpha", "class:", lambda rows: 0.6 + 0 * rows["epoch"]),
    "nothing_shared_is_connected_least": ("connectivity_gamma", "class:", lambda rows: 0.4 + 0 * rows["epoch"]),
    "transfer_follows_connectivity": ("pair_target_accuracy", "class:", lambda rows: 1 - rows["value"]),
}  # fmt: skip
"""Metric (a pattern), level (or its beginning) and values that contradict a claim."""


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_does_not_hold_where_the_numbers_say_the_contrary(name: str, table: Frame) -> None:
    metric, level, contrary = CONTRARY[name]
    changed = table["metric"].str.fullmatch(metric) & table["level"].str.startswith(level)
    rows = table.assign(value=table["value"].where(~changed, contrary(table[changed]).reindex(table.index)))
    one = check(rows, names=[name]).set_index("claim").loc[name]
    assert one["verdict"] == FAILS, one.to_dict()


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_without_its_measurements_says_what_measures_them(name: str, table: Frame) -> None:
    metric, level, _ = CONTRARY[name]
    rows = table[~(table["metric"].str.fullmatch(metric) & table["level"].str.startswith(level))]
    if metric in ("invariance", "regularisation"):
        rows = rows[rows["layer_name"] != TRAINING]  # a trial's curves come together
    one = check(rows, "results/study", [name]).set_index("claim").loc[name]
    assert one["verdict"] == UNKNOWN and one["num_trials"] == 0 and math.isnan(one["estimate"])
    command = "python -m analysis connectivity" if metric.startswith("connectivity") else "python -m analysis"
    assert re.search(metric, one["note"]) and f"{command} results/study" in one["note"]
    group = {"s": "sample", "t": "targets"}.get(level[0]) if level != "superclass" else None
    assert (f"--levels {group}" in one["note"]) == (group is not None)


def test_layers_without_an_order_are_said_with_what_would_have_one() -> None:
    table, name = study(depths=(1,), widths=(16,), seeds=(0, 1)), "accuracy_rises_with_layer"
    at = ["trial_key", "epoch", "level", "split", "metric"]
    block = table[table["layer_name"] == "block1"].set_index(at)["value"]
    last = table["layer_name"] == "representation"
    repeated = pd.MultiIndex.from_frame(table.loc[last, at])
    table.loc[last, "value"] = block.reindex(repeated).fillna(0.5).to_numpy()
    for rows, words, way in (
        (table, "needs a network of 3 layers, the deepest has 2 (a representation that repeats", "a larger --depth"),
        (study(seeds=(0,)).assign(value=0.5), "every layer of every trial has the same accuracy", "more --epochs"),
    ):
        one = check(rows[rows["method"] == "vicreg"], names=[name]).iloc[0]
        assert one["verdict"] == UNKNOWN and words in one["note"] and way in one["command"]


def test_claims_that_compare_methods_ask_for_the_trials_they_lack(table: Frame) -> None:
    rows = check(table[table["method"] == "vicreg"]).set_index("claim")
    assert rows.loc["augmentation_raises_test_accuracy", "note"] == (
        f"needs trials of {NO_AUGMENTATION}: python sweeps/depth_width.py --method supervised --no-augment"
    )
    rows = check(table[table["method"] == NO_AUGMENTATION]).set_index("claim")
    assert rows.loc["self_supervised_above_supervised", "verdict"] == UNKNOWN
    assert "needs self-supervised trials" in rows.loc["sample_ncc_near_one_early", "note"]


def test_statistics_are_those_of_a_naive_computation(table: Frame, found: Frame) -> None:
    value = lookup(table)
    keys = sorted(table.loc[table["method"] == "vicreg", "trial_key"].unique())
    epochs = sorted(table.loc[table["layer"] >= 0, "epoch"].unique())

    def at(key: str, epoch: int, level: str, metric: str, split: str = "test", layer: int = LAST) -> float:
        return value[key, epoch, layer, level, split, metric]

    def rise(key: str, level: str) -> float:
        return at(key, 100, level, "linear_accuracy") / at(key, 0, level, "linear_accuracy")

    wanted = {
        "sample_ncc_near_one_early": [at(key, 10, "sample", "ncc_accuracy", "train") for key in keys],
        "class_ncc_keeps_rising": [
            at(key, 100, "class", "ncc_accuracy", "train") - at(key, 30, "class", "ncc_accuracy", "train")
            for key in keys
        ],
        "class_gains_more_than_sample": [rise(key, "class") - rise(key, "sample") for key in keys],
        "invariance_hardly_improves": [
            1 - value[key, 100, -1, "none", "train", "invariance"] / value[key, 1, -1, "none", "train", "invariance"]
            for key in keys
        ],
        "regularisation_falls_with_accuracy_gain": [
            spearman(
                [value[key, epoch, -1, "none", "train", "regularisation"] for epoch in epochs[1:]],
                [at(key, epoch, "class", "linear_accuracy") for epoch in epochs[1:]],
            )
            for key in keys
        ],
        "cdnv_ratio_falls": [
            sum(sign * math.log(at(key, epoch, level, "cdnv"))
                for level, epoch, sign in (("teacher-0.00", 100, 1), ("teacher-1.00", 100, -1),
                                           ("teacher-0.00", 0, -1), ("teacher-1.00", 0, 1)))
            for key in keys
        ],
        "accuracy_rises_with_training": [
            np.mean([at(key, 100, "class", "linear_accuracy", layer=layer)
                     - at(key, 0, "class", "linear_accuracy", layer=layer) for layer in range(LAST + 1)])
            for key in keys
        ],
        "last_layer_is_not_best_for_classes": [
            max((at(key, 30, "class", "linear_accuracy", layer=layer),
                 at(key, 100, "class", "linear_accuracy", layer=layer)) for layer in range(LAST))[1]
            - at(key, 100, "class", "linear_accuracy")
            for key in keys
        ],
    }  # fmt: skip
    for name, numbers in wanted.items():
        one = found.loc[name]
        assert one["estimate"] == pytest.approx(np.mean(numbers), abs=1e-12), name
        low, high = stats.t.interval(0.95, 2, np.mean(numbers), stats.sem(numbers)) if np.ptp(numbers) else (1, 1)
        if np.ptp(numbers) > 1e-9:
            assert (one["low"], one["high"]) == (pytest.approx(low), pytest.approx(high)), name


def test_methods_are_compared_within_depth_width_and_seed() -> None:
    table = study((2, 3), (16,), (0, 1, 2))
    found = check(table, names=["augmentation_raises_test_accuracy"]).iloc[0]
    rows = table[(table["metric"] == "ncc_accuracy") & (table["level"] == "class") & (table["split"] == "test")]
    rows = rows[(rows["layer_name"] == "representation") & (rows["epoch"] == 100)]
    differences = []
    for seed in (0, 1, 2):
        one = [rows[(rows["method"] == method) & (rows["seed"] == seed)].sort_values("depth")["value"].to_numpy()
               for method in ("supervised", NO_AUGMENTATION)]  # fmt: skip
        differences.append((one[0] - one[1]).mean())
    assert found["estimate"] == pytest.approx(np.mean(differences)) and found["basis"] == "3 seeds of 2 networks"
    assert found["num_trials"] == 6


def spearman(x: Any, y: Any) -> float:
    return float(np.asarray(stats.spearmanr(x, y))[0])


def frame(values: dict[tuple[str, int], float]) -> Frame:
    return pd.DataFrame([(network, seed, value) for (network, seed), value in values.items()],
                        columns=["network", "seed", "value"])  # fmt: skip


def test_the_interval_is_over_seeds_or_networks_whichever_there_are_more_of() -> None:
    one_seed = estimate(frame({("a", 0): 1.0, ("b", 0): 2.0, ("c", 0): 4.0}))
    assert one_seed.basis == "3 networks, one seed" and one_seed.mean == pytest.approx(7 / 3)
    assert one_seed[1:3] == pytest.approx(stats.t.interval(0.95, 2, 7 / 3, stats.sem([1, 2, 4])))
    far_apart = {"a": 0.0, "b": 10.0}
    seeds = estimate(frame({(name, seed): start + seed for name, start in far_apart.items() for seed in (0, 1, 2)}))
    assert seeds.basis == "3 seeds of 2 networks"  # networks that differ by 10 widen nothing
    assert seeds[1:3] == pytest.approx(stats.t.interval(0.95, 2, 6, stats.sem([5, 6, 7])))
    single = estimate(frame({("a", 0): 3.0}))
    assert single.basis == "one trial" and single.mean == 3 and math.isnan(single.low)
    uneven = estimate(frame({("a", 0): 1.0, ("a", 1): 3.0, ("b", 0): 100.0}))
    assert uneven.basis == "2 seeds" and uneven.mean == 2 and uneven.num_trials == 2


def test_t_interval_has_its_coverage() -> None:
    rng = np.random.default_rng(0)
    hits = [low < 1 < high for low, high in (t_interval(rng.normal(1, 3, 4)) for _ in range(400))]
    assert 0.92 < np.mean(hits) < 0.98


def test_a_verdict_needs_the_whole_interval_on_one_side() -> None:
    claim = every_claim()[0]._replace(direction="above", bound=0.0)
    assert isinstance(claim, Claim)
    assert judge(claim, Estimate(1, 0.5, 1.5, 3, "3 seeds", 3))[0] == HOLDS
    assert judge(claim, Estimate(-1, -1.5, -0.5, 3, "3 seeds", 3))[0] == FAILS
    assert judge(claim, Estimate(1, -0.5, 2.5, 3, "3 seeds", 3))[0] == UNKNOWN
    verdict, note = judge(claim, Estimate(1, math.nan, math.nan, 1, "one trial", 1))
    assert verdict == UNKNOWN and "one trial" in note
    assert judge(claim, Estimate(1, 1, 1, 2, "2 seeds", 2))[0] == UNKNOWN
    assert judge(claim, Estimate(1, 1, 1, 3, "3 seeds", 3))[0] == HOLDS


def test_an_interval_ends_where_possible_values_do() -> None:
    assert Estimate(-0.55, -1.03, -0.07, 4, "4 networks", 4).within(-1, 1)[1:3] == (-1, -0.07)
    assert math.isnan(Estimate(0.5, math.nan, math.nan, 1, "one trial", 1).within(0, 1).low)


def test_targets_count_by_their_measured_randomness_and_once() -> None:
    levels = ["teacher-0.00", "teacher-0.25", "teacher-0.50", "teacher-0.75", "teacher-1.00", "noise-0.50"]
    table = pd.DataFrame({"level": levels, "metric": "target_randomness", "value": [0.0, 0.0, 0.95, 0.95, 1.0, 0.5]})
    assert measured_randomness(table) == {"teacher-0.00": 0.0, "teacher-0.75": 0.95, "teacher-1.00": 1.0}
    assert measured_randomness(table.assign(metric="cdnv"))["teacher-0.25"] == 0.25


def test_rank_correlation_is_scipys() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, 30), rng.normal(size=30)
    assert rank_correlation(x, y) == pytest.approx(spearman(x, y))
    assert rank_correlation(x[:2], y[:2]) is None and rank_correlation(np.ones(5), y[:5]) is None


def test_methods_and_data_sets_have_verdicts_of_their_own() -> None:
    both = study(methods=("vicreg", "byol"), seeds=(0,), epochs=(0, 1, 3, 10))
    rows = check(pd.concat([both, both.assign(dataset="cifar10")]), names=NAMES)
    assert len(rows) == 2 * (2 * (len(NAMES) - 5) + 5)
    assert set(rows["method"]) == {"", "vicreg", "byol"}


def test_the_command_prints_writes_and_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = study(seeds=(0,), methods=("vicreg",)).query("level != 'sample'")
    write_table(table, tmp_path)
    assert command.main(["claims", str(tmp_path)]) == EXIT_DONE
    out = capsys.readouterr().out
    assert (
        f"\n  python -m analysis {tmp_path} --levels sample\n      sample_clusters_form, " in out and "one trial" in out
    )
    assert out.count("sample_ncc_then_flat") == 1
    for_one, never = (out.partition(f"{title}:\n")[2] for title in (UNKNOWN, "not measured"))
    assert "one trial" in for_one.partition("not measured:")[0] and "one trial" not in never
    read = pd.read_csv(tmp_path / "figures" / "claims.csv", keep_default_na=False)
    rows = json.loads((tmp_path / "figures" / "claims.json").read_text())
    assert list(read["claim"]) == [row["claim"] for row in rows]
    assert set(read["claim"]) == {claim.name for claim in every_claim()}
    sample = next(row for row in rows if row["claim"] == "sample_ncc_then_flat")
    assert sample["estimate"] is None and sample["verdict"] == UNKNOWN
    nothing = sum(row["num_trials"] == 0 for row in rows)
    few = sum(row["verdict"] == UNKNOWN for row in rows) - nothing
    assert f" {few} {UNKNOWN}, {nothing} not measured\n" in out and few and nothing


def test_a_folder_that_is_given_twice_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, link = tmp_path / "sweep", tmp_path / "link"
    write_table(study(seeds=(0, 1), methods=("vicreg",)), folder)
    link.symlink_to(folder)
    assert command.main(["claims", str(folder)]) == EXIT_DONE
    once = capsys.readouterr().out
    assert command.main(["claims", str(folder), f"{folder}/", str(link)]) == EXIT_DONE
    said = "".join(f"{other} is the same folder as {folder}: taken once\n" for other in (f"{folder}/", link))
    assert capsys.readouterr().out == said + once
    assert {path.name for path in (folder / "figures").iterdir()} == {"claims.csv", "claims.json"}


def test_of_what_was_measured_but_cannot_be_computed_there_is_not_enough(found: Frame) -> None:
    rows = found.iloc[:6].assign(
        verdict=[HOLDS, FAILS, FAILS, UNKNOWN, UNKNOWN, UNKNOWN], num_trials=[3, 3, 3, 0, 0, 1],
        note=["", "", "", "needs cdnv: python -m analysis A", f"{NOT_COMPUTED}, for too few", "one trial"],
    )  # fmt: skip
    assert tally(rows) == "1 holds, 2 do not hold, 2 not enough data, 1 not measured"
    assert list(rows["verdict"]) == [HOLDS, FAILS, FAILS, *[UNKNOWN] * 3]


def test_text_is_aligned_and_json_has_no_nan(found: Frame) -> None:
    lines = as_text(found.reset_index()).splitlines()
    column = lines[0].index("verdict")
    assert all(line[column:] == HOLDS for line in lines[1:])
    assert "NaN" not in as_json(found.reset_index())


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["claims", str(tmp_path / "nothing")]) == EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "there is no folder" in error and error.count("\n") == 1


def test_a_sweep_that_is_not_measured_is_told_how_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = Storage.at(str(tmp_path)).child("two words")
    Ledger(sweep).write_config(make_trials([PretrainConfig()], "data")[0])
    assert command.main(["claims", str(tmp_path / "two words")]) == EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert f"python -m analysis '{tmp_path}/two words'" in error and error.count("\n") == 1
