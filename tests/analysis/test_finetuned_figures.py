"""Figures and claims of fine-tuning: numbers are those of a naive choice on validation images, verdicts of the data."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import __main__ as command
from analysis.claims import check
from analysis.claims.base.contract import FAILS, HOLDS, UNKNOWN
from analysis.claims.base.standing import named_apart
from analysis.claims.finetuning import CLAIMS
from analysis.figures.base import draw_one, why_not_drawn
from analysis.figures.base.numbers import Frame
from analysis.finetuned_choice import (
    CASE,
    FT,
    LP,
    LP_FT,
    TEST,
    USUAL,
    chosen,
    is_fine_tuned,
    of_epoch,
    side_by_side,
    which_checkpoints,
)
from analysis.finetuned_outcomes import choose
from analysis.report.domain_tables import finetuning_table
from analysis.report.tables import claims_table
from analysis.survey import columns
from analysis.table import SCHEMA
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.errors import UserError
from ray_ssl.ledger import make_trials
from ray_ssl.plugins import plugin_module
from tests.analysis.figure_tables import FINE_TUNED_NAMES, points, synthetic
from tests.analysis.finetuned_tables import BEST, RATES, fine_tuned
from tests.analysis.test_figures import assert_drawn_from_numbers, assert_fit_for_print, assert_no_text_overlaps
from tests.analysis.written_tables import write_table

NAMES = [claim.name for claim in CLAIMS]
SHAPES = {
    "three checkpoints": lambda: fine_tuned(),
    "one seed, one checkpoint": lambda: fine_tuned((0,), (100,)),
    "no target": lambda: fine_tuned((0, 1), (0, 10)).query("split != 'target'"),
    "many": lambda: fine_tuned((0, 1), (100,), 14, "folder:/a/path" * 12, ("vicreg-2-16", "swav-2-16", "x-resnet18"),
                               settings=("", "frozen BatchNorm")),
    "strengths": lambda: pd.concat(fine_tuned(pretrained=(100,), dataset=f"shapes-blur:{s}", strength=s)
                                   for s in (0.25, 0.5, 1.0)),
}  # fmt: skip


@pytest.fixture(scope="module")
def table() -> Frame:
    return fine_tuned()


@pytest.mark.parametrize(
    ("shape", "words", "lacks"),
    [
        ("many", "of 6 networks the first and the last by name (the CSV has all)", "newest"),
        ("three checkpoints", "pretrained for 100 epochs, the newest checkpoint that was fine-tuned; ", "networks"),
    ],
)
def test_a_figure_says_which_networks_it_shows(shape: str, words: str, lacks: str) -> None:
    figure = plugin_module("analysis.figures", "feature_distortion").draw(SHAPES[shape]())
    (note,) = (text.get_text().replace("\n", " ") for text in figure.texts if "test images" in text.get_text())
    assert words in note and lacks not in note


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FINE_TUNED_NAMES)
def test_every_figure_is_drawn_from_its_numbers_and_fits(name: str, shape: str) -> None:
    module, table = plugin_module("analysis.figures", name), SHAPES[shape]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure, numbers = module.draw(table), module.numbers(table)
        assert (figure is None) == numbers.empty == (name == "finetuning_gain" and shape == "no target")
        if figure is None:
            return
        figure.draw_without_rendering()
    drawn = np.concatenate([line.get_ydata() for ax in figure.axes for line in points(ax)])
    assert np.isfinite(drawn).all() and set(drawn) <= set(numbers["mean"])
    if shape != "many":
        assert_drawn_from_numbers(figure, numbers.assign(network="one"), "y")
    assert_no_text_overlaps(figure)
    assert_fit_for_print(figure)


def test_means_and_intervals_are_those_of_the_rate_and_epoch_that_validation_chose(table: Frame) -> None:
    numbers = plugin_module("analysis.figures", "finetuning").numbers(table)
    assert len(numbers) == 3 * 3 * 2  # checkpoints, protocols, images
    heads = table[table["metric"] == "head_accuracy"]
    for _, found in numbers.iterrows():
        end = f"-e{found['pretrained_epoch']}" + ("" if found["protocol"] == FT else " (probed head)")
        values = []
        for seed in range(3) if found["protocol"] != LP else [0]:
            rows = heads[heads["method"].str.endswith(end) & (heads["seed"] == seed)]
            rows = rows[(rows["epoch"] == 0) if found["protocol"] == LP else (rows["epoch"] > 0)]
            best = rows[rows["split"] == "validation"].sort_values("value").iloc[-1]
            there = (rows["trial_key"] == best["trial_key"]) & (rows["epoch"] == best["epoch"])
            values.append(rows.loc[there & (rows["split"] == found["images"]), "value"].item())
        assert found["mean"] == pytest.approx(np.mean(values)) and found["n"] == len(values)
        if len(values) == 3:
            low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
            assert found["spread"] == pytest.approx((high - low) / 2)
        else:
            assert math.isnan(found["spread"])  # the probe has no seed


def test_the_table_alone_chooses_what_the_configurations_choose() -> None:
    base = PretrainConfig.from_dict({"method": {"name": "supervised", "start": "vicreg-5-32-s1-e9@0123456789abcdef"}})
    changes = [{"method.head": head, "method.batch_norm": norm, "optimiser.learning_rate": rate, "seed": seed}
               for head in ("fresh", "probe") for norm in ("train", "frozen") for rate in (0.1, 0.01, 0.03)
               for seed in (0, 1)]  # fmt: skip
    trials = make_trials([replace(base, change) for change in changes], "images")
    rng = np.random.default_rng(0)
    rows = []
    for trial in trials:
        for epoch in range(4):
            about = tuple(columns(trial.config, "sweep", trial.key, "set", epoch))
            for split in ("validation", "test", "target"):
                accuracy = rng.integers(1, 4) / 4 if split == "validation" else rng.random()  # many ties
                if epoch == 0:
                    accuracy = 0.5  # the probe's
                at = (*about, 6, "representation")
                rows.append((*at, "class", split, "head_accuracy", accuracy))
                rows += [(*at, "none", split, f"{kind}feature_distance", 0.0) for kind in ("", "relative_")]
            rows.append((*about, 6, "representation", "none", "train", "peak_learning_rate",
                         trial.config.optimiser.learning_rate))  # fmt: skip
    table = pd.DataFrame(rows, columns=SCHEMA.names)
    wanted = {(c.case.protocol, c.case.batch_norm, c.case.seed): (c.rate, c.epoch, c.accuracy["target"])
              for c in choose(trials, table) if c.case.protocol != LP}  # fmt: skip
    found = chosen(table)
    assert len(found) == 8 + 2 and set(found["network"]) == {"vicreg-5-32"}
    assert set(found["pretrained_seed"]) == {1} and set(found["pretrained_epoch"]) == {9}
    tuned = found[found["protocol"] != LP]
    norms = tuned["setting"].map({"": "train", "frozen BatchNorm": "frozen"})
    keys = zip(tuned["protocol"], norms, tuned["seed"], strict=True)
    assert dict(zip(keys, zip(tuned["rate"], tuned["epoch"], tuned["target"], strict=True), strict=True)) == wanted


def test_trials_that_share_a_rate_are_left_out(table: Frame) -> None:
    twin = table[(table["seed"] == 1) & table["method"].str.endswith("-e10")]
    found = chosen(pd.concat([table, twin.assign(trial_key=twin["trial_key"] + "f")]))
    assert len(found) == len(chosen(table)) - 1
    gone = (found["seed"] == 1) & (found["pretrained_epoch"] == 10) & (found["protocol"] == FT)
    assert not gone.any() and not found.duplicated([*CASE, "protocol"]).any()


def test_two_budgets_of_the_same_trials_are_said_to_be_that(table: Frame) -> None:
    longer = table.assign(trial_key=table["trial_key"] + "f")
    found: Frame = check(pd.concat([table, longer]), names=NAMES)
    assert set(found["verdict"]) == {UNKNOWN}
    assert found["note"].str.contains("sweeps with other --epochs or images .*: one sweep by itself").all()


def test_intervals_are_over_pretrainings_where_there_are_several() -> None:
    table = fine_tuned(pretrained=(100,), pretrained_seeds=(0, 1))
    numbers = plugin_module("analysis.figures", "finetuning").numbers(table)
    assert set(numbers["n"]) == {2}
    found = chosen(table)
    means = found[found["protocol"] == FT].groupby("pretrained_seed")["target"].mean()
    one = numbers[(numbers["protocol"] == FT) & (numbers["images"] == "target")]
    assert one["mean"].item() == pytest.approx(means.mean())
    assert check(table, names=NAMES).set_index("claim").loc["lp_above_ft_in_target", "basis"] == "2 seeds"


def test_distances_are_of_the_chosen_trial(table: Frame) -> None:
    numbers = plugin_module("analysis.figures", "feature_distortion").numbers(table)
    assert set(numbers["pretrained_epoch"]) == {100} and set(numbers["protocol"]) == {FT, LP_FT}
    rates = table[table["metric"] == "peak_learning_rate"].query(f"value == {RATES[BEST]}")["trial_key"].unique()
    rows = table[table["trial_key"].isin(rates) & table["method"].str.endswith("-e100")]
    rows = rows[(rows["metric"] == "feature_distance") & (rows["split"] == "target")]
    one = numbers[(numbers["protocol"] == FT) & (numbers["metric"] == "feature_distance")]
    one = one[one["images"] == "target"]
    by_epoch = one[one["by"] == "epoch"].set_index("at")["mean"]
    wanted = rows[rows["layer_name"] == "representation"].groupby("epoch")["value"].mean()
    assert by_epoch.to_dict() == pytest.approx(wanted.to_dict())
    assert sorted(one.loc[one["by"] == "layer", "at"]) == [0, 1, 2, 3]


def test_the_gain_is_drawn_by_strength_where_there_are_several() -> None:
    module = plugin_module("analysis.figures", "finetuning_gain")
    numbers = module.numbers(SHAPES["strengths"]())
    assert set(numbers.loc[numbers["by"] == "strength", "dataset"]) == {"shapes, blur"}
    assert numbers.loc[numbers["by"] == "strength", "at"].tolist() == [0.25, 0.5, 1.0]
    assert "lines (the CSV has all)" not in words_of(module.draw(fine_tuned()))  # a line by probe is no further one
    assert "vicreg-2-16 on shapes-blur:0.5; test images" in words_of(module.draw(fine_tuned()))
    plain = module.numbers(fine_tuned())
    assert set(plain["by"]) == {"pretrained_epoch", "probe"}
    # each epoch stands once more at what its probe has in the source
    by_epoch, by_probe = (plain[plain["by"] == by].sort_values("mean") for by in ("pretrained_epoch", "probe"))
    assert by_epoch["mean"].tolist() == pytest.approx(by_probe["mean"].tolist())
    wide = side_by_side(chosen(fine_tuned()), TEST).groupby("pretrained_epoch")[LP].mean()
    assert by_probe["at"].tolist() == pytest.approx([100 * wide[epoch] for epoch in by_epoch["at"]], abs=0.01)


def test_other_figures_leave_fine_tuned_trials_out(tmp_path: Path, table: Frame) -> None:
    plain = synthetic((2,), (16,), dataset="shapes-blur:0.5")
    both = pd.concat(
        [plain, synthetic((2,), (16,), dataset="shapes-blur:0.5", methods=tuple(table["method"].unique()))]
    )
    for name in ("accuracy_by_epoch", "accuracy_by_method"):
        alone, together = (draw_one(name, one, tmp_path / folder) for one, folder in ((plain, "a"), (both, "b")))
        assert [path.read_bytes() for path in alone] == [path.read_bytes() for path in together]
    assert "leaves out fine-tuned networks" in why_not_drawn("accuracy_by_epoch", table, "results/x")
    assert "sweeps/finetune.py --from results/x" in why_not_drawn("finetuning", plain, "results/x")
    assert is_fine_tuned("supervised on superclass from vicreg-5-32-s0-e1 (probed head) (frozen BatchNorm)")
    assert not is_fine_tuned("supervised on superclass (no augmentation)")


CONTRARY = {
    "ft_at_least_lp_in_source": ("head_accuracy", "test", lambda rows: 0.5 - 0.01 * rows["epoch"]),
    "lp_above_ft_in_target": ("head_accuracy", "target", lambda rows: 0.5 + 0.01 * rows["epoch"]),
    "lp_ft_at_least_ft_in_source": (
        "head_accuracy", "test", lambda rows: 0.5 - 0.1 * rows["method"].str.contains("probed")
    ),
    "lp_ft_at_least_lp_in_target": ("head_accuracy", "target", lambda rows: 0.5 - 0.01 * rows["epoch"]),
    "ft_distorts_source_more": ("feature_distance", "target", lambda rows: 2 * rows["value"]),
    "lp_ft_distorts_less": ("feature_distance", "test", lambda rows: 1.0 + rows["method"].str.contains("probed")),
}  # fmt: skip


def test_claims_hold_where_their_trends_are_in_the_table(table: Frame) -> None:
    found: Frame = check(table, names=NAMES)
    assert found.set_index("claim")["verdict"].to_dict() == dict.fromkeys(NAMES, HOLDS)
    assert (found["basis"] == "3 fine-tunings of one encoder").all() and set(CONTRARY) == set(NAMES)


def test_intervals_count_encoders_whatever_was_fine_tuned_of_them() -> None:
    norms = ("", "frozen BatchNorm")
    once: Frame = check(fine_tuned((0,), (100,), settings=norms), names=NAMES)
    assert once["low"].isna().all()  # one encoder, in two modes
    plain = fine_tuned((0, 1), (100,), pretrained_seeds=(0, 1, 2), networks=("vicreg-2-16", "swav-2-16"))
    both = pd.concat([plain, plain.assign(
        method=plain["method"] + f" ({norms[1]})", trial_key=plain["trial_key"] + "f",
        value=plain["value"] * (1 - 0.5 * (plain["split"] == "target")),
    )])  # fmt: skip
    alone: Frame = check(plain, names=NAMES)
    found: Frame = check(both, names=NAMES)
    assert (found["basis"] == "3 seeds of 2 networks").all() and found.groupby("method").size().to_dict() == {
        name: len(NAMES) for name in norms
    }
    pd.testing.assert_frame_equal(found[found["method"] == ""].reset_index(drop=True), alone)
    frozen = found[found["method"] == norms[1]].set_index("claim")
    assert frozen.loc["ft_distorts_source_more", "estimate"] == pytest.approx(
        2 * alone.set_index("claim").loc["ft_distorts_source_more", "estimate"]
    )
    two: Frame = check(fine_tuned(pretrained=(100,), networks=("vicreg-2-16", "swav-2-16")), names=NAMES)
    assert (two["basis"] == "2 networks, one seed").all()  # whose fine-tunings are more, and no encoders


def test_claims_say_which_checkpoints_count_and_can_judge_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: Frame
) -> None:
    said = which_checkpoints(table)
    assert "the last, epoch 100, counts; those of epochs 0, 10 do not" in said
    assert which_checkpoints(of_epoch(table, 10)) == which_checkpoints(synthetic((2,), (16,))) == ""
    assert "that of epoch 0 does not" in which_checkpoints(fine_tuned(pretrained=(0, 10)))
    alone: Frame = check(fine_tuned(pretrained=(10,)), names=NAMES)
    found: Frame = check(of_epoch(table, 10), names=NAMES)
    assert found["verdict"].tolist() == alone["verdict"].tolist()
    write_table(table, tmp_path)
    last, tenth = tmp_path / "figures" / "claims.csv", tmp_path / "figures" / "claims-from-epoch-10.csv"
    assert command.main(["claims", str(tmp_path)]) == 0 and f"note: {said}\n" in capsys.readouterr().out
    before = last.read_bytes()
    assert (
        command.main(["claims", str(tmp_path), "--from-epoch", "10"]) == 0
        and "of epoch 10 alone count" in capsys.readouterr().out
    )
    assert last.read_bytes() == before != tenth.read_bytes()
    with pytest.raises(UserError, match="--from-epoch 7: no fine-tuned checkpoint is of that epoch; there are 0, 10, "):
        of_epoch(table, 7)
    assert f"O{said[1:]}." in claims_table(check(table, names=NAMES), said)


def test_both_modes_of_batch_norm_are_named_where_both_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: Frame
) -> None:
    dataset = "cifar100-subpopulations"
    both = fine_tuned((0, 1), (10, 100), dataset=dataset, settings=("", "frozen BatchNorm"))
    write_table(both, tmp_path)
    assert command.main(["claims", str(tmp_path)]) == 0
    heads = [line for line in capsys.readouterr().out.splitlines() if line.endswith(f" on {dataset}")]
    assert heads == [f"{name} on {dataset}" for name in (USUAL, "frozen BatchNorm")]
    assert set(named_apart(check(table, names=NAMES))["method"]) == {""}
    assert USUAL in claims_table(check(both, names=NAMES)) and USUAL in finetuning_table(both)
    figure = plugin_module("analysis.figures", "finetuning_gain").draw(both)
    words = " ".join(text.get_text() for text in figure.texts)
    for name in (USUAL, "frozen BatchNorm"):
        assert f"vicreg-2-16, {name} on {dataset}" in words


def test_the_probe_of_another_setting_stands_in_all(table: Frame) -> None:
    probed = table["method"].str.contains("probed")
    frozen = table[~probed].assign(method=table["method"] + " (frozen BatchNorm)", trial_key=table["trial_key"] + "f")
    found: Frame = check(pd.concat([table, frozen]), names=["lp_above_ft_in_target"])
    assert found["method"].tolist() == ["", "frozen BatchNorm"]
    assert found["estimate"].nunique() == 1 and found["verdict"].tolist() == [HOLDS, HOLDS]


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_does_not_hold_where_the_numbers_say_the_contrary(name: str, table: Frame) -> None:
    metric, split, contrary = CONTRARY[name]
    changed = (table["metric"] == metric) & (table["split"] == split)
    noise = 0.001 * np.random.default_rng(0).normal(size=len(table)) * (table["epoch"] > 0)
    values = contrary(table[changed]).reindex(table.index) + noise
    one = check(table.assign(value=table["value"].where(~changed, values)), names=[name]).iloc[0]
    assert one["verdict"] == FAILS, one.to_dict()


def test_a_rate_at_the_edge_of_the_grid_is_said(table: Frame) -> None:
    rates = table["metric"] == "peak_learning_rate"
    chosen_rate = chosen(table).query("protocol == 'ft'")["rate"].max()
    assert table.loc[rates, "value"].max() > chosen_rate
    assert not check(table, names=NAMES)["note"].str.contains("learning rate").any()
    above = table.loc[rates & (table["value"] > chosen_rate), "trial_key"]
    one = check(table[~table["trial_key"].isin(above)], names=["ft_at_least_lp_in_source"]).iloc[0]
    assert one["verdict"] == HOLDS and f"FT chose the largest learning rate of the grid, {chosen_rate:g}" in one["note"]


def test_of_one_rate_nothing_was_chosen(table: Frame) -> None:
    rates = table[table["metric"] == "peak_learning_rate"].groupby("trial_key")["value"].first()
    single = table[table["trial_key"].map(rates) == RATES[BEST]]
    one = check(single, names=["ft_at_least_lp_in_source"]).iloc[0]
    assert one["note"] == (
        f"FT had one learning rate that did not fail to choose from, {RATES[BEST]:g}, in 3 of 3 cases: other "
        "--learning-rates may be better"
    )
    # Another encoder's grid is not this one's: with a single rate it chose neither end.
    wider = table.assign(
        method=table["method"].str.replace("vicreg", "swav"), trial_key=table["trial_key"].str.replace("0", "1", n=1)
    )
    note = check(pd.concat([single, wider]), names=["ft_at_least_lp_in_source"]).iloc[0]["note"]
    assert "in 3 of 6 cases" in note and "grid" not in note


def test_claims_without_their_measurements_say_what_gives_them(table: Frame) -> None:
    plain: Frame = check(synthetic((2,), (16,)), "results/x", NAMES)
    assert set(plain["verdict"]) == {UNKNOWN}
    assert plain["note"].str.contains("finetune.py --from results/x").all()
    fresh = table[~table["method"].str.contains("probed")]
    no_probe: Frame = check(fresh, names=["lp_ft_distorts_less"])
    assert no_probe["note"].str.contains("--heads probe").all()
    no_target: Frame = check(table[table["split"] != "target"], names=["lp_above_ft_in_target"])
    assert no_target["note"].str.contains("with a --shift").all()
    one_seed: Frame = check(fine_tuned((0,)), names=NAMES)
    assert one_seed["note"].str.contains("one trial").all()


def test_the_floor_of_batch_norm_is_said_where_it_is(table: Frame) -> None:
    of_distances = {"ft_distorts_source_more", "lp_ft_distorts_less"}
    notes = check(table, names=NAMES).set_index("claim")["note"]
    assert {name for name in NAMES if "a floor under both distances" in notes[name]} == of_distances
    assert set(notes[[name for name in NAMES if name not in of_distances]]) == {""}
    frozen = fine_tuned(settings=("frozen BatchNorm",))
    notes = check(frozen, names=NAMES).set_index("claim")["note"]
    assert notes.pop("ft_distorts_source_more").startswith(
        "over the spread of the features on the same images the ratio"
    )
    assert set(notes) == {""}
    module = plugin_module("analysis.figures", "feature_distortion")
    assert "the drift of its statistics is in the distance" in words_of(module.draw(table))
    assert "drift" not in words_of(module.draw(frozen))


def test_fine_tuning_of_untrained_encoders_is_named() -> None:
    concerned = {"lp_ft_at_least_ft_in_source", "lp_ft_at_least_lp_in_target", "lp_ft_distorts_less"}
    untrained, frozen = (fine_tuned(pretrained=(0,), settings=(name,)) for name in ("", "frozen BatchNorm"))
    notes = check(untrained, names=NAMES).set_index("claim")["note"]
    assert {name for name in NAMES if "in 3 of 3 cases the encoder was untrained" in notes[name]} == concerned
    for table in (frozen, fine_tuned()):  # the newest checkpoint counts
        assert not check(table, names=NAMES)["note"].str.contains("untrained").any()
    module = plugin_module("analysis.figures", "finetuning_gain")
    said = "at 0 epochs (BatchNorm in training) LP-FT does not begin as its probe"
    assert said in words_of(module.draw(fine_tuned()))
    for table in (frozen, fine_tuned(pretrained=(10, 100))):
        assert said not in words_of(module.draw(table))


def test_figures_say_what_intervals_are_over_as_claims_do(table: Frame) -> None:
    several = fine_tuned((0, 1), (100,), pretrained_seeds=(0, 1, 2))
    for one, words in ((table, "3 fine-tunings of one encoder"), (several, "3 seeds")):
        assert set(check(one, names=NAMES)["basis"]) == {words}
        for name in FINE_TUNED_NAMES:
            figure = plugin_module("analysis.figures", name).draw(one)
            assert f"95% interval over {words}" in words_of(figure), name


def test_claims_count_the_trials_behind_them(table: Frame) -> None:
    several = fine_tuned((0, 1), (100,), pretrained_seeds=(0, 1, 2))
    for one, cases in ((table, 3), (several, 6)):
        num_trials: Frame = check(one, names=NAMES).set_index("claim")["num_trials"]
        assert num_trials["lp_above_ft_in_target"] == cases  # the probe is no fine-tuning
        assert num_trials["lp_ft_distorts_less"] == 2 * cases


def words_of(figure: Any) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
