"""The paper's panels: their numbers are those of a naive loop over the table, and the command says what is lacking."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.figures import __main__ as command
from analysis.figures.base.numbers import Frame
from analysis.figures.base.panels import with_bands
from ray_ssl.errors import EXIT_BAD_INPUT, EXIT_DONE, UserError
from ray_ssl.plugins import plugin_module, plugin_names
from tests.analysis.figure_tables import lookup, points
from tests.analysis.study_tables import NO_AUGMENTATION, study
from tests.analysis.test_figures import assert_drawn_from_numbers, assert_fit_for_print, assert_no_text_overlaps
from tests.analysis.written_tables import write_table

PANELS = [name for name in plugin_names("analysis.figures") if name[:4] in ("fig2", "fig3", "fig4", "fig5")]
EPOCHS = (0, 1, 10)
LAST = 3  # layer of the representation


@cache
def table() -> Frame:
    return study((2,), (16,), (0, 1), epochs=EPOCHS)


def numbers(name: str) -> Frame:
    return plugin_module("analysis.figures", name).numbers(table())


def keys(method: str = "vicreg") -> list[str]:
    return sorted(table().loc[table()["method"] == method, "trial_key"].unique())


def is_mean_of(row: Frame, values: list[float]) -> bool:
    """Whether mean, spread and n are those of these values, one a seed."""
    assert row["n"] == len(values)
    assert row["mean"] == pytest.approx(sum(values) / len(values))
    return row["spread"] == pytest.approx(np.std(values, ddof=1))


@pytest.mark.parametrize("name", PANELS)
@pytest.mark.parametrize("networks", ["one", "six"])
def test_a_panel_is_drawn_from_its_numbers_and_fit_for_print(name: str, networks: str) -> None:
    rows = table() if networks == "one" else study((2, 5, 10), (16, 32), (0,), ("vicreg",), EPOCHS)
    module = plugin_module("analysis.figures", name)
    figure = module.draw(rows)
    if networks == "six" and name == "fig3_right":
        assert figure is None
        return
    figure.draw_without_rendering()
    assert_drawn_from_numbers(figure, module.numbers(rows), "y")
    assert_no_text_overlaps(figure)
    assert_fit_for_print(figure)


def test_there_are_all_panels() -> None:
    assert {f"fig{i}_{side}" for i in (2, 3, 4, 5) for side in ("left", "middle", "right")} == set(PANELS)


def test_accuracies_by_level_and_epoch() -> None:
    value = lookup(table())
    for _, row in numbers("fig2_left").iterrows():
        at = (row["epoch"], LAST, row["level"], "train", "ncc_accuracy")
        assert is_mean_of(row, [value[(key, *at)] for key in keys()])
    assert len(numbers("fig2_left")) == 2 * len(EPOCHS)
    for _, row in numbers("fig2_right").iterrows():
        found = []
        for key in keys():
            end, start = (value[key, e, LAST, row["level"], "test", "linear_accuracy"] for e in (row["epoch"], 0))
            found.append(end / start if row["shown"] == "relative" else end)
        assert is_mean_of(row, found)
    assert len(numbers("fig2_right")) == 2 * 3 * len(EPOCHS)


def test_losses_stand_beside_accuracy_at_their_own_epochs() -> None:
    value = lookup(table())
    found = numbers("fig3_left")
    for _, row in found.iterrows():
        at = (LAST, "class", "test") if row["metric"] == "linear_accuracy" else (-1, "none", "train")
        assert is_mean_of(row, [value[(key, row["epoch"], *at, row["metric"])] for key in keys()])
    epochs = {metric: set(rows["epoch"]) for metric, rows in found.groupby("metric")}
    curve = set(range(1, 11))
    assert epochs == {"invariance": curve, "regularisation": curve, "linear_accuracy": set(EPOCHS)}


def test_mutual_information_has_the_spread_of_the_critics_and_the_ceiling_of_each_bound() -> None:
    value = lookup(table())
    found = numbers("fig3_middle")
    assert found.groupby("bound")["epoch"].nunique().to_dict() == dict.fromkeys(("mi_dv", "mi_infonce", "mi_nwj"), 3)
    for _, row in found.iterrows():
        bound, spread = ([value[key, row["epoch"], LAST, "none", "test", f"{row['bound']}{part}"] for key in keys()]
                         for part in ("", "_std"))  # fmt: skip
        assert row["mean"] == pytest.approx(np.mean(bound)) and row["spread"] == pytest.approx(np.mean(spread))
        assert row["over_seeds"] == pytest.approx(np.std(bound, ddof=1))
        assert row["ceiling"] == pytest.approx(math.log(512))
    module = plugin_module("analysis.figures", "fig3_middle")
    of_layers = table()[lambda rows: rows["metric"].str.startswith("mi_")].assign(level="layer-00", value=0.1)
    pd.testing.assert_frame_equal(module.numbers(pd.concat([table(), of_layers])), module.numbers(table()))
    figure = module.draw(table())
    assert len(points(figure.axes[0])) == 3, "one network: the bounds in one panel"
    rules = [line for line in figure.axes[0].lines if line not in points(figure.axes[0])]
    assert [float(np.asarray(line.get_ydata())[0]) for line in rules] == [pytest.approx(math.log(512), abs=1e-5)]


def test_supervised_and_self_supervised_share_a_scale_on_both_splits() -> None:
    value = lookup(table())
    found = numbers("fig3_right")
    assert set(found["method"]) == {"vicreg", "supervised", NO_AUGMENTATION}
    for _, row in found.iterrows():
        at = (row["epoch"], LAST, "class", row["split"], "ncc_accuracy")
        assert is_mean_of(row, [value[(key, *at)] for key in keys(row["method"])])
    axes = plugin_module("analysis.figures", "fig3_right").draw(table()).axes
    assert len({ax.get_ylim() for ax in axes}) == 1


def test_networks_trained_on_a_target_are_not_in_the_panel_of_supervision() -> None:
    other = table()[table()["method"] == "supervised"].assign(method="supervised on teacher-0.25")
    rows = pd.concat([table(), other.assign(trial_key=other["trial_key"] + "t")])
    found = plugin_module("analysis.figures", "fig3_right").numbers(rows)
    assert "supervised on teacher-0.25" not in set(found["method"])


def test_targets_by_epoch_by_layer_and_semantic_over_random() -> None:
    value = lookup(table())
    for _, row in numbers("fig4_left").iterrows():
        at = (row["epoch"], LAST, f"teacher-{row['randomness']}", "test", "linear_accuracy")
        assert is_mean_of(row, [value[(key, *at)] for key in keys()])
    layers = numbers("fig4_middle")
    assert set(layers["epoch"]) == {10} and set(layers["layer"]) == {0, 1, 2, 3}
    for _, row in layers.iterrows():
        at = (10, row["layer"], f"teacher-{row['randomness']}", "test", "linear_accuracy")
        assert is_mean_of(row, [value[(key, *at)] for key in keys()])
    for _, row in numbers("fig4_right").iterrows():
        pairs = [[value[key, row["epoch"], LAST, level, "test", row["metric"]]
                  for level in ("teacher-0.00", "teacher-1.00")] for key in keys()]  # fmt: skip
        assert is_mean_of(row, [semantic / random for semantic, random in pairs])


@pytest.mark.parametrize("networks", ["one", "six"])
def test_noisy_classes_stand_below_a_teachers_predictions(networks: str) -> None:
    rows = table() if networks == "one" else study((2, 5, 10), (16, 32), (0,), ("vicreg",), EPOCHS)
    module = plugin_module("analysis.figures", "noise_by_epoch")
    assert module.draw(rows) is None
    noisy = rows[rows["level"].str.startswith("teacher-")].assign(
        level=lambda one: one["level"].str.replace("teacher-", "noise-"), value=lambda one: one["value"] / 9
    )
    share = noisy[(noisy["level"] == "noise-1.00") & (noisy["metric"] == "num_classes")]
    share = share.assign(metric="target_largest_share", value=0.012)
    rows = pd.concat([rows, noisy, share], ignore_index=True)
    value, found = lookup(rows), module.numbers(rows)
    assert len(found) == 2 * 5 * len(EPOCHS) * (1 if networks == "one" else 6)
    for _, row in found.iterrows():
        at = (row["epoch"], row["depth"] + 1, f"{row['kind']}{row['randomness']}", "test", "linear_accuracy")
        trials = rows.loc[rows["method"] == "vicreg", ["trial_key", "depth", "width"]].drop_duplicates().to_numpy()
        found_of = [key for key, depth, width in trials if (depth, width) == (row["depth"], row["width"])]
        assert row["mean"] == pytest.approx(np.mean([value[(key, *at)] for key in found_of]))
        assert row["guess"] == pytest.approx(0.012) if row["kind"] == "noise-" else math.isnan(row["guess"])
    figure = module.draw(rows)
    figure.draw_without_rendering()
    assert_drawn_from_numbers(figure, found, "y")
    assert_no_text_overlaps(figure)
    assert_fit_for_print(figure)


def test_accuracy_by_layer_and_its_ratio() -> None:
    value = lookup(table())
    for name, level in (("fig5_left", "class"), ("fig5_middle", "superclass")):
        for _, row in numbers(name).iterrows():
            at = (row["epoch"], row["layer"], level, "test", "linear_accuracy")
            assert is_mean_of(row, [value[(key, *at)] for key in keys(row["method"])])
    for _, row in numbers("fig5_right").iterrows():
        pairs = [[value[key, row["epoch"], row["layer"], level, "test", "linear_accuracy"]
                  for level in ("superclass", "class")] for key in keys(row["method"])]  # fmt: skip
        assert is_mean_of(row, [above / below for above, below in pairs])


def test_curves_and_targets_change_no_figure_that_does_not_show_them() -> None:
    plain = table()[(table()["layer"] != -1) & ~table()["level"].str.startswith("teacher")]
    shown = ("fig3", "fig4", "noise")
    for name in plugin_names("analysis.figures"):
        module = plugin_module("analysis.figures", name)
        if not name.startswith(shown) and not hasattr(module, "TABLE"):  # another table than the measurements
            pd.testing.assert_frame_equal(module.numbers(table()), module.numbers(plain))


def test_names_of_figures() -> None:
    assert command.named("fig2") == ["fig2_left", "fig2_middle", "fig2_right"]
    assert command.named("accuracy_by_epoch") == ["accuracy_by_epoch"]
    assert command.named("all") == list(plugin_names("analysis.figures"))
    for wrong, meant in (("fig5_lft", "fig5_left"), ("acuracy_by_epoch", "accuracy_by_epoch")):
        with pytest.raises(UserError, match=f"did you mean '{meant}'"):
            command.named(wrong)
    for wrong in ("fig", "accuracy", "base", ""):
        with pytest.raises(UserError, match="unknown figure"):
            command.named(wrong)


def test_the_command_writes_what_it_can_and_says_what_the_rest_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(table()[table()["level"] != "sample"], tmp_path)
    assert command.main(["fig2", str(tmp_path)]) == EXIT_DONE
    out = capsys.readouterr().out.splitlines()
    assert [Path(line).name for line in out if line.startswith(str(tmp_path))] == [
        f"fig2_middle.{kind}" for kind in ("png", "svg", "csv")
    ]
    rest = [line for line in out if not line.startswith(str(tmp_path))]
    assert rest == [
        f"fig2 left needs ncc_accuracy at level sample (train): python -m analysis {tmp_path} --levels sample",
        f"fig2 right needs linear_accuracy at level sample (test): python -m analysis {tmp_path} --levels sample",
    ]
    assert all((tmp_path / "figures" / f"fig2_middle.{kind}").stat().st_size for kind in ("png", "svg", "csv"))
    assert command.main(["fig5_left", str(tmp_path), "--out", str(tmp_path / "out")]) == EXIT_DONE
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"fig5_left.{k}" for k in ("png", "svg", "csv")}
    capsys.readouterr()
    assert command.main(["depth_width_heatmap", str(tmp_path)]) == EXIT_BAD_INPUT
    captured = capsys.readouterr()
    assert "depth_width_heatmap is not drawn where no method has two depths or widths" in captured.out
    assert "nothing of depth_width_heatmap can be drawn" in captured.err


def test_trials_are_drawn_alone_by_the_beginning_of_their_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(table(), tmp_path)
    chosen = keys()[0]
    assert command.main(["fig5_left", str(tmp_path), "--trials", chosen]) == EXIT_DONE
    assert [path.name for path in (tmp_path / "figures").iterdir()] == [f"trials-{chosen}"], (
        "the sweep's own are others"
    )
    drawn = pd.read_csv(tmp_path / "figures" / f"trials-{chosen}" / "fig5_left.csv")
    alone = plugin_module("analysis.figures", "fig5_left").numbers(table()[table()["trial_key"] == chosen])
    assert drawn["mean"].tolist() == pytest.approx(alone["mean"].tolist()) and set(drawn["n"]) == {1}
    capsys.readouterr()
    assert command.main(["fig5_left", str(tmp_path), "--trials", "no_such"]) == EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "'no_such' is no measured trial" in error and chosen in error


def test_what_other_trials_have_is_not_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(table(), tmp_path)
    supervised = table().query("method == 'supervised'")["trial_key"].iloc[0]
    assert command.main(["fig2_left", str(tmp_path), "--trials", supervised]) == EXIT_BAD_INPUT
    assert capsys.readouterr().out == (
        "fig2 left needs self-supervised trials: the trials chosen by --trials lack it, others have it\n"
    )


def test_arguments_in_the_wrong_order_and_a_bad_folder_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(table()[table()["metric"] == "effective_rank"], tmp_path)
    (tmp_path / "file").write_text("")
    for arguments, words in (
        ([str(tmp_path), "fig2"], f"the figure comes first: python -m analysis.figures fig2 {tmp_path}"),
        ([str(tmp_path), "x"], "the figure comes first: python -m analysis.figures FIGURE SWEEP_FOLDER"),
        (["effective_rank_by_epoch", str(tmp_path), "--out", str(tmp_path / "file")], "--out: "),
        (["effective_rank_by_epoch", str(tmp_path), "--out", "/proc/xx"], "--out: "),
    ):
        assert command.main(arguments) == EXIT_BAD_INPUT
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.count("\n") == 1 and words in captured.err, captured
    assert command.main(["zzzz", str(tmp_path)]) == EXIT_BAD_INPUT
    assert capsys.readouterr().err.count("accuracy_by_method") == 1


@pytest.mark.parametrize("foreign", [False, True])
def test_a_folder_that_is_no_sweep_is_one_line(
    foreign: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if foreign:
        (tmp_path / "measurements").mkdir()
        pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "measurements" / "other.parquet")
    assert command.main(["fig2", str(tmp_path)]) == EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and ("is not a part" if foreign else "is no sweep folder") in error


def test_bands_end_where_values_do() -> None:
    found = pd.DataFrame({"mean": [0.9, 0.1, 0.5], "spread": [0.2, 0.3, np.nan], "group": ["cosine", "cosine", "loss"]})
    found = with_bands(pd.concat([found, found.assign(group="loss")]), {"cosine": (0.0, 1.0)})
    assert found["below"].tolist() == pytest.approx([0.7, 0, 0.5, 0.7, -0.2, 0.5])
    assert found["above"].tolist() == pytest.approx([1, 0.4, 0.5, 1.1, 0.4, 0.5])
