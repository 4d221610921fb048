"""Figures of a source and a target: the plotted numbers are those of a naive computation, no text overlaps."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.figures.base import why_not_drawn
from analysis.figures.base.numbers import Frame
from analysis.report.domain_tables import transfer_table
from ray_ssl.plugins import plugin_module
from tests.analysis.figure_tables import lookup, points, synthetic
from tests.analysis.test_figures import assert_drawn_from_numbers, assert_fit_for_print, assert_no_text_overlaps
from tests.analysis.transfer_tables import METHODS, POINTS, clusters, transferred

LAST = 3  # layer of the representation
OF_TABLE = ("transfer_by_method", "transfer_by_layer", "domain_distance_by_method")
SHAPES = {
    "six methods": lambda: transferred(),
    "one seed, two methods": lambda: transferred((0,), methods=("swav (source + target)", "dann (source + target)")),
    "two widths": lambda: pd.concat([
        transferred((0,), (0, 20)),
        transferred((0,), (0, 20), width=32).assign(trial_key=lambda rows: "w" + rows["trial_key"]),
    ]),
    "transfer alone": lambda: transferred((0, 1)).query("metric != 'num_classes' and metric != 'domain_distance'"),
}  # fmt: skip


def module_of(name: str):
    return plugin_module("analysis.figures", name)


@pytest.fixture(scope="module", params=SHAPES)
def table(request: pytest.FixtureRequest) -> Frame:
    return SHAPES[request.param]()


@pytest.mark.parametrize("name", OF_TABLE)
def test_every_figure_is_drawn_from_its_numbers_and_fits(name: str, table: Frame) -> None:
    module = module_of(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure, numbers = module.draw(table), module.numbers(table)
        figure.draw_without_rendering()
    if name != "domain_distance_by_method":
        assert_drawn_from_numbers(figure, numbers, "x" if name == "transfer_by_method" else "y")
    assert_no_text_overlaps(figure)
    assert_fit_for_print(figure)


def test_a_mark_stands_at_the_mean_distance_and_the_mean_accuracy() -> None:
    table = transferred()
    module = module_of("domain_distance_by_method")
    value = lookup(table)
    figure = module.draw(table)
    for metric, ax in zip(module.DISTANCES, figure.axes, strict=True):
        wanted = []
        for method in METHODS:
            keys = sorted(table.loc[table["method"] == method, "trial_key"].unique())
            at = [[value[key, 20, LAST, "class", "test", name] for key in keys]
                  for name in (metric, "target_accuracy_logistic")]  # fmt: skip
            wanted.append(tuple(np.mean(at, axis=1)))
        drawn = [tuple(float(np.asarray(data)[0]) for data in line.get_data()) for line in points(ax)]
        assert np.allclose(sorted(drawn), sorted(wanted))
        bars = [line for line in ax.lines if line.get_marker() == "None" and line.get_linestyle() == "-"]
        assert len(bars) == 2 * len(METHODS)


@pytest.mark.parametrize("name", ["transfer_by_method", "domain_distance_by_method"])
def test_bars_are_95_percent_intervals_over_seeds_and_end_where_values_do(name: str) -> None:
    table, module = transferred(), module_of(name)
    found = module.numbers(table)
    one = found[(found["method"] == "swav (source)")].iloc[0]
    metric = one["metric"] if "metric" in found else f"{one['domain']}_accuracy_{one['head']}"
    rows = table[(table["method"] == one["method"]) & (table["metric"] == metric) & (table["layer"] == LAST)]
    values = rows[(rows["split"] == "test") & (rows["epoch"] == one["epoch"])]["value"]
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert (one["mean"] - one["spread"], one["mean"] + one["spread"]) == pytest.approx((low, high))
    texts = " ".join(text.get_text().replace("\n", " ") for text in module.draw(table).texts)
    assert "mean and 95% interval over 3 seeds" in texts
    wide = table.assign(value=table["value"].where(table["seed"] > 0, 0.99 * (table["value"] > 0.3)))
    for ax in module.draw(wide[wide["seed"] < 2]).axes:
        bars = [line for line in ax.lines if line.get_marker() == "None" and line.get_linestyle() == "-"]
        ends = np.concatenate([np.asarray(line.get_xdata(), float) for line in bars])
        assert len(ends) and ((ends.min() >= 0 and ends.max() <= 1) or name == "domain_distance_by_method")


def test_the_power_of_pfa_is_chosen_on_training_images_of_the_source() -> None:
    table = transferred(epochs=(20,))
    only = {
        ("source_accuracy_pfa1", "train"): 0.9,
        ("source_accuracy_pfa2", "test"): 0.95,
        ("target_accuracy_pfa3", "test"): 0.99,
    }
    for (metric, split), value in only.items():
        at = (table["metric"] == metric) & (table["split"] == split) & (table["method"] == "swav (source)")
        assert at.any()
        table.loc[at, "value"] = value
    found = module_of("transfer_by_method").numbers(table)
    assert set(found["head"]) == {"logistic", "pfa1", "pfa2", "centred_pfa1"} and len(found) == len(METHODS) * 2 * 3
    assert set(found.loc[found["method"] == "swav (source)", "head"]) == {"logistic", "pfa1", "centred_pfa1"}
    one = found[(found["method"] == "swav (source)") & (found["domain"] == "target") & (found["head"] == "pfa1")]
    rows = table[(table["method"] == "swav (source)") & (table["metric"] == "target_accuracy_pfa1")]
    rows = rows[(rows["split"] == "test") & (rows["layer"] == LAST)]
    assert one["mean"].item() == pytest.approx(rows["value"].mean()) and one["n"].item() == 3
    assert one["chance"].item() == pytest.approx(1 / 20)


def test_methods_are_sorted_by_the_target_and_both_domains_have_one_scale() -> None:
    source, target = module_of("transfer_by_method").draw(transferred()).axes
    best = sorted(METHODS, key=lambda method: METHODS[method])
    assert [text.get_text() for text in target.get_yticklabels()] == best
    assert source.get_xlim() == target.get_xlim()


def test_layers_stand_in_a_row_for_each_domain() -> None:
    figure = module_of("transfer_by_layer").draw(transferred((0,)))
    assert len(figure.axes) == 2 * len(METHODS)
    texts = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
    assert "accuracy in the source (%)" in texts and "accuracy in the target (%)" in texts


def test_four_clusters_are_one_network_a_method_before_and_after() -> None:
    table = clusters()
    module = module_of("four_clusters")
    found = module.numbers(table)
    assert len(found) == len(METHODS) * 2 * 4 * POINTS and set(found["seed"]) == {0} and set(found["epoch"]) == {0, 20}
    figure = module.draw(table)
    figure.draw_without_rendering()
    assert_no_text_overlaps(figure)
    assert_fit_for_print(figure)
    assert len(figure.axes) == 2 * len(METHODS)
    for i, ax in enumerate(figure.axes):
        method, epoch = sorted(METHODS)[i % len(METHODS)], (0, 20)[i // len(METHODS)]
        of_panel = found[(found["method"] == method) & (found["epoch"] == epoch)]
        drawn = sorted(xy for line in ax.lines for xy in zip(line.get_xdata(), line.get_ydata(), strict=True))
        assert drawn == sorted(zip(of_panel["x"], of_panel["y"], strict=True))
        looks = {(line.get_color(), line.get_markeredgecolor(), line.get_marker()) for line in ax.lines}
        assert len({edge for _, edge, _ in looks}) == len({mark for *_, mark in looks}) == 2 and len(looks) == 4
    texts = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
    assert "before training (epoch 0)" in texts and "last projected (epoch 20)" in texts and "after" not in texts
    assert module.draw(table[table["epoch"] == 0]) is None
    assert module.draw(table.assign(level="class")) is None


def test_a_start_that_methods_share_is_drawn_once() -> None:
    table, module = clusters((0,)), module_of("four_clusters")
    first = table[(table["epoch"] == 0) & (table["trial_key"] == table["trial_key"].iloc[0])]
    same = [first.assign(trial_key=key, method=of.iloc[0]) for key, of in table.groupby("trial_key")["method"]]
    figure = module.draw(pd.concat([*same, table[table["epoch"] > 0]]))
    figure.draw_without_rendering()
    assert_no_text_overlaps(figure)
    assert_fit_for_print(figure)
    texts = [text.get_text() for text in figure.texts]
    assert len(figure.axes) == 1 + len(METHODS) and "all methods" in texts
    assert all(any(method.startswith(text) for text in texts if text) for method in METHODS)
    other = table[table["trial_key"] == table["trial_key"].iloc[-1]]
    figure = module.draw(pd.concat([*same[:-1], other[other["epoch"] == 0], table[table["epoch"] > 0]]))
    assert len(figure.axes) == 2 + len(METHODS)


def test_points_of_domains_are_in_no_other_figure() -> None:
    both = pd.concat([clusters((0,)), clusters((0,), depth=5).assign(level="class", depth=1)])
    assert set(module_of("fig1").numbers(both)["depth"]) == {1}
    assert module_of("umap_by_layer_and_epoch").numbers(clusters((0,))).empty


def test_a_target_without_labels_is_told_from_one_that_was_not_measured() -> None:
    table = transferred((0,))
    unlabelled = table[~table["metric"].str.startswith("target_") & (table["metric"] != "domain_distance_of_class")]
    assert module_of("transfer_by_method").draw(unlabelled) is None
    words = why_not_drawn("transfer_by_method", unlabelled, "results/x")
    assert "needs labels of the target of shapes: accuracy could be measured in the source alone" in words
    html = transfer_table(unlabelled)
    assert "sorted by the logistic head in the source, for the target has no labels" in html
    assert "told apart linearly" in html and "distance of means within a class" not in html
    module = module_of("domain_distance_by_method")
    figure, numbers = module.draw(unlabelled), module.numbers(unlabelled)
    assert_no_text_overlaps(figure)
    texts = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
    assert "accuracy in the source (%)" in texts and "the target has no labels" in texts
    assert "in the target" not in texts
    assert set(numbers["metric"]) == {"source_accuracy_logistic", "domain_accuracy", "domain_distance"}


def test_a_sweep_without_domains_is_told_what_has_them() -> None:
    table = synthetic((2,), (16,), (0,), methods=("a", "b"))
    for name in OF_TABLE:
        assert "--levels domains, of a sweep with a --shift" in why_not_drawn(name, table, "results/x")
    words = why_not_drawn("four_clusters", table, "results/x", clusters().iloc[:0])
    assert "python -m analysis results/x --metrics umap --levels domains" in words
    one = transferred((0,), methods=("swav (source)",))
    assert module_of("transfer_by_method").draw(one) is None and module_of("transfer_by_layer").draw(one)
