"""Figures: the plotted numbers are those of a naive computation, nothing is averaged that differs, no text overlaps."""

import warnings
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from analysis.figures.base import draw_all
from analysis.figures.base.numbers import Frame
from analysis.figures.base.panels import _apart, _ticks
from analysis.table import SCHEMA
from ray_ssl.errors import UserError
from ray_ssl.plugins import plugin_module, plugin_names

NAMES = plugin_names("analysis.figures")


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
                    linear = (0.2 if level == "class" else 0.4) + 0.5 * growth * (1 + layer) / (2 + depth)
                    linear = min(linear + 0.01 * rng.normal(), 1)
                    for split in ("train", "test"):
                        rows += [
                            (*at, level, split, "linear_accuracy", linear),
                            (*at, level, split, "ncc_accuracy", linear * (0.5 + growth / 3)),
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


SHAPES = {
    "grid": lambda: synthetic(),
    "one network, one seed": lambda: synthetic((3,), (64,), (0,)),
    "one epoch": lambda: synthetic(epochs=(20,)),
    "only initialisation": lambda: synthetic(epochs=(0,)),
    "no initialisation": lambda: synthetic(epochs=(1, 20)),
    "20 networks": lambda: synthetic((1, 2, 5, 10), (4, 16, 64, 256, 2048), (0,), (0, 1000)),
    "no superclass": lambda: synthetic((2, 3, 4, 5, 6), (16,), levels=("class",)),
    "three levels": lambda: synthetic(levels=("sample", "class", "superclass"), epochs=(0, 1, 2, 4, 9, 99, 800, 1000)),
    "three methods": lambda: synthetic(methods=("simclr", "spectral", "vicreg")),
    "many epochs": lambda: synthetic((2,), (16,), epochs=tuple(range(25))),
    "holes": lambda: with_holes(synthetic()),
    "empty": lambda: synthetic((1,), (16,), (0,)).iloc[:0],
    "no linear accuracy": lambda: synthetic().query("metric != 'linear_accuracy'"),
}
BY_EPOCH = {"accuracy_by_epoch", "ncc_linear_ratio", "cdnv_by_epoch", "effective_rank_by_epoch"}
NEED_LINEAR = set(NAMES) - {"cdnv_by_epoch", "effective_rank_by_epoch"}
LACKING = {
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


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_every_figure_on_every_table(name, shape, tables):
    module = plugin_module("analysis.figures", name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = module.draw(tables[shape])
        assert (figure is None) == (name in LACKING.get(shape, ()))
        if figure is not None:
            FigureCanvasAgg(figure).draw()
            assert_drawn_from_numbers(figure, module.numbers(tables[shape]))
            assert_no_text_overlaps(figure)
    assert module.TITLE and module.__doc__


def assert_drawn_from_numbers(figure: Any, numbers: Frame) -> None:
    """Every artist is finite; every point of a line is a mean of the numbers, and every mean is drawn once."""
    lines = [line for ax in figure.axes for line in ax.lines if line.get_marker() == "o"]
    drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in lines]) if lines else np.array([])
    assert np.isfinite(drawn).all() and np.isfinite(numbers["mean"]).all()
    assert set(drawn) <= set(numbers["mean"])
    if lines and numbers["network"].nunique() <= 4:
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
        texts = {t.get_text() for t in plugin_module("analysis.figures", name).draw(table).findobj(Text)}
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
    tables = [synthetic((2,), (16,), (0,), dataset=name) for name in ("cifar100", "folder:/a/b", "folder:/a_b")]
    both = pd.concat(tables)
    with pytest.raises(UserError, match="cifar100, folder:/a/b, folder:/a_b"):
        plugin_module("analysis.figures", "accuracy_by_epoch").draw(both)
    paths = draw_all(both, tmp_path)
    assert len(set(paths)) == 3 * 3 * len(NAMES) and all(p.stat().st_size for p in paths)
    assert tmp_path / "accuracy_by_epoch-cifar100.csv" in paths


def test_an_accuracy_in_percent_is_refused():
    table = synthetic((2,), (16,), (0,))
    with pytest.raises(UserError, match="fraction"):
        plugin_module("analysis.figures", "accuracy_by_epoch").draw(table.assign(value=61.4))


def test_files_are_the_same_byte_for_byte_and_the_csv_holds_the_numbers(tmp_path):
    table = synthetic((2,), (16, 32), (0, 1))
    first, second = draw_all(table, tmp_path / "a"), draw_all(table, tmp_path / "b")
    assert [p.name for p in first] == [f"{n}.{kind}" for n in NAMES for kind in ("png", "svg", "csv")]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))
    for name in NAMES:
        read = pd.read_csv(tmp_path / "a" / f"{name}.csv")
        pd.testing.assert_frame_equal(read, plugin_module("analysis.figures", name).numbers(table), check_dtype=False)


def test_only_figures_with_data_are_written(tmp_path):
    table = synthetic((2,), (16,), (0,)).query("metric == 'effective_rank'")
    assert [Path(p).name for p in draw_all(table, tmp_path)] == [
        f"effective_rank_by_epoch.{k}" for k in ("png", "svg", "csv")
    ]
    assert draw_all(table.iloc[:0], tmp_path) == []


def test_labels_move_apart_no_more_than_needed():
    assert _apart([0.2, 0.5, 0.9], 0.1) == pytest.approx([0.2, 0.5, 0.9])
    assert _apart([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert _apart([0.0, 0.0], 0.1) == pytest.approx([0.0, 0.1])
    assert _apart([0.98, 1.0, 1.0], 0.1) == pytest.approx([0.8, 0.9, 1.0])


def test_tick_labels_keep_the_first_and_last_epoch_and_their_distance():
    epochs = list(range(100))
    position = np.linspace(0, 2, 100)
    ticks = _ticks(epochs, position)
    assert {0, 10, 99} <= set(ticks) and np.diff(position[ticks]).min() > 0.1
