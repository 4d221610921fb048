"""What connectivity predicts: numbers, correlation and figure of a made-up table."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from scipy import stats

from analysis.__main__ import main
from analysis.claims import check
from analysis.claims.base.contract import HOLDS, UNKNOWN
from analysis.class_pairs import class_pairs
from analysis.figures import __main__ as command
from analysis.figures import transfer_prediction
from analysis.figures.base import draw_all
from analysis.figures.base.numbers import Frame
from analysis.prediction import (
    ACCURACY,
    ALL_PAIRS,
    SHIFT_MEANS,
    SOURCE_ACCURACY,
    by_pair,
    correlations,
    correlations_as_text,
    over_trials,
)
from analysis.rank_intervals import interval, intervals, order_of
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


def test_values_that_differ_by_rounding_are_ties() -> None:
    exact = np.arange(12) // 3 / 7
    rounded = exact + np.tile([0.0, 1e-17, -1e-17], 4) + np.where(np.arange(12) % 2, 2e-16, 0)
    y = np.asarray([3, 1, 2, 5, 4, 6, 8, 7, 9, 12, 10, 11]) / 20
    assert order_of(rounded).tolist() == order_of(exact).tolist() == (np.arange(12) // 3).tolist()
    assert interval(rounded, y) == interval(exact, y)
    assert interval(exact, y).value == pytest.approx(np.asarray(stats.spearmanr(exact, y))[0])
    assert order_of(np.asarray([1e-3, 1.0, 1.0 + 1e-6, -4.0])).tolist() == [1, 2, 3, 0]


def drawn_marks(figure: Figure) -> list[list[Line2D]]:
    """The lines of marks of each panel."""
    return [
        [line for line in ax.lines if line.get_marker() != "None" and np.size(line.get_xdata()) > 1]
        for ax in figure.axes
    ]


def test_the_figure_shows_every_pair_once_in_the_panel_of_its_shift() -> None:
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
    for shift, (drawn,) in zip(sorted(SHIFTS), drawn_marks(figure)[:2], strict=True):
        of_shift = found[found["dataset"] == shift]
        points = {(x, y) for x, y in np.asarray(drawn.get_xydata()).tolist()}
        assert points == set(zip(of_shift["prediction"], of_shift["accuracy"], strict=True)) and len(points) == 10
    texts = " ".join(text.get_text() for text in figure.findobj(Text))
    by_name = {one.series: one for one in correlations(table) if one.quantity == "prediction"}
    assert [round(one.value) for name, one in by_name.items() if name != ALL_PAIRS] == [-1, 1]
    assert all(f"{one.value:.2f} (" in texts for one in by_name.values()) and ALL_PAIRS in by_name


def test_connectivity_is_drawn_once_where_several_networks_saw_the_same_images() -> None:
    table = transfer_table()
    swav, vicreg = ("swav (source + target)", "vicreg (source + target)")
    swav_rows = table[table["method"] == swav]
    both = pd.concat([swav_rows, swav_rows.assign(method=vicreg, trial_key="v" + swav_rows["trial_key"])])
    other = transfer_table((swav,), dataset=SHIFTS[1])
    for rows, num_series, num_drawn in ((swav_rows, 1, 1), (both, 2, 1), (pd.concat([both, other]), 3, 2)):
        figure = transfer_prediction.draw(rows)
        assert figure is not None
        *points, edges = drawn_marks(figure)
        assert sum(map(len, points)) == num_series and len(edges) == num_drawn
        assert len(points) == rows["dataset"].nunique()
        texts = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
        assert ("once where several networks saw the same images" in texts) == (num_series > num_drawn)


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


def test_one_pair_that_predicts_nothing_has_an_axis_that_can_be_read() -> None:
    table = transfer_table().query("level == 'class:0-1'")
    edges = table["metric"].str.fullmatch("connectivity_(alpha|beta|gamma)")
    table = table.assign(value=table["value"].where(~edges, 0.0))
    figure = transfer_prediction.draw(table)
    assert figure is not None
    left, right = figure.axes[0].get_xlim()
    assert left == pytest.approx(-right) and 0.01 <= right <= 0.02
    texts = " ".join(text.get_text().replace("\n", " ") for text in figure.findobj(Text))
    assert "1 pair, no rank correlation" in texts and "named" not in texts
    assert "1 point, 1 pair of classes drawn anew" in "\n".join(correlations_as_text(correlations(table)))


def test_several_sweeps_are_drawn_together(tmp_path: Path) -> None:
    folders = [tmp_path / shift for shift in SHIFTS]
    for folder, shift in zip(folders, SHIFTS, strict=True):
        write_table(transfer_table(("swav (source + target)",), (0,), shift), folder)
    assert command.main(["transfer_prediction", *map(str, folders)]) == 0
    written = pd.read_csv(folders[0] / "figures" / f"with-{SHIFTS[1]}" / "transfer_prediction.csv")
    assert set(written["dataset"]) == set(SHIFTS) and len(written) == 20
    table = pd.concat([transfer_table(dataset=shift) for shift in SHIFTS])
    names = ["transfer_prediction.png", "transfer_prediction.svg", "transfer_prediction.csv"]
    names.append("transfer_prediction_correlations.csv")
    assert [path.name for path in draw_all(table, tmp_path)] == names
    found = pd.read_csv(tmp_path / names[-1])
    assert set(found["series"]) == {*transfer_prediction.numbers(table)["series"], ALL_PAIRS}
    assert {"prediction", "minus_gamma", "source_accuracy", "log_ratio less source_accuracy"} < set(found["quantity"])


def values(table: Frame, series: str) -> dict[str, tuple[float, float, float]]:
    return {one.quantity: one[2:5] for one in correlations(table) if one.series == series}


def test_rows_of_a_cluster_are_drawn_together() -> None:
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(8), [1, 2, 3, 4, 1, 2, 3, 4])
    x = rng.integers(0, 6, len(cluster)).astype(float)
    z, y = rng.normal(size=len(x)), x + rng.normal(size=8)[cluster] + rng.normal(size=len(x))
    of_each, less = intervals({"x": x, "z": z}, y, [f"pair {i}" for i in cluster], [("x", "z")], num_resampled=60)
    naive: dict[str, list[float]] = {"x": [], "z": []}
    for drawn in np.random.default_rng(0).integers(0, 8, (60, 8)):
        rows = np.concatenate([np.flatnonzero(cluster == i) for i in drawn])
        for name, column in (("x", x), ("z", z)):
            naive[name].append(float(np.asarray(stats.spearmanr(column[rows], y[rows]))[0]))
    for name, samples in naive.items():
        assert of_each[name][1:] == pytest.approx(tuple(np.percentile(samples, [2.5, 97.5])))
    difference = np.subtract(naive["x"], naive["z"])
    assert less["x", "z"][1:] == pytest.approx(tuple(np.percentile(difference, [2.5, 97.5])))
    assert less["x", "z"].value == pytest.approx(of_each["x"].value - of_each["z"].value)


def test_a_second_network_that_says_the_same_makes_nothing_surer() -> None:
    table = transfer_table(("swav (source + target)",))
    table["value"] += 0.1 * np.random.default_rng(0).normal(size=len(table))
    (series,) = {one.series for one in correlations(table)}
    twins = [table.assign(method=f"vicreg{i} (source + target)", trial_key=table["trial_key"] + str(i)) for i in (1, 2)]
    both = pd.concat([table, *twins])
    alone, together = values(table, series), values(both, ALL_PAIRS)
    assert set(alone) == set(together) and all(alone[name] == pytest.approx(together[name]) for name in alone)
    assert all(low < value < high for value, low, high in alone.values())
    found = over_trials(both)
    narrower = interval(found["prediction"], found["accuracy"])
    assert narrower.high - narrower.low < 0.8 * (alone["prediction"][2] - alone["prediction"][1])


def test_controls_stand_beside_the_prediction() -> None:
    table = transfer_table()
    found = transfer_prediction.numbers(table)
    ((series, one),) = found.groupby("series")
    of_network = values(table, str(series))
    for quantity in ("prediction", "log_ratio", "minus_gamma", "source_accuracy"):
        wanted = np.asarray(stats.spearmanr(one[quantity], one["accuracy"]))[0]
        assert of_network[quantity][0] == pytest.approx(wanted)
    assert (one["minus_gamma"] == -one["connectivity_gamma"]).all() and one["source_accuracy"].between(0.85, 0.96).all()
    more = of_network["prediction"][0] - of_network["source_accuracy"][0]
    assert of_network["prediction less source_accuracy"][0] == pytest.approx(more) and more > 0.5
    lines = "\n".join(correlations_as_text(correlations(table)))
    assert "10 points, 10 pairs of classes drawn anew" in lines and "  accuracy in the source " in lines
    assert "  min(alpha, beta) - gamma less that of accuracy in the source " in lines
    without = table[table["metric"] != SOURCE_ACCURACY]  # as it was measured before
    assert len(transfer_prediction.numbers(without)) == len(found)
    assert set(values(without, str(series))) == {name for name in of_network if "source_accuracy" not in name}


def shifts(num: int) -> Frame:
    """Shifts of which the later are harder by both measures, with pairs that say the contrary within each."""
    tables = []
    for i in range(num):
        table = transfer_table(("swav (source + target)",), (0, 1), f"cifar100-blur:{i / 10:g}", -0.1)
        harder = table["metric"].isin([ACCURACY, "connectivity_gamma"])
        change = table["metric"].map({ACCURACY: -0.04 * i, "connectivity_gamma": 0.04 * i})
        tables.append(table.assign(value=table["value"].where(~harder, table["value"] + change)))
    return pd.concat(tables)


def test_shifts_are_correlated_by_their_means() -> None:
    found = {one.series: one for one in correlations(shifts(6)) if one.quantity == "prediction"}
    assert found[SHIFT_MEANS].value == pytest.approx(1) and (found[SHIFT_MEANS].num_points == 6)
    assert found[ALL_PAIRS].value > 0.5 and (found[ALL_PAIRS].num_points, found[ALL_PAIRS].num_units) == (60, 10)
    assert all(one.value < 0 for series, one in found.items() if series not in (SHIFT_MEANS, ALL_PAIRS))
    figure = transfer_prediction.draw(shifts(6))
    assert figure is not None
    assert_no_text_overlaps(figure)
    *of_shifts, means, _ = figure.axes
    large = [line for line in means.lines if line.get_marker() != "None"]
    assert len(of_shifts) == len(large) == 6
    assert any("shift means: 1.00 (" in text.get_text().replace("\n", " ") for text in figure.findobj(Text))
    assert SHIFT_MEANS not in {one.series for one in correlations(shifts(2))}


def test_pairs_are_the_same_where_images_and_classes_are() -> None:
    swav = ("swav (source + target)",)
    sets = {name: transfer_table(swav, (0,), name) for name in (
        "cifar100-grey:1", "cifar100-blur:0.5", "cifar100-subpopulations", "shapes-photo-to-sketch"
    )}  # fmt: skip
    count = sets["shapes-photo-to-sketch"].iloc[:1].assign(level="class", metric="num_classes", value=20.0)
    of_two = sets["shapes-photo-to-sketch"].query("level == 'class:0-1'")
    two = of_two.assign(trial_key="two", value=1 - of_two["value"])
    sets["twenty"] = count
    sets["two"] = pd.concat([two, two.iloc[:1].assign(level="class", metric="num_classes", value=2.0)])
    table = pd.concat(sets.values())
    found = over_trials(table)
    assert len(found) == 4 * 10 + 1 and (found["n"] == 1).all()
    assert set(found.loc[found["level"] == "class:0-1", "unit"]) == {
        "cifar100, class:0-1", "cifar100-subpopulations, class:0-1",
        "shapes-photo-to-sketch, 20 labels, class:0-1", "shapes-photo-to-sketch, 2 labels, class:0-1",
    }  # fmt: skip
    (every,) = (one for one in correlations(table) if (one.series, one.quantity) == (ALL_PAIRS, "prediction"))
    assert (every.num_points, every.num_units) == (41, 31)
    claim = check(table, names=["transfer_follows_connectivity_over_shifts"]).iloc[0]
    assert claim["basis"] == "31 pairs of classes in 4 shifts"
    assert tuple(claim[["estimate", "low", "high"]]) == every[2:5]


def test_claims_over_shifts() -> None:
    names = ["transfer_follows_connectivity_over_shifts", "shifts_transfer_as_connectivity_says"]
    several: Frame = check(shifts(6), "A B", names).set_index("claim")
    assert list(several["verdict"]) == [HOLDS, HOLDS] and set(several["num_trials"]) == {12}
    assert list(several["basis"]) == ["10 pairs of classes in 6 shifts", "6 shifts"]
    by_name = {one.series: one for one in correlations(shifts(6)) if one.quantity == "prediction"}
    for name, series in zip(names, (ALL_PAIRS, SHIFT_MEANS), strict=True):
        assert tuple(several.loc[name, ["estimate", "low", "high"]]) == by_name[series][2:5]
    one: Frame = check(shifts(1), "A", names)
    assert set(one["verdict"]) == {UNKNOWN} and one["note"].str.contains("claims A OTHER_SWEEP").all()


def test_the_claims_command_takes_several_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(tmp_path / f"{i}") for i in range(3)]
    for folder, (_, rows) in zip(folders, shifts(3).groupby("dataset"), strict=True):
        write_table(rows, Path(folder))
    assert main(["claims", *folders]) == 0
    out = capsys.readouterr().out
    assert "methods compared on cifar100-blur:0, cifar100-blur:0.1, cifar100-blur:0.2\n" in out
    written: Frame = pd.read_csv(tmp_path / "0" / "figures" / "with-1-2" / "claims.csv")
    assert written["dataset"].nunique() == 4 and (written["claim"] == "shifts_transfer_as_connectivity_says").sum() == 1


def test_fewer_pairs_are_part_of_more() -> None:
    assert len(class_pairs(20)) == 190 and len(class_pairs(100)) == 200
    assert set(class_pairs(100, 30)) < set(class_pairs(100, 31)) and all(i < j for i, j in class_pairs(100))
