"""Figures: the plotted numbers are those of a naive computation, nothing is averaged that differs, no text overlaps,
a network looks the same everywhere, and chance is where it should be.
"""

import warnings
from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from matplotlib.text import Text

from analysis.figures.base import draw_all
from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import Frame
from analysis.figures.base.sheet import PAGE, SIZE
from analysis.figures.base.ticks import layer_ticks, tick_labels, x_ticks, y_ticks
from analysis.table import SCHEMA
from ray_ssl.errors import UserError
from ray_ssl.plugins import plugin_module, plugin_names

NAMES = plugin_names("analysis.figures")
CLASSES = {"sample": 500, "class": 20, "superclass": 5}
EIGHT = ("simclr", "vicreg", "byol", "supervised", "spectral", "moco", "swav", "a_method_with_a_very_long_name_" * 4)


def synthetic(depths=(2, 5), widths=(16, 32), seeds=(0, 1, 2), epochs=(0, 3, 20), levels=("class", "superclass"),
              methods=("vicreg",), dataset="shapes") -> Frame:  # fmt: skip
    """A table with values of plausible size, all different."""
    rng = np.random.default_rng(0)
    rows = []
    for method, depth, width, seed in [(m, d, w, s) for m in methods for d in depths for w in widths for s in seeds]:
        trial = ("sweep", f"{method}{depth}_{width}_{seed}", method, depth, width, seed, dataset)
        for epoch in epochs:
            growth = np.log1p(epoch) / 7
            for layer, name in enumerate(["stem", *[f"block{i + 1}" for i in range(depth)], "representation"]):
                at = (*trial, epoch, layer, name)
                for level in levels:
                    rows.append((*at, level, "test", "num_classes", float(CLASSES[level])))
                    linear = (0.2 if level == "class" else 0.4) + 0.5 * growth * (1 + layer) / (2 + depth)
                    linear = min(linear + 0.01 * rng.normal(), 1)
                    for split in ("train", "test"):
                        rows += [
                            (*at, level, split, "linear_accuracy", linear),
                            (*at, level, split, "ncc_accuracy", linear * (0.5 + growth / 3 + 0.01 * rng.random())),
                            (*at, level, split, "class_variance", 1 + 0.1 * rng.random()),
                            (*at, level, split, "class_mean_distance", 0.1 * np.exp(3 * growth) + 0.01 * rng.random()),
                            (*at, level, split, "cdnv", 10 * np.exp(-3 * growth) + rng.random()),
                        ]
                rows.append((*at, "none", "train", "effective_rank", width**0.5 * (1 + growth + 0.1 * rng.random())))
    return pd.DataFrame(rows, columns=SCHEMA.names)


def with_holes(table: Frame) -> Frame:
    """NaN and infinite values, and a trial that has not got far."""
    table = table.assign(value=table["value"].mask(np.arange(len(table)) % 17 == 0, np.nan))
    table.loc[table["metric"].eq("cdnv") & table["epoch"].eq(3), "value"] = np.inf
    return table[~(table["trial_key"].str.endswith("_0") & (table["epoch"] > 3))]


def with_foreign(table: Frame, count: int = 1) -> Frame:
    """The table with networks trained elsewhere, measured at one epoch; they have no depth and no width."""
    one = synthetic((3,), (16,), (0,), (0,), methods=("foreign",))
    return pd.concat([table, *(one.assign(depth=0, width=0, trial_key=f"{i}foreign") for i in range(count))])


SHAPES = {
    "grid": lambda: synthetic(),
    "one network, one seed": lambda: synthetic((3,), (64,), (0,)),
    "one epoch": lambda: synthetic((2, 5), (16,), (0,), (20,)),
    "only initialisation": lambda: synthetic((2, 5), (16,), (0,), (0,)),
    "no initialisation": lambda: synthetic((2, 5), (16,), (0,), (1, 20)),
    "12 networks": lambda: synthetic((1, 2, 3, 4), (4, 64, 2048), (0,), (0, 1000)),
    "no superclass": lambda: synthetic((2, 3, 4, 5, 6), (16,), levels=("class",)),
    "three levels": lambda: synthetic((2,), (8, 16, 32), (0,), (0, 1, 4, 9, 800, 1000), tuple(CLASSES)),
    "three methods": lambda: synthetic((2,), (16, 32), methods=("simclr", "spectral", "vicreg")),
    "eight methods": lambda: synthetic((2,), (16,), (0, 1), methods=EIGHT, dataset="folder:/a/path" * 12),
    "unknown chance": lambda: synthetic((2,), (16, 32)).query("metric != 'num_classes'"),
    "many epochs": lambda: synthetic((2,), (16,), epochs=tuple(range(25))),
    "holes": lambda: with_holes(synthetic((2,), (16, 32))),
    "a foreign network": lambda: with_foreign(synthetic((2, 5), (16, 32), (0,))),
    "empty": lambda: synthetic((1,), (16,), (0,)).iloc[:0],
    "no linear accuracy": lambda: synthetic((2, 5), (16,), (0,)).query("metric != 'linear_accuracy'"),
}
BY_EPOCH = {"accuracy_by_epoch", "ncc_linear_ratio", "cdnv_by_epoch", "effective_rank_by_epoch"}
NEED_LINEAR = set(NAMES) - {"cdnv_by_epoch", "effective_rank_by_epoch"}
SEVERAL_METHODS = ("three methods", "eight methods", "a foreign network")
LACKING = {
    "one network, one seed": {"depth_width_heatmap"},
    "eight methods": {"depth_width_heatmap"},
    "many epochs": {"depth_width_heatmap"},
    "one epoch": BY_EPOCH,
    "only initialisation": BY_EPOCH,
    "no initialisation": {"ncc_linear_ratio", "cdnv_by_epoch"},
    "no superclass": {"superclass_class_ratio"},
    "empty": set(NAMES),
    "no linear accuracy": NEED_LINEAR,
}


@pytest.fixture(scope="module")
def tables() -> dict[str, Frame]:
    return {shape: make() for shape, make in SHAPES.items()}


@pytest.fixture(scope="module")
def drawn(tables: dict[str, Frame]) -> Callable[[str, str], Any]:
    """Draws a figure of a shape, once."""
    return cache(lambda name, shape: plugin_module("analysis.figures", name).draw(tables[shape]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_every_figure_on_every_table(name, shape, tables, drawn):
    module = plugin_module("analysis.figures", name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = drawn(name, shape)
        lacking = LACKING.get(shape, set()) | (set() if shape in SEVERAL_METHODS else {"accuracy_by_method"})
        assert (figure is None) == (name in lacking)
        if figure is not None:
            figure.draw_without_rendering()
            assert_drawn_from_numbers(
                figure, module.numbers(tables[shape]), "x" if name == "accuracy_by_method" else "y"
            )
            assert_no_text_overlaps(figure)
            assert_fit_for_print(figure)
    assert module.TITLE and module.__doc__


def points(ax: Any) -> list[Line2D]:
    """The lines of data in a panel, not those that one compares with."""
    return [line for line in ax.lines if line.get_marker() != "None"]


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


@pytest.mark.parametrize("name", ["accuracy_by_epoch", "accuracy_by_layer", "depth_width_heatmap"])
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


def lookup(table: Frame) -> dict[tuple, float]:
    names = ["trial_key", "epoch", "layer", "level", "split", "metric"]
    return dict(zip(table[names].itertuples(index=False, name=None), table["value"], strict=True))


def test_ratios_are_taken_within_a_trial_before_they_are_averaged():
    table = synthetic((2,), (16,), seeds=(0, 1))
    value, trials, last = lookup(table), table["trial_key"].unique(), 3

    def ratio(trial: str, epoch: int) -> float:
        ncc, linear = (value[trial, epoch, last, "class", "test", f"{m}_accuracy"] for m in ("ncc", "linear"))
        return ncc / linear

    numbers = plugin_module("analysis.figures", "ncc_linear_ratio").numbers(table).query("level == 'class'")
    for epoch in (0, 3, 20):
        relative = [ratio(trial, epoch) / ratio(trial, 0) for trial in trials]
        found = numbers[numbers["epoch"] == epoch].iloc[0]
        assert found["mean"] == pytest.approx(np.mean(relative))
        assert found["spread"] == pytest.approx(np.std(relative, ddof=1))
    numbers = plugin_module("analysis.figures", "superclass_class_ratio").numbers(table)
    for stage, epoch in (("initialisation", 0), ("last epoch", 20)):
        for layer in (0, 1, 2):
            pairs = [[value[t, epoch, layer, lv, "test", "linear_accuracy"] for lv in ("superclass", "class")]
                     for t in trials]  # fmt: skip
            found = numbers[(numbers["stage"] == stage) & (numbers["layer"] == layer)].iloc[0]
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


def test_a_representation_that_repeats_the_last_block_is_drawn_once():
    table = synthetic((2,), (16,), (0,))
    layers = plugin_module("analysis.figures", "accuracy_by_layer")
    assert layers.numbers(table)["layer"].max() == 3
    before = table["layer"] == 2
    table.loc[table["layer"] == 3, "value"] = table.loc[before, "value"].to_numpy()
    assert layers.numbers(table)["layer"].max() == 2


def test_methods_are_never_averaged_together():
    table = synthetic((2,), (16,), methods=("simclr", "vicreg"))
    for name in NAMES:
        numbers = plugin_module("analysis.figures", name).numbers(table)
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
    drawn = ["accuracy_by_layer", "depth_width_heatmap"]
    assert [p.name for p in first] == [f"{name}.{kind}" for name in drawn for kind in ("png", "svg", "csv")]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))
    for name in drawn:
        read = pd.read_csv(tmp_path / "a" / f"{name}.csv")
        pd.testing.assert_frame_equal(read, plugin_module("analysis.figures", name).numbers(table), check_dtype=False)


def test_only_figures_with_data_are_written(tmp_path):
    table = synthetic((2,), (16,), (0,)).query("metric == 'effective_rank'")
    assert [Path(p).name for p in draw_all(table, tmp_path)] == [
        f"effective_rank_by_epoch.{k}" for k in ("png", "svg", "csv")
    ]
    assert draw_all(table.iloc[:0], tmp_path) == []


ACCURACIES = {"accuracy_by_epoch": 2, "accuracy_by_layer": 1}
"""Figures of accuracy by line, and how many panels a level has there."""


@pytest.mark.parametrize("name", ACCURACIES)
def test_chance_is_one_over_the_number_of_classes_of_the_panel_s_level(name):
    table = synthetic((2,), (16,))
    module = plugin_module("analysis.figures", name)
    numbers = module.numbers(table)
    assert {level: set(rows) for level, rows in numbers.groupby("level")["chance"]} == {
        "class": {1 / 20}, "superclass": {1 / 5}
    }  # fmt: skip
    found = {}
    for ax in module.draw(table).axes:
        level = numbers.set_index("mean")["level"].to_dict()[heights(points(ax)[0])[0]]
        rules = [line for line in ax.lines if line.get_marker() == "None"]
        assert [heights(line) for line in rules] == [[1 / CLASSES[level]] * 2]
        names = [t.get_text() for t in ax.texts]
        assert names in ([f"chance {100 / CLASSES[level]:.0f}%"], [])
        found[level] = found.get(level, 0) + 1
    assert found == dict.fromkeys(("class", "superclass"), ACCURACIES[name])


def test_chance_stands_in_every_figure_of_accuracy_and_is_left_out_where_it_is_unknown():
    table = synthetic((1,), (16, 32), (0,), (0, 3), methods=("simclr", "vicreg"))
    for name in (*ACCURACIES, "accuracy_by_method", "depth_width_heatmap"):
        for known in (True, False):
            rows = table if known else table[table["metric"] != "num_classes"]
            module = plugin_module("analysis.figures", name)
            texts = [t.get_text() for t in module.draw(rows).findobj(Text)]
            assert any("chance" in text for text in texts) == known
            assert module.numbers(rows)["chance"].notna().all() == known


def test_a_name_in_a_panel_covers_no_line(drawn):
    for shape in ("grid", "one network, one seed", "many epochs"):
        for name in ("accuracy_by_epoch", "accuracy_by_layer", "cdnv_by_epoch"):
            figure = drawn(name, shape)
            renderer = FigureCanvasAgg(figure).get_renderer()
            for ax in figure.axes:
                for text in ax.texts:
                    box = text.get_window_extent(renderer)
                    for line in points(ax):
                        path = line.get_transform().transform_path(line.get_path())
                        assert not path.intersects_bbox(box, filled=False), (shape, name, text.get_text())


def test_a_far_chance_is_pointed_at_instead_of_flattening_the_lines():
    table = synthetic((2,), (16,))
    accurate = table["metric"].isin(["linear_accuracy", "ncc_accuracy"])
    table.loc[accurate, "value"] = 0.90 + 0.05 * table.loc[accurate, "value"]
    figure = plugin_module("analysis.figures", "accuracy_by_epoch").draw(table)
    assert all(ax.get_ylim()[0] > 0.85 for ax in figure.axes)
    texts = {t.get_text() for ax in figure.axes for t in ax.texts}
    assert texts <= {"\N{DOWNWARDS ARROW} chance 5%", "\N{DOWNWARDS ARROW} chance 20%"} and texts


def looks(figure: Any, numbers: Frame) -> dict[str, set[tuple]]:
    """Colour, marker, dash and filling of every network that a figure of one line a network draws."""
    network = dict(zip(numbers["mean"], numbers["network"], strict=True))
    found: dict[str, set[tuple]] = {}
    for ax in figure.axes:
        for line in points(ax):
            found.setdefault(network[heights(line)[-1]], set()).add(look(line))
    return found


def look(line: Line2D) -> tuple:
    return line.get_color(), line.get_marker(), str(vars(line)["_unscaled_dash_pattern"]), line.get_markerfacecolor()


def heights(line: Line2D) -> list[float]:
    return np.asarray(line.get_ydata(), float).tolist()


@pytest.mark.parametrize("shape", ["grid", "12 networks", "three methods", "eight methods", "three levels"])
def test_a_network_looks_the_same_in_every_figure_and_no_two_share_a_look_in_a_panel(shape, tables, drawn):
    figures = ["accuracy_by_epoch", "ncc_linear_ratio", "effective_rank_by_epoch"]
    found = []
    for name in figures:
        figure = drawn(name, shape)
        found.append(looks(figure, plugin_module("analysis.figures", name).numbers(tables[shape])))
        for ax in figure.axes:
            shown = [look(line) for line in points(ax)]
            assert len(set(shown)) == len(shown)
    assert all(one == found[0] and all(len(look) == 1 for look in one.values()) for one in found)
    assert set(found[0]) == set(networks(tables[shape]).lines)


def test_many_networks_are_told_apart_by_columns_and_the_note_says_what_is_left_out():
    few, many = synthetic((2, 5), (16, 32), (0,)), synthetic((1, 2), tuple(range(4, 60, 4)), (0,), (0, 1))
    assert set(networks(few).columns.values()) == {""}
    assert [line.label for line in networks(few).key] == ["depth 2", "depth 5", "width 16", "width 32"]
    found = networks(synthetic((1, 2, 4, 8), (8, 16, 32), (0,), (0, 1)))
    assert set(found.columns.values()) == {"width 8", "width 16", "width 32"} and found.left_out == ""
    assert len(networks(many).lines) == 28 and networks(many).left_out == ""
    more = networks(synthetic((1,), tuple(range(4, 84, 4)), (0,), (0, 1)))
    assert len(more.lines) == 16 and "16 of 20 networks" in more.left_out
    assert {"depth 1, width 4", "depth 1, width 80"} <= set(more.lines)


def test_a_foreign_network_is_one_more_line_and_has_no_depth():
    few = networks(with_foreign(synthetic((2, 5), (16, 32), (0,), (0,))))
    assert set(few.columns.values()) == {""}
    assert [line.label for line in few.key] == [
        "foreign",
        *(f"vicreg, depth {d}, width {w}" for d in (2, 5) for w in (16, 32)),
    ]
    many = networks(with_foreign(synthetic((1, 2, 4, 8), (8, 16, 32), (0,), (0,))))
    assert len(many.lines) == 13 and many.left_out == ""
    two = with_foreign(synthetic((2, 5), (16,), (0,)), 2)
    assert list(networks(two).lines)[:2] == ["foreign, trial 0forei", "foreign, trial 1forei"]
    assert set(plugin_module("analysis.figures", "depth_width_heatmap").numbers(two)["method"]) == {"vicreg"}


def heatmap(table: Frame) -> tuple[list[list[str]], list[tuple[float, float]]]:
    """The texts of all cells, and the ranges of the colour bars."""
    figure = plugin_module("analysis.figures", "depth_width_heatmap").draw(table)
    cells = [[t.get_text() for t in ax.texts] for ax in figure.axes if ax.texts]
    return cells, [ax.images[0].get_extent()[:2] for ax in figure.axes if ax.images]


def test_a_cell_of_the_heat_map_says_mean_spread_and_number_of_seeds():
    table = synthetic((2, 5), (16,), levels=("class",))
    value = lookup(table)
    cells, _ = heatmap(table)
    wanted = []
    for depth in (2, 5):
        seeds = [
            100 * value[f"vicreg{depth}_16_{s}", 20, depth + 1, "class", "test", "linear_accuracy"] for s in (0, 1, 2)
        ]
        wanted += [f"{np.mean(seeds):.1f}", f"\N{PLUS-MINUS SIGN} {np.std(seeds, ddof=1):.1f}", "n = 3"]
    assert cells == [wanted]
    one = table[table["seed"] == 0]
    assert [text for text in heatmap(one)[0][0] if text[0] == "n"] == ["n = 1"] * 2
    note = plugin_module("analysis.figures", "depth_width_heatmap").draw(one).texts[1].get_text()
    assert "one seed: no spread" in note.replace("\n", " ")


def test_colours_do_not_make_an_effect_of_noise():
    table = synthetic((2, 5), (16, 32), (0,), levels=("class",))
    table["value"] = np.where(table["metric"] == "linear_accuracy", 0.5 + 0.01 * table["depth"] / 5, table["value"])
    [(low, high)] = heatmap(table)[1]
    assert high - low == pytest.approx(0.1) and (low + high) / 2 == pytest.approx(0.507)
    noisy = pd.concat([table.assign(seed=s, trial_key=table["trial_key"] + str(s),
                                    value=table["value"] + 0.1 * s * (table["metric"] == "linear_accuracy"))
                       for s in (-1, 0, 1)])  # fmt: skip
    [(low, high)] = heatmap(noisy)[1]
    assert high - low == pytest.approx(0.4)


def test_methods_are_sorted_by_linear_accuracy_and_one_that_lags_says_so():
    table = synthetic((2,), (16,), (0, 1), methods=("a", "b", "c"))
    better = table["method"].map({"a": 0.1, "b": 0.3, "c": 0.2})
    table["value"] += better.where(table["metric"] == "linear_accuracy", 0)
    table = table[(table["method"] != "a") | (table["epoch"] < 20)]
    module = plugin_module("analysis.figures", "accuracy_by_method")
    labels = [t.get_text() for t in module.draw(table).axes[0].get_yticklabels()]
    assert labels == ["a, epoch 3", "c", "b"]  # from below
    assert set(module.numbers(table).query("method == 'a'")["epoch"]) == {3}
    assert module.draw(table[table["method"] == "a"]) is None


def test_epochs_stand_logarithmically_and_initialisation_is_shown():
    table = synthetic((2,), (16,), (0,), epochs=(0, 1, 10, 100))
    for name in BY_EPOCH:
        for ax in plugin_module("analysis.figures", name).draw(table).axes:
            at = [ax.transData.transform((epoch, ax.get_ylim()[0]))[0] for epoch in (0, 1, 10, 100)]
            assert at[2] - at[1] == pytest.approx(at[3] - at[2])
            assert 0 < at[1] - at[0] < at[2] - at[1]
            assert list(ax.get_xticks()) == [0, 1, 10, 100]


def test_class_and_superclass_have_their_own_scale():
    table = synthetic((2, 5), (16,), (0,))
    figure = plugin_module("analysis.figures", "accuracy_by_layer").draw(table)
    upper, lower = {ax.get_ylim() for ax in figure.axes[:2]}, {ax.get_ylim() for ax in figure.axes[2:]}
    assert len(upper) == len(lower) == 1 and upper != lower


@pytest.mark.parametrize("log", [False, True])
def test_a_vertical_axis_has_enough_ticks_and_not_too_many(log):
    for low, high in [(0.1, 0.11), (0.35, 1.04), (0.01, 1), (1, 3000), (0.9, 1.9), (1e-2, 1e7), (17, 23)]:
        for inches in (1.15, 1.35, 1.9, 2.3):
            ticks = y_ticks(low, high, inches, log)
            assert 2 <= len(ticks) <= 8 and low <= ticks[0] < ticks[-1] <= high, (low, high, inches, ticks)
            place = np.log(ticks) - np.log(low) if log else np.array(ticks) - low
            length = np.log(high / low) if log else high - low
            assert np.diff(place).min() / length * inches > SIZE / 72


def test_tick_labels():
    assert tick_labels([0, 0.05, 0.1], 100) == ["0", "5", "10"]
    assert tick_labels([1, 1.5, 2]) == ["1.0", "1.5", "2.0"]
    assert tick_labels([0.1, 1, 10, 1000]) == ["0.1", "1", "10", "1000"]
    assert tick_labels([1e-3, 1e7]) == ["0.001", "1e+07"]
    assert layer_ticks([0, 1, 2], np.linspace(0, 1, 3)) == [0, 1, 2]
    assert layer_ticks(list(range(17)), np.linspace(0, 0.7, 17)) == [0, 8, 16]


def test_tick_labels_keep_the_first_and_last_epoch_and_their_distance():
    epochs = list(range(100))
    position = np.linspace(0, 2, 100)
    ticks = x_ticks(epochs, position)
    assert {0, 10, 99} <= set(ticks) and np.diff(position[ticks]).min() > 0.1
