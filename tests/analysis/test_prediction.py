"""What connectivity predicts: numbers, correlation and figure of a made-up table."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from scipy import stats

from analysis.class_pairs import class_pairs
from analysis.figures import __main__ as command
from analysis.figures import transfer_prediction
from analysis.figures.base import draw_all
from analysis.prediction import ACCURACY, by_pair, correlations, interval
from tests.analysis.figure_tables import lookup
from tests.analysis.pair_tables import transfer_table
from tests.analysis.test_figures import assert_fit_for_print, assert_no_text_overlaps
from tests.analysis.written_tables import write_table

SHIFTS = ("shapes-photo-to-sketch", "cifar100-subpopulations")


def test_prediction_and_accuracy_are_those_of_the_pair_at_the_last_epoch() -> None:
    table = transfer_table(("swav (source + target)",), (0, 1))
    value, found = lookup(table), transfer_prediction.numbers(table)
    assert len(found) == 10 and (found["n"] == 2).all()
    for _, one in found.iterrows():
        keys, predicted, ratios = table["trial_key"].unique(), [], []
        for key in keys:
            alpha, beta, gamma = (
                value[key, 0, -2, one["level"], "test", f"connectivity_{edge}"] for edge in ("alpha", "beta", "gamma")
            )
            predicted.append(min(alpha, beta) - gamma)
            ratios.append(np.log(alpha / gamma) + np.log(beta / gamma))
        assert one["prediction"] == pytest.approx(np.mean(predicted))
        assert one["log_ratio"] == pytest.approx(np.mean(ratios))
        accuracy = [value[key, 20, 3, one["level"], "test", ACCURACY] for key in keys]
        assert one["accuracy"] == pytest.approx(np.mean(accuracy))


def test_networks_that_saw_no_target_or_labels_are_not_shown() -> None:
    found = transfer_prediction.numbers(transfer_table())
    assert set(found["network"]) == {"swav (source + target), depth 2, width 16"}
    assert len(by_pair(transfer_table())) == 3 * 3 * 10


def test_the_interval_is_scipys_correlation_and_its_bootstrap() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 8, 30).astype(float)
    y = x + 4 * rng.normal(size=30)
    value, low, high = interval(x, y)
    assert value == pytest.approx(np.asarray(stats.spearmanr(x, y))[0])
    resampled = []
    for _ in range(1000):
        rows = rng.integers(0, 30, 30)
        resampled.append(np.asarray(stats.spearmanr(x[rows], y[rows]))[0])
    assert (low, high) == pytest.approx(tuple(np.percentile(resampled, [2.5, 97.5])), abs=0.06)
    assert interval(x, y) == (value, low, high) and interval(y, x)[0] == pytest.approx(value)
    assert np.isnan(interval(x[:2], y[:2])).all() and np.isnan(interval(np.ones(9), y[:9])).all()


def test_the_figure_shows_every_pair_once_coloured_by_shift() -> None:
    tables = [transfer_table(dataset=shift, slope=slope) for shift, slope in zip(SHIFTS, (1, -0.5), strict=True)]
    table = pd.concat(tables)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = transfer_prediction.draw(table)
        assert figure is not None
        figure.draw_without_rendering()
    assert_no_text_overlaps(figure)
    assert_fit_for_print(figure)
    found = transfer_prediction.numbers(table)
    drawn = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    assert len(drawn) == 2 and len({line.get_color() for line in drawn}) <= 2
    points = {(x, y) for line in drawn for x, y in np.asarray(line.get_xydata()).tolist()}
    assert points == set(zip(found["prediction"], found["accuracy"], strict=True)) and len(points) == 20
    texts = " ".join(text.get_text() for text in figure.findobj(Text))
    by_name = {one.method: one for one in correlations(table)}
    assert [round(one.value) for name, one in by_name.items() if name != "all"] == [-1, 1]
    assert all(f"{one.value:.2f} (" in texts for one in by_name.values()) and "all" in by_name


@pytest.mark.parametrize("lacking", ["connectivity_gamma", ACCURACY])
def test_without_either_there_is_no_figure(lacking: str) -> None:
    table = transfer_table()
    rows = table[table["metric"] != lacking]
    assert transfer_prediction.draw(rows) is None and correlations(rows) == []


def test_two_pairs_have_no_correlation_and_are_drawn() -> None:
    table = transfer_table()
    rows = table[table["level"].isin(["class:0-1", "class:0-2"])]
    figure = transfer_prediction.draw(rows)
    assert figure is not None and any("no rank correlation" in t.get_text() for t in figure.findobj(Text))


def test_several_sweeps_are_drawn_together(tmp_path: Path) -> None:
    folders = [tmp_path / shift for shift in SHIFTS]
    for folder, shift in zip(folders, SHIFTS, strict=True):
        write_table(transfer_table(("swav (source + target)",), (0,), shift), folder)
    assert command.main(["transfer_prediction", *map(str, folders)]) == 0
    written = pd.read_csv(folders[0] / "figures" / "transfer_prediction.csv")
    assert set(written["dataset"]) == set(SHIFTS) and len(written) == 20
    table = pd.concat([transfer_table(dataset=shift) for shift in SHIFTS])
    assert [path.name for path in draw_all(table, tmp_path)] == [
        f"transfer_prediction.{k}" for k in ("png", "svg", "csv")
    ]


def test_fewer_pairs_are_part_of_more() -> None:
    assert len(class_pairs(20)) == 190 and len(class_pairs(100)) == 200
    assert set(class_pairs(100, 30)) < set(class_pairs(100, 31)) and all(i < j for i, j in class_pairs(100))
