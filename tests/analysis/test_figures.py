"""Figures: the plotted numbers are those of a naive computation, nothing is averaged that differs, no text overlaps."""

import warnings
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from analysis.figures.base import draw_all
from analysis.figures.base.layers import layers_note
from analysis.figures.base.numbers import Frame
from analysis.figures.base.sheet import PAGE
from analysis.lacking import first_lacking
from ray_ssl.errors import UserError
from ray_ssl.plugins import plugin_module
from tests.analysis.figure_tables import BY_EPOCH, NAMES, SHAPES, drawn, lookup, points, synthetic, table_of

NEED_LINEAR = set(NAMES) - {"cdnv_by_epoch", "effective_rank_by_epoch"}
SEVERAL_METHODS = ("three methods", "eight methods", "a foreign network")
_PANELS = {name for name in NAMES if name.startswith("fig")} - {"fig2_middle", "fig5_left", "fig5_middle", "fig5_right"}
WHOLE_STUDY = _PANELS | {
    "eigenvector_angles", "estimated_eigenvectors", "noise_by_epoch", "probe_by_purity", "spectral_loss"
}  # fmt: skip
"""Panels of levels and rows that these tables lack; see `test_panels`, `test_purity` and `test_estimated_figure`."""
OF_DOMAINS = {"transfer_by_method", "transfer_by_layer", "domain_distance_by_method"}
"""Figures of a source and a target, which these tables do not have either; see `test_transfer_figures`."""
NOT_LACKING = {"three levels": {"fig2_left", "fig2_right"}, "eight methods": {"fig3_right"}}
LACKING = {
    "one network, one seed": {"depth_width_heatmap"},
    "eight methods": {"depth_width_heatmap"},
    "many epochs": {"depth_width_heatmap"},
    "one epoch": BY_EPOCH,
    "only initialisation": BY_EPOCH,
    "no initialisation": {"fig2_middle", "cdnv_by_epoch"},
    "no superclass": {"fig5_middle", "fig5_right"},
    "empty": set(NAMES),
    "no linear accuracy": NEED_LINEAR,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_every_figure_on_every_table(name, shape):
    module = plugin_module("analysis.figures", name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = drawn(name, shape)
        lacking = LACKING.get(shape, set()) | (set() if shape in SEVERAL_METHODS else {"accuracy_by_method"})
        lacking = lacking | OF_DOMAINS | (WHOLE_STUDY - NOT_LACKING.get(shape, set()))
        assert (figure is None) == (name in lacking)
        if figure is not None:
            figure.draw_without_rendering()
            assert_drawn_from_numbers(
                figure, module.numbers(table_of(shape)), "x" if name == "accuracy_by_method" else "y"
            )
            assert_no_text_overlaps(figure)
            assert_fit_for_print(figure)
    assert module.TITLE and module.__doc__


def assert_drawn_from_numbers(figure: Any, numbers: Frame, axis: str) -> None:
    """Every artist is finite; every point of a line is a mean of the numbers, and every mean is drawn once."""
    lines = [line for ax in figure.axes for line in points(ax)]
    data = [line.get_ydata() if axis == "y" else line.get_xdata() for line in lines]
    drawn = np.concatenate([np.asarray(values, float) for values in data]) if lines else np.array([])
    assert np.isfinite(drawn).all() and np.isfinite(numbers["mean"]).all()
    assert set(drawn) <= set(numbers["mean"])
    if lines and numbers["network"].nunique() <= 9:
        assert sorted(drawn) == sorted(numbers["mean"])
    for ax in figure.axes:
        for band in ax.collections:
            assert all(np.isfinite(path.vertices).all() for path in band.get_paths())


def assert_no_text_overlaps(figure: Any) -> None:
    renderer = figure.canvas.get_renderer()
    page = figure.bbox
    hidden = hidden_texts(figure)
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text() and id(t) not in hidden]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    for text, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, (
            f"{text!r} is cut off"
        )
    for (text, box), (other, other_box) in combinations(boxes, 2):
        width = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
        height = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
        assert width <= 0.5 or height <= 0.5, f"{text!r} overlaps {other!r}"


@pytest.mark.parametrize("name", ["accuracy_by_epoch", "fig5_left", "depth_width_heatmap"])
def test_many_networks(name):
    table = synthetic((1, 2, 3, 4, 5, 6), (8, 16, 32, 64, 128, 256), (0, 1), (0, 20))
    figure = plugin_module("analysis.figures", name).draw(table[table["metric"] != "cdnv"])
    figure.draw_without_rendering()
    assert_no_text_overlaps(figure)
    assert_fit_for_print(figure)


def assert_fit_for_print(figure: Any) -> None:
    """At most two columns of a journal wide, and no text below 8 points."""
    assert figure.get_size_inches()[0] <= PAGE + 1e-9
    assert all(text.get_fontsize() >= 8 for text in figure.findobj(Text) if text.get_text())


def hidden_texts(figure: Any) -> set[int]:
    """The ids of tick labels that are not drawn: of the far side, or of ticks outside the axis."""
    hidden = set()
    for ax in figure.axes:
        for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            for tick in axis.get_major_ticks():
                hidden.add(id(tick.label2))
                if not low <= tick.get_loc() <= high:
                    hidden.add(id(tick.label1))
    return hidden


def test_accuracy_is_mean_and_sample_deviation_over_seeds():
    table = synthetic()
    numbers = plugin_module("analysis.figures", "accuracy_by_epoch").numbers(table)
    for _, found in numbers.iterrows():
        same = ["depth", "width", "epoch", "level", "metric"]
        rows = table[(table[same] == found[same]).all(axis=1) & (table["split"] == "test")]
        values = rows.loc[rows["layer_name"] == "representation", "value"].tolist()
        mean = sum(values) / 3
        assert found["n"] == len(values) == 3
        assert found["mean"] == pytest.approx(mean)
        assert found["spread"] == pytest.approx((sum((v - mean) ** 2 for v in values) / 2) ** 0.5)
    assert len(numbers) == 4 * 2 * 2 * 3  # networks, levels, probes, epochs


def test_ratios_are_taken_within_a_trial_before_they_are_averaged():
    table = synthetic((2,), (16,), seeds=(0, 1))
    value, trials, last = lookup(table), table["trial_key"].unique(), 3

    def ratio(trial: str, epoch: int) -> float:
        ncc, linear = (value[trial, epoch, last, "class", "test", f"{m}_accuracy"] for m in ("ncc", "linear"))
        return ncc / linear

    numbers = plugin_module("analysis.figures", "fig2_middle").numbers(table).query("level == 'class'")
    for epoch in (0, 3, 20):
        relative = [ratio(trial, epoch) / ratio(trial, 0) for trial in trials]
        found = numbers[numbers["epoch"] == epoch].iloc[0]
        assert found["mean"] == pytest.approx(np.mean(relative))
        assert found["spread"] == pytest.approx(np.std(relative, ddof=1))
    numbers = plugin_module("analysis.figures", "fig5_right").numbers(table)
    for epoch in (0, 3, 20):
        for layer in (0, 1, 2):
            pairs = [[value[t, epoch, layer, lv, "test", "linear_accuracy"] for lv in ("superclass", "class")]
                     for t in trials]  # fmt: skip
            found = numbers[(numbers["epoch"] == epoch) & (numbers["layer"] == layer)].iloc[0]
            assert found["mean"] == pytest.approx(np.mean([a / b for a, b in pairs]))


def test_cdnv_is_relative_to_the_same_trial_at_initialisation():
    table = synthetic((2,), (16,), seeds=(0, 1))
    value, trials = lookup(table), table["trial_key"].unique()
    numbers = plugin_module("analysis.figures", "cdnv_by_epoch").numbers(table)
    for _, found in numbers.iterrows():
        relative = [value[t, found["epoch"], 3, found["level"], "test", found["metric"]]
                    / value[t, 0, 3, found["level"], "test", found["metric"]] for t in trials]  # fmt: skip
        assert found["mean"] == pytest.approx(np.mean(relative))


def test_values_that_are_not_finite_are_left_out_and_n_says_so():
    table = synthetic((2,), (16,))
    gone = table["seed"].eq(0) & table["epoch"].eq(20)
    table.loc[gone, "value"] = np.nan
    found = plugin_module("analysis.figures", "depth_width_heatmap").numbers(table)
    rest = table[table["epoch"].eq(20) & table["layer"].eq(3) & table["metric"].eq("linear_accuracy")]
    rest = rest[rest["split"].eq("test") & rest["level"].eq("class")]["value"].dropna()
    assert found.loc[found["level"] == "class", ["mean", "n"]].to_numpy().tolist() == [[pytest.approx(rest.mean()), 2]]


def test_a_variance_that_is_undefined_everywhere_is_not_drawn(tmp_path):
    table = synthetic((2,), (16,), (0,))
    table.loc[table["metric"].isin(["cdnv", "class_variance"]), "value"] = np.nan
    numbers = plugin_module("analysis.figures", "cdnv_by_epoch").numbers(table)
    assert set(numbers["metric"]) == {"class_mean_distance"} and np.isfinite(numbers["mean"]).all()
    assert tmp_path / "cdnv_by_epoch.png" in draw_all(table, tmp_path)


def test_layers_have_the_numbers_and_names_of_the_table_whether_or_not_the_representation_repeats_a_block():
    table = synthetic((2,), (16,), (0,))
    figure = plugin_module("analysis.figures", "fig5_left")
    named = dict(enumerate(("stem", "block1", "block2", "representation")))
    for repeats in (False, True):
        if repeats:
            table.loc[table["layer"] == 3, "value"] = table.loc[table["layer"] == 2, "value"].to_numpy()
        found = figure.numbers(table)
        assert dict(zip(found["layer"], found["layer_name"], strict=True)) == named
        drawn = figure.draw(table)
        assert list(drawn.axes[0].get_xticks()) == list(named)
        note = drawn.texts[1].get_text().replace("\n", " ")
        assert "layers: 0 stem, 1 block1 to 2 block2, 3 representation" in note
        assert ("(as the layer before it)" in note) == repeats


def test_layers_of_several_depths_are_named_for_each():
    note = layers_note(plugin_module("analysis.figures", "fig5_left").numbers(synthetic((2, 5), (16,), (0,))))
    assert note == "layers: 0 stem, 1 block1 to 2 block2 or 5 block5, 3 or 6 representation"


def test_a_panel_without_numbers_says_that_it_was_not_measured():
    table = synthetic((1, 2, 3), (16,), (0,), (0, 20), ("class",), methods=("a", "b", "c"))
    table = table[(table["method"] != "b") | (table["depth"] > 1)]
    assert table["trial_key"].nunique() == 8
    more = synthetic((1, 2, 3), (16,), (0,), (0, 20), ("class",), methods=("d",))
    figure = plugin_module("analysis.figures", "fig5_left").draw(pd.concat([table, more]))
    figure.draw_without_rendering()
    marked = [ax for ax in figure.axes if any(t.get_text().split() == ["not", "measured"] for t in ax.texts)]
    assert len(figure.axes) == 12 and marked == [ax for ax in figure.axes if not points(ax)] and len(marked) == 1
    assert_no_text_overlaps(figure)


def test_methods_are_never_averaged_together():
    table = synthetic((2,), (16,), methods=("simclr", "vicreg"))
    for name in NAMES:
        numbers = plugin_module("analysis.figures", name).numbers(table)
        if name in WHOLE_STUDY | OF_DOMAINS:
            assert numbers.empty
            continue
        assert set(numbers["method"]) == {"simclr", "vicreg"} and numbers["n"].max() == 3
        figure = plugin_module("analysis.figures", name).draw(table)
        texts = {t.get_text() for t in figure.findobj(Text)} if figure else {"simclr", "vicreg"}
        assert any("simclr" in t for t in texts) and any("vicreg" in t for t in texts)


def test_trials_that_share_a_seed_are_never_averaged_together():
    table = synthetic((2,), (16,), (0,))
    twins = pd.concat([table, table.assign(trial_key="another")])
    numbers = plugin_module("analysis.figures", "accuracy_by_epoch").numbers(twins)
    assert numbers["n"].max() == 1
    assert set(numbers["network"]) == {"depth 2, width 16, trial vicreg", "depth 2, width 16, trial anothe"}
    assert plugin_module("analysis.figures", "depth_width_heatmap").draw(twins) is None


def test_a_trial_of_two_sweeps_counts_once():
    table = synthetic((2,), (16,))
    twice = pd.concat([table, table.assign(sweep="another")])
    for name in NAMES:
        module = plugin_module("analysis.figures", name)
        pd.testing.assert_frame_equal(module.numbers(twice), module.numbers(table))


def test_several_data_sets_are_refused_by_a_figure_and_drawn_apart_by_draw_all(tmp_path):
    tables = [synthetic((1,), (16,), (0,), dataset=name) for name in ("cifar100", "folder:/a/b", "folder:/a_b")]
    both: Frame = pd.concat(tables)
    for name in NAMES:
        with pytest.raises(UserError, match="cifar100, folder:/a/b, folder:/a_b"):
            plugin_module("analysis.figures", name).draw(both)
    both = both[both["metric"] == "effective_rank"]
    paths = draw_all(both, tmp_path)
    assert len(set(paths)) == 3 * 3 and all(p.stat().st_size for p in paths)
    assert tmp_path / "effective_rank_by_epoch-cifar100.csv" in paths


def test_an_accuracy_in_percent_is_refused():
    table = synthetic((2,), (16,), (0,))
    with pytest.raises(UserError, match="fraction"):
        plugin_module("analysis.figures", "accuracy_by_epoch").draw(table.assign(value=61.4))


def test_files_are_the_same_byte_for_byte_and_the_csv_holds_the_numbers(tmp_path):
    table = synthetic((1,), (16, 32), (0, 1), (3,)).query("metric == 'linear_accuracy' and level == 'class'")
    first, second = draw_all(table, tmp_path / "a"), draw_all(table, tmp_path / "b")
    expected = ["depth_width_heatmap", "fig5_left"]
    assert [p.name for p in first] == [f"{name}.{kind}" for name in expected for kind in ("png", "svg", "csv")]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))
    for name in expected:
        read = pd.read_csv(tmp_path / "a" / f"{name}.csv")
        pd.testing.assert_frame_equal(read, plugin_module("analysis.figures", name).numbers(table), check_dtype=False)


def test_only_figures_with_data_are_written(tmp_path):
    table = synthetic((2,), (16,), (0,)).query("metric == 'effective_rank'")
    assert [Path(p).name for p in draw_all(table, tmp_path)] == [
        f"effective_rank_by_epoch.{k}" for k in ("png", "svg", "csv")
    ]
    assert draw_all(table.iloc[:0], tmp_path) == []


def test_images_without_superclasses_are_not_told_to_measure_them():
    table = synthetic((2,), (16,), (0,), levels=("class",))
    needs = plugin_module("analysis.figures", "fig5_middle").NEEDS
    lacking = first_lacking(needs, table, "SWEEP")
    assert lacking is not None and "superclasses" in lacking.what and not lacking.way
    nothing = first_lacking(needs, table[table["metric"] != "linear_accuracy"], "SWEEP")
    assert nothing is not None and nothing.way == "python -m analysis SWEEP"
