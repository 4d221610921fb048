"""A network looks the same in every figure, chance is where it should be, and colours and axes do not mislead."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from matplotlib.text import Text

from analysis.figures.base.networks import networks
from analysis.figures.base.numbers import Frame
from analysis.figures.base.sheet import PAGE, SIZE
from analysis.figures.base.ticks import layer_ticks, tick_labels, x_ticks, y_ticks
from ray_ssl.plugins import plugin_module
from tests.analysis.figure_tables import (
    BY_EPOCH,
    CLASSES,
    drawn,
    lookup,
    points,
    synthetic,
    table_of,
    with_foreign,
)

ACCURACIES = {
    "accuracy_by_epoch": {"class": 2, "superclass": 2},
    "fig5_left": {"class": 1},
    "fig5_middle": {"superclass": 1},
}
"""Figures of accuracy by line, and how many panels a level has there."""


@pytest.mark.parametrize("name", ACCURACIES)
def test_chance_is_one_over_the_number_of_classes_of_the_panel_s_level(name):
    table = synthetic((2,), (16,))
    module = plugin_module("analysis.figures", name)
    numbers = module.numbers(table)
    assert {level: set(rows) for level, rows in numbers.groupby("level")["chance"]} == {
        level: {1 / CLASSES[level]} for level in ACCURACIES[name]
    }
    found = {}
    for ax in module.draw(table).axes:
        level = numbers.set_index("mean")["level"].to_dict()[heights(points(ax)[0])[0]]
        rules = [line for line in ax.lines if line.get_marker() == "None"]
        assert [heights(line) for line in rules] == [[1 / CLASSES[level]] * 2]
        names = [t.get_text() for t in ax.texts]
        assert names in ([f"chance {100 / CLASSES[level]:.0f}%"], [])
        found[level] = found.get(level, 0) + 1
    assert found == ACCURACIES[name]


def test_chance_stands_in_every_figure_of_accuracy_and_is_left_out_where_it_is_unknown():
    table = synthetic((1,), (16, 32), (0,), (0, 3), methods=("simclr", "vicreg"))
    for name in (*ACCURACIES, "accuracy_by_method", "depth_width_heatmap"):
        for known in (True, False):
            rows = table if known else table[table["metric"] != "num_classes"]
            module = plugin_module("analysis.figures", name)
            texts = [t.get_text() for t in module.draw(rows).findobj(Text)]
            assert any("chance" in text for text in texts) == known
            assert module.numbers(rows)["chance"].notna().all() == known


def test_a_name_in_a_panel_covers_no_line():
    for shape in ("grid", "one network, one seed", "many epochs"):
        for name in ("accuracy_by_epoch", "fig5_left", "cdnv_by_epoch"):
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


def test_a_chance_that_no_axis_reaches_is_in_the_note_where_no_panel_has_room_for_it():
    table = synthetic((2,), (16, 32, 64), (0,), levels=("class",), methods=("a", "b", "c"))
    accurate = table["metric"].isin(["linear_accuracy", "ncc_accuracy"])
    table.loc[accurate, "value"] = 0.9 + 0.01 * (table["epoch"] > 3) - 0.005 * (table["layer"] == 0)
    figure = plugin_module("analysis.figures", "fig5_left").draw(table)
    inside = [text.get_text() for ax in figure.axes for text in ax.texts]
    page = [text.get_text().replace("\n", " ") for text in figure.texts]
    assert "chance" not in page, "a key to a line that is not drawn"
    assert inside or "; chance 5%: beyond the axis." in page[1]


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
def test_a_network_looks_the_same_in_every_figure_and_no_two_share_a_look_in_a_panel(shape):
    figures = ["accuracy_by_epoch", "cdnv_by_epoch", "effective_rank_by_epoch"]
    found = []
    for name in figures:
        figure = drawn(name, shape)
        found.append(looks(figure, plugin_module("analysis.figures", name).numbers(table_of(shape))))
        for ax in figure.axes:
            shown = [look(line) for line in points(ax)]
            assert len(set(shown)) == len(shown)
    assert all(one == found[0] and all(len(look) == 1 for look in one.values()) for one in found)
    assert set(found[0]) == set(networks(table_of(shape)).lines)


def test_many_networks_are_told_apart_by_columns_and_the_note_says_what_is_left_out():
    few, many = synthetic((2, 5), (16, 32), (0,)), synthetic((1, 2), tuple(range(4, 60, 4)), (0,), (0, 1))
    assert set(networks(few).columns.values()) == {""}
    nine = networks(synthetic((1, 2, 3), (8, 16, 32), (0,), (0,)))
    assert set(nine.columns.values()) == {""} and len({line[1:] for line in nine.lines.values()}) == 9
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
    figure = plugin_module("analysis.figures", "accuracy_by_epoch").draw(table)
    left, right = {ax.get_ylim() for ax in figure.axes[::2]}, {ax.get_ylim() for ax in figure.axes[1::2]}
    assert len(left) == len(right) == 1 and left != right


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
    steps = [1, 2, 4, 8, 16, 32, 64, 91, 128, 181, 256, 362, 512, 724, 2000]
    assert x_ticks(steps, np.log2(steps) / 3) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 2000]


@pytest.mark.parametrize("count", [2, 13])
def test_no_name_of_a_method_is_cut(count):
    methods = tuple(f"supervised_contrastive on teacher-{i / 100:.2f} (no augmentation)" for i in range(count))
    table = synthetic((2,), (128,), (0,), (0, 1, 3), ("class",), methods=methods)
    table = table[(table["method"] != methods[0]) | (table["epoch"] < 3)]
    figure = plugin_module("analysis.figures", "accuracy_by_method").draw(table)
    labels = {t.get_text().replace("\n", " ") for t in figure.axes[0].get_yticklabels()}
    assert labels == {f"{methods[0]}, epoch 1", *methods[1:]} and figure.get_size_inches()[0] <= PAGE
