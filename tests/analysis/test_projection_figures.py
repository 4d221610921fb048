"""Figures of projections: one network at the right epochs, every point drawn where it is, no text overlaps."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.figures import __main__ as command
from analysis.figures.base import draw_all
from analysis.figures.base.numbers import Frame
from analysis.projections import SCHEMA
from ray_ssl.errors import UserError
from ray_ssl.plugins import plugin_module
from tests.analysis.figure_tables import PROJECTION_NAMES, synthetic
from tests.analysis.test_figures import assert_fit_for_print, assert_no_text_overlaps
from tests.analysis.written_tables import write_table

NO_DOMAINS = [name for name in PROJECTION_NAMES if name != "four_clusters"]  # see `test_transfer_figures`
NAMES = {"sample": "", "class": "class_", "superclass": "a_superclass_with_quite_a_long_name_"}
GRIDS = {"umap_by_layer_and_epoch": "class", "umap_of_superclasses_by_layer_and_epoch": "superclass"}


def points(
    depths=(2, 5), widths=(16,), seeds=(0, 1), epochs=(0, 3, 20), levels=tuple(NAMES), dataset="shapes"
) -> Frame:
    """Six points a label, all different; the representation is the last block's."""
    rng = np.random.default_rng(0)
    rows, drawn = [], np.empty((0, 2))
    for depth, width, seed in [(d, w, s) for d in depths for w in widths for s in seeds]:
        trial = ("sweep", f"{depth}_{width}_{seed}", "vicreg", depth, width, seed, dataset)
        for epoch, level in [(e, v) for e in epochs for v in levels]:
            for layer, name in enumerate(["stem", *[f"block{i + 1}" for i in range(depth)], "representation"]):
                drawn = drawn if name == "representation" else rng.normal(size=(30, 2))
                for point, place in enumerate(drawn):
                    label = 3 * (point // 6)
                    named = NAMES[level] and f"{NAMES[level]}{label}"
                    rows.append((*trial, epoch, layer, name, level, label, named, point, *place))
    return pd.DataFrame(rows, columns=SCHEMA.names)


def places(figure: Any) -> list[list[tuple[float, float]]]:
    """Where the points of each panel are, sorted; not those of the legends."""
    return [sorted(xy for line in ax.lines for xy in zip(line.get_xdata(), line.get_ydata(), strict=True))
            for ax in figure.axes if ax.axison]  # fmt: skip


def at(found: Frame, **where: object) -> list[tuple[float, float]]:
    for name, value in where.items():
        found = found[found[name] == value]
    return sorted(zip(found["x"], found["y"], strict=True))


def note(figure: Any) -> str:
    return figure.texts[1].get_text().replace("\n", " ")


def test_figure_1_shows_the_deepest_network_before_and_after_training():
    table = points(widths=(16, 32))
    module = plugin_module("analysis.figures", "fig1")
    found = module.numbers(table)
    assert set(found["trial_key"]) == {"5_32_0"} and set(found["layer_name"]) == {"representation"}
    assert len(found) == 3 * 2 * 30
    figure = module.draw(table)
    expected = [at(table, trial_key="5_32_0", layer=6, level=level, epoch=e) for level in NAMES for e in (0, 20)]
    assert places(figure) == expected
    legends = [[text.get_text() for text in ax.texts] for ax in figure.axes if not ax.axison]
    assert legends[0] == [f"sample {label}" for label in (0, 3, 6, 9, 12)]
    assert legends[1] == [f"class_{label}" for label in (0, 3, 6, 9, 12)]
    assert "depth 5, width 32, seed 0 on shapes; 1 of 8 trials" in note(figure)
    one = module.draw(table[table["trial_key"] == "2_16_1"])
    assert places(one)[0] == at(table, trial_key="2_16_1", layer=3, level="sample", epoch=0)


def test_figure_1_prefers_a_network_that_saw_no_labels():
    table = points(depths=(2, 5))
    supervised = table.assign(method="supervised", depth=table["depth"] + 5, trial_key="x" + table["trial_key"])
    found = plugin_module("analysis.figures", "fig1").numbers(pd.concat([table, supervised]))
    assert set(found["trial_key"]) == {"5_16_0"}


def test_a_network_that_was_projected_once_has_no_before_and_after():
    table = points()
    early = table[(table["depth"] == 2) | (table["epoch"] == 0)]
    module = plugin_module("analysis.figures", "fig1")
    assert set(module.numbers(early)["depth"]) == {2}
    assert module.draw(early[early["epoch"] == 0]) is None
    half = early[(early["level"] != "class") | (early["epoch"] == 0)]
    assert set(module.numbers(half)["level"]) == {"sample", "superclass"}


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_has_a_row_for_each_distinct_layer_and_a_column_for_each_epoch(name):
    table = points((2,), seeds=(0,))
    figure = plugin_module("analysis.figures", name).draw(table)
    assert places(figure) == [
        at(table, level=GRIDS[name], layer=layer, epoch=epoch) for layer in (0, 1, 2) for epoch in (0, 3, 20)
    ]
    texts = {text.get_text().replace("\n", " ") for text in figure.texts}
    assert {"0 stem", "1 block1", "2 block2 = 3 representation"} <= texts


def test_many_layers_and_epochs_are_thinned_and_the_note_says_so():
    table = points((12,), seeds=(0,), epochs=tuple(range(9)), levels=("class",))
    module = plugin_module("analysis.figures", "umap_by_layer_and_epoch")
    found = module.numbers(table)
    assert found["layer"].nunique() == found["epoch"].nunique() == 6
    assert {0, 12} <= set(found["layer"]) and {0, 8} <= set(found["epoch"])
    figure = module.draw(table)
    assert "some of all layers and epochs" in note(figure)
    figure.draw_without_rendering()
    assert_no_text_overlaps(figure)
    assert_fit_for_print(figure)


@pytest.mark.parametrize("name", NO_DOMAINS)
def test_every_figure_fits_and_tells_its_labels_apart(name):
    figure = plugin_module("analysis.figures", name).draw(points())
    figure.draw_without_rendering()
    assert_no_text_overlaps(figure)
    assert_fit_for_print(figure)
    for ax in figure.axes:
        assert (
            len({line.get_markerfacecolor() for line in ax.lines}) == len({line.get_marker() for line in ax.lines}) == 5
        )
    assert plugin_module("analysis.figures", name).draw(points().iloc[:0]) is None


def test_draw_all_takes_each_figure_from_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.figures.base._save", lambda figure, stem: [])
    table = synthetic((2,), (16,), (0,)).query("metric == 'effective_rank'")
    shown = points((1,), seeds=(0,), epochs=(0, 9))
    assert [p.name for p in draw_all(table, tmp_path)] == ["effective_rank_by_epoch.csv"]
    assert [p.stem for p in draw_all(table, tmp_path, shown)] == sorted(["effective_rank_by_epoch", *NO_DOMAINS])
    read = pd.read_csv(tmp_path / "fig1.csv")
    numbers = plugin_module("analysis.figures", "fig1").numbers(shown)
    assert read["x"].tolist() == pytest.approx(numbers["x"].tolist())
    assert [p.stem for p in draw_all(table.iloc[:0], tmp_path, shown)] == NO_DOMAINS
    other = pd.concat([shown, points((1,), seeds=(0,), epochs=(0,), dataset="another")])
    assert tmp_path / "umap_by_layer_and_epoch-another.csv" in draw_all(table, tmp_path, other)
    with pytest.raises(UserError, match="one data set"):
        plugin_module("analysis.figures", "fig1").draw(other)


def test_of_several_sweeps_the_one_without_points_is_named(tmp_path, monkeypatch, capsys):
    drawn = points((1,), seeds=(0,), epochs=(0, 9))
    tables = {"with": drawn, "other": drawn.assign(dataset="another"), "none": drawn.iloc[:0]}
    monkeypatch.setattr("analysis.figures.base._save", lambda figure, stem: [])
    monkeypatch.setattr("analysis.stored.read_projections", lambda sweep: tables[sweep.name])
    folders = [str(tmp_path / name) for name in tables]
    for folder in folders:
        write_table(synthetic((1,), (16,), (0,), (0,)).query("metric == 'effective_rank'"), Path(folder))
    name = "umap_of_superclasses_by_layer_and_epoch"
    assert command.main([name, *folders]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("without")]
    assert len(lines) == 1 and lines[0].startswith(f"without {folders[-1]}: {name} needs UMAP of level superclass")
