"""Purity, eigengap and linear heads: numbers, correlation, claim and figure of a made-up table."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from scipy import stats

from analysis.claims import check
from analysis.claims.base.contract import UNKNOWN
from analysis.figures import probe_by_purity
from analysis.figures.base import why_not_drawn
from analysis.figures.base.numbers import Frame, prepare
from analysis.graph import experiment
from analysis.metrics import cluster_purity
from analysis.purity import GAP, OF_GRAPH, QUANTITIES, correlation, heads
from tests.analysis.figure_tables import lookup, points, synthetic
from tests.analysis.purity_tables import SIZES, graph_table, purity_table
from tests.analysis.test_figures import assert_fit_for_print, assert_no_text_overlaps

SHAPES = {
    "encoders and eigenvectors": lambda: pd.concat([purity_table(), graph_table()]),
    "encoders": lambda: purity_table(),
    "eigenvectors": lambda: graph_table(),
    "one network, one seed, one epoch": lambda: purity_table(("vicreg",), (0,), (0,), ("class",)),
    "ten methods": lambda: purity_table(tuple(f"method number {i}" for i in range(10)), (0,), (0,)),
}


def spearman(x: list[float], y: list[float]) -> float:
    return float(np.asarray(stats.spearmanr(x, y))[0])


def test_names_are_those_of_the_metric_and_of_the_graph() -> None:
    assert {spec.name for spec in cluster_purity.SPECS} == {
        f"{name}_top{k}" for name in QUANTITIES for k in cluster_purity.SIZES
    }
    assert {*OF_GRAPH, GAP} == {experiment.PURITY, experiment.HEAD_ERROR, experiment.BOUND, experiment.GAP}


def test_points_are_means_over_seeds_of_what_the_table_has() -> None:
    table = SHAPES["encoders and eigenvectors"]()
    value, found = lookup(table), probe_by_purity.numbers(table)
    encoders = found[found["method"] != "eigenvectors"]
    assert len(encoders) == 2 * 2 * 2 * 3 and (encoders["n"] == 3).all() and encoders["least_accuracy"].isna().all()
    for _, one in encoders.iterrows():
        at = [(f"{one['method']}{seed}", one["epoch"], 3) for seed in (0, 1, 2)]
        for column, level, split, metric in (
            ("purity", one["level"], "train", "cluster_purity"),
            ("accuracy", one["level"], "test", "linear_accuracy"),
            ("eigengap", "none", "train", "feature_eigengap"),
        ):
            wanted = [value[(*trial, level, split, f"{metric}_top{one['k']}")] for trial in at]
            assert one[column] == pytest.approx(np.mean(wanted))
    graph = found[(found["method"] == "eigenvectors") & (found["level"] == "class")].set_index("k")
    assert graph["accuracy"].to_dict() == pytest.approx({k: 0.3 + k / 100 for k in SIZES})
    assert graph["least_accuracy"].to_dict() == pytest.approx({k: k / 40 - 0.2 for k in SIZES})
    assert graph["purity"].to_dict() == pytest.approx({k: 0.2 + k / 100 for k in SIZES})


@pytest.mark.parametrize("shape", SHAPES)
def test_the_figure_shows_every_point_and_fits(shape: str) -> None:
    table = SHAPES[shape]()
    found = probe_by_purity.numbers(table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = probe_by_purity.draw(table)
        assert figure is not None
        figure.draw_without_rendering()
    assert_no_text_overlaps(figure)
    assert_fit_for_print(figure)
    assert len(figure.axes) == 2 * found["level"].nunique()
    for i, ax in enumerate(figure.axes):
        of_level = found[found["level"] == ("class", "superclass")[i // 2]]
        across = of_level["purity"] if i % 2 == 0 else of_level["eigengap"].clip(lower=probe_by_purity.LEAST_GAP)
        least = of_level["least_accuracy"].to_numpy()
        wanted = [
            *zip(across, of_level["accuracy"], strict=True),
            *zip(across[least > 0], least[least > 0], strict=True),
        ]
        drawn = [xy for line in points(ax) for xy in np.asarray(line.get_xydata()).tolist()]
        assert np.allclose(sorted(drawn), sorted(wanted))
        (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
        assert all(left < x < right and low < y < high for x, y in drawn)


def test_the_bound_is_hollow_and_k_is_the_marker() -> None:
    figure = probe_by_purity.draw(SHAPES["encoders and eigenvectors"]())
    assert figure is not None
    for ax in figure.axes:
        looks = [(line.get_marker(), line.get_markerfacecolor(), line.get_markeredgecolor()) for line in points(ax)]
        assert sum(inside == "white" for _, inside, _ in looks) == 2  # k 10 and 20: of 5 the bound says nothing
        assert len({str(mark) for mark, *_ in looks}) == len(SIZES) and len({edge for *_, edge in looks}) == 4
    assert any("guarantees" in text.get_text() for text in figure.findobj(Text))
    without = probe_by_purity.draw(graph_table().query("metric != 'head_error_bound'"))
    assert without is not None and not any("guarantees" in text.get_text() for text in without.findobj(Text))


def test_networks_before_training_are_grey_below_the_others_and_drawn_once() -> None:
    table = purity_table(tuple(f"method {i}" for i in range(7)), levels=("class",))
    start = table[(table["epoch"] == 0) & (table["method"] == "method 0")]
    same = [start.assign(trial_key=key, method=one["method"].iloc[0]) for key, one in table.groupby("trial_key")
            if one["seed"].iloc[0] == 0]  # fmt: skip
    figure = probe_by_purity.draw(pd.concat([*same, table[table["epoch"] > 0]]))
    assert figure is not None
    grey = {probe_by_purity._UNTRAINED.colour}
    for ax in figure.axes:
        before = [line for line in points(ax) if line.get_markeredgecolor() in grey]
        assert [np.size(line.get_xdata()) for line in before] == [1] * len(SIZES)
        above = [line.get_zorder() for line in points(ax) if line not in before]
        assert len(above) == 7 * len(SIZES) and min(above) > max(line.get_zorder() for line in before)
    texts = " ".join(text.get_text() for text in figure.texts)
    assert "before training" in texts and "networks that are the same" in texts.replace("\n", " ")
    one_epoch = probe_by_purity.draw(SHAPES["one network, one seed, one epoch"]())
    assert one_epoch is not None and all(line.get_markeredgecolor() not in grey for line in points(one_epoch.axes[0]))


def test_of_a_graph_alone_nothing_is_said_of_encoders_and_gaps_are_points() -> None:
    figure = probe_by_purity.draw(graph_table(("class",)))
    assert figure is not None
    texts = " ".join(text.get_text() for text in figure.texts)
    assert not any(words in texts for words in ("rank", "seed", "initialisation", "before training"))
    joined = [[line for line in ax.lines if line.get_linestyle() != "None"] for ax in figure.axes]
    assert len(joined[0]) == 3 and joined[1] == []  # accuracy, bound, accuracy = purity


def test_equal_eigenvalues_stand_at_the_least_gap_and_a_note_says_so() -> None:
    table = graph_table(("class",))
    figure, other = (
        probe_by_purity.draw(table.assign(value=table["value"].where(table["metric"] != "eigengap", gap)))
        for gap in (0.0, 0.01)
    )
    assert figure is not None and other is not None
    right = figure.axes[1]
    assert {float(x) for line in points(right) for x in np.asarray(line.get_xdata())} == {probe_by_purity.LEAST_GAP}
    assert [text.get_text() for text in right.get_xticklabels()] == ["1e-07", "≤1e-06", "1e-05"]
    words = "eigengaps of 1e-06 or less"
    assert [any(words in text.get_text() for text in one.texts) for one in (figure, other)] == [True, False]


def test_named_are_scipys_correlation_and_its_range_within_one_k() -> None:
    found = probe_by_purity.numbers(purity_table(levels=("class",)))
    for across in ("purity", "eigengap"):
        one = correlation(found, across)
        assert one.value == pytest.approx(spearman(found[across], found["accuracy"])) and one.num_points == len(found)
        within = [spearman(of_k[across], of_k["accuracy"]) for _, of_k in found.groupby("k")]
        assert one.within == pytest.approx((min(within), max(within))) and one.low <= one.value <= one.high
        figure = probe_by_purity.draw(purity_table(levels=("class",)))
        assert figure is not None
        words = f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f}); within one k {one.within[0]:.2f} to"
        assert any(words in text.get_text().replace("\n", " ") for text in figure.findobj(Text))


def test_networks_that_begin_the_same_count_once() -> None:
    found = probe_by_purity.numbers(purity_table(levels=("class",)))
    copies = pd.concat([found, found[found["epoch"] == 0].assign(method="byol", network="byol, depth 2, width 16")])
    assert correlation(copies, "purity") == correlation(found, "purity")


def test_sizes_without_numbers_are_left_out_and_rows_of_other_layers_too() -> None:
    table = purity_table(("vicreg",), (0,), (0,), ("class",))
    assert set(heads(prepare(table, *table["metric"].unique()))["k"]) == set(SIZES)
    block = table.assign(layer=2, layer_name="block2", value=0.9)
    pd.testing.assert_frame_equal(probe_by_purity.numbers(pd.concat([table, block])), probe_by_purity.numbers(table))


def test_a_table_without_it_says_what_measures_it() -> None:
    table: Frame = synthetic((2,), (16,), (0,))
    assert probe_by_purity.draw(table) is None and probe_by_purity.numbers(table).empty
    assert "python -m analysis results/x --metrics cluster_purity" in why_not_drawn(
        "probe_by_purity", table, "results/x"
    )


def of_encoders(accuracy: tuple[float, ...], rng: np.random.Generator) -> Frame:
    """Seeds whose encoders are so accurate, more at every larger k; purity is in any order, but rises with k too."""
    tables = []
    for i, more in enumerate(accuracy):
        table = purity_table((f"method{i}",), levels=("class",))
        change = more * table["metric"].str.startswith("linear_accuracy")
        change = change + 0.005 * rng.random(len(table)) * table["metric"].str.startswith("cluster_purity")
        tables.append(table.assign(value=table["value"] + change * (table["epoch"] > 0)))
    return pd.concat(tables)


def test_the_claim_is_the_mean_over_k_and_seeds_of_the_correlation_at_one_k() -> None:
    methods, rng = [f"method{i}" for i in range(5)], np.random.default_rng(0)
    table = of_encoders((0.004, 0.0, 0.003, 0.001, 0.002), rng)
    value, by_seed, over_k = lookup(table), [], []
    for seed in (0, 1, 2):
        points = {k: [(f"{method}{seed}", 20, k) for method in methods] + [(f"method0{seed}", 0, k)] for k in SIZES}
        pairs = {k: [[value[trial, epoch, 3, "class", split, f"{metric}_top{k}"] for trial, epoch, k in at]
                     for metric, split in (("cluster_purity", "train"), ("linear_accuracy", "test"))]
                 for k, at in points.items()}  # fmt: skip
        by_seed.append(np.mean([spearman(*pair) for pair in pairs.values()]))
        over_k.append(spearman(*([x for pair in pairs.values() for x in pair[i]] for i in (0, 1))))
    found = check(table, names=["heads_follow_cluster_purity"]).iloc[0]
    low, high = stats.t.interval(0.95, 2, np.mean(by_seed), stats.sem(by_seed))
    assert found["estimate"] == pytest.approx(np.mean(by_seed)) and found["estimate"] < min(over_k) - 0.2
    assert (found["low"], found["high"]) == pytest.approx((max(low, -1), min(high, 1)))
    assert (found["basis"], found["num_trials"], found["method"]) == ("3 seeds", 15, "")


def test_the_claim_is_not_known_of_one_seed_or_of_two_points_a_k() -> None:
    several = of_encoders((0.0, 0.1, 0.2), np.random.default_rng(0))
    for table in (several[several["seed"] == 0], purity_table(("vicreg",))):
        assert check(table, names=["heads_follow_cluster_purity"]).iloc[0]["verdict"] == UNKNOWN
