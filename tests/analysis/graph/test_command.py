"""`python -m analysis graph`: its table, that it goes on where it stopped, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from scipy import sparse, stats

from analysis import encoder
from analysis.__main__ import main
from analysis.figures import accuracy_by_epoch, accuracy_by_method, eigenvector_angles, spectral_loss
from analysis.figures.base.numbers import LEARNED, Frame
from analysis.graph import PairGraph, command, top_eigenpairs
from analysis.graph.contrastive import KINDS, marks
from analysis.graph.experiment import Study
from analysis.graph.views import ViewGraph
from analysis.report import make_report
from analysis.table import MEASUREMENTS, read_table
from ray_ssl.data import load_dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.ledger import Ledger
from ray_ssl.storage import Storage
from tests.analysis.test_figures import assert_fit_for_print, assert_no_text_overlaps

FLAGS = ("--dataset", "shapes", "--num-images", "60", "--num-test-images", "40", "--resolution", "2", "--levels", "3",
         "--k", "4", "--sizes", "4", "8", "--steps", "12", "--num-seeds", "2")  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def drawn() -> Iterator[list[Storage]]:
    """Where figures and report would be made: every one of them takes seconds, and has tests of its own."""
    shown: list[Storage] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "show", lambda storage: shown.append(storage) or 0)
        yield shown


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    assert main(["graph", *FLAGS, "--storage", str(folder)]) == 0
    return folder


def read(folder: Path) -> Frame:
    storage = Storage.at(str(folder))
    return read_table(storage.filesystem, storage.path(MEASUREMENTS))


def test_table_holds_what_the_theory_compares(folder: Path) -> None:
    table = read(folder)
    assert set(table["method"]) == {"eigenvectors", "spectral table", "spectral network"}
    assert tuple(f"spectral {kind}" for kind in KINDS) == LEARNED
    last = table[(table["method"] == "spectral table") & (table["epoch"] == 12) & (table["level"] == "none")]
    first = table[(table["method"] == "spectral table") & (table["epoch"] == 0) & (table["level"] == "none")]
    for metric, better in (("eigenvector_alignment", 1), ("spectral_loss", -1)):
        change = last[last["metric"] == metric]["value"].mean() - first[first["metric"] == metric]["value"].mean()
        assert change * better > 0
    losses = table.pivot_table(index=["trial_key", "epoch"], columns="metric", values="value")
    assert (losses["spectral_loss"] >= losses["least_loss"] - 1e-4).all()
    exact = table[table["method"] == "eigenvectors"]
    wide = exact.pivot_table(index=["width", "level"], columns="metric", values="value").dropna(subset=["head_error"])
    assert len(wide) == 4 and (wide["head_error"] <= wide["head_error_bound"]).all()
    assert np.isfinite(table["value"]).all()


def test_figure_has_both_rows(folder: Path) -> None:
    numbers = eigenvector_angles.numbers(read(folder))
    assert set(numbers["metric"]) == {"eigenvector_alignment", "eigenvector_cosine"} and set(numbers["n"]) == {2}
    nodes = set(read(folder).query("metric == 'graph_num_nodes'")["value"])
    (at,) = set(numbers.loc[numbers["metric"] == "eigenvector_alignment", "chance"])
    assert at == 4 / nodes.pop() and not nodes
    assert numbers.loc[numbers["metric"] == "eigenvector_cosine", "chance"].isna().all()
    figure = eigenvector_angles.draw(read(folder))
    assert figure is not None and len(figure.axes) == 2
    texts = [text.get_text() for text in figure.texts]
    assert any(text.startswith("full-batch step") for text in texts)
    drawn = [line for ax in figure.axes for line in ax.lines if line.get_linestyle() not in ("-", "None")]
    assert [float(np.asarray(line.get_ydata())[0]) for line in drawn] == [at]
    assert f"random span {at:.2g}" in " ".join(text.get_text() for text in figure.findobj(Text))
    assert any(text.startswith("k 4 on shapes") for text in texts) and not any("width" in text for text in texts)
    for band in (band for ax in figure.axes for band in ax.collections):
        heights = np.asarray(band.get_paths()[0].vertices)[:, 1]
        assert heights.min() >= 0 and heights.max() <= 1


def test_figure_of_the_loss_compares_with_the_eigenvectors_of_the_same_graph(folder: Path) -> None:
    table = read(folder)
    found = spectral_loss.numbers(table)
    assert len(found) == 2 * 3 * len(marks(12)) and set(found["n"]) == {2} and set(found["k"]) == {4}
    exact = table[(table["method"] == "eigenvectors") & (table["width"] == 4)]
    for level, one in found.groupby("level"):
        metric, split = ("spectral_loss", "train") if level == "none" else ("linear_accuracy", "test")
        rows = table[(table["metric"] == metric) & (table["split"] == split) & (table["level"] == level)]
        assert one["best"].to_numpy() == pytest.approx(rows[rows["trial_key"].isin(exact["trial_key"])]["value"].item())
        for (method, step), last in one.groupby(["method", "epoch"])["mean"]:
            ours = rows[(rows["method"] == method) & (rows["epoch"] == step)]["value"]
            assert last.item() == pytest.approx(ours.mean())
    assert found["best"][found["metric"] == "spectral_loss"].to_numpy() == pytest.approx(found["least_loss"].iloc[0])


def test_figure_of_the_loss_has_a_column_for_each_graph(folder: Path) -> None:
    table = read(folder)
    halved = table["value"].mask(table["metric"].isin(["spectral_loss", "least_loss"]), table["value"] / 2)
    other = table.assign(trial_key=table["trial_key"] + "0", value=halved)
    for rows, num_panels in ((table, 3), (pd.concat([table, other]), 6)):
        figure = spectral_loss.draw(rows)
        assert figure is not None and len(figure.axes) == num_panels
        assert_no_text_overlaps(figure)
        assert_fit_for_print(figure)
    assert spectral_loss.draw(table[table["method"] == "eigenvectors"]) is None


def test_figures_and_report_are_made(folder: Path, drawn: list[Storage]) -> None:
    assert drawn[0].uri == Storage.at(str(folder)).uri


def test_the_report_is_of_the_graph(folder: Path, tmp_path: Path) -> None:
    table = read(folder)
    page = make_report(Ledger(Storage.at(str(folder))), table, tmp_path).decode()
    assert "Does minimising the spectral contrastive loss find" in page and "No question is recorded" not in page
    assert '<option value="epoch">step</option>' in page and "Report of an exact graph" in page
    assert "Sweep report" not in page and "from epoch" not in page
    titles = [part.partition("</h2>")[0] for part in page.split("<h2>")[1:]]
    assert titles == ["Learned on the graph", "Its eigenvectors", "Claims", "Chart", "Commands"]
    learned, top = (part.partition("</table>")[0] for part in page.split("<tbody>")[1:3])
    assert learned.count("<tr>") == 2 and top.count("<tr>") == 2 * 2  # sizes, levels
    rows = table[(table["method"] == "spectral table") & (table["epoch"] == 12)]
    values = rows[rows["metric"] == "eigenvector_alignment"]["value"]
    low, _ = stats.t.interval(0.95, 1, values.mean(), stats.sem(values))
    assert f"{values.mean():.3f} \N{PLUS-MINUS SIGN} {values.mean() - low:.3f}" in learned
    chart = json.loads(page.partition('id="measurements">')[2].partition("</script>")[0])
    assert chart["first"] == {"metric": "eigenvector_alignment", "split": "train"}
    assert {trial["network"] for trial in chart["trials"]} == {"spectral table, k 4", "spectral network, k 4"}
    assert accuracy_by_epoch.draw(table) is None and accuracy_by_method.draw(table) is None


def test_nothing_is_measured_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read(folder)
    removed = sorted((folder / MEASUREMENTS).glob("*-000012-graph.parquet"))[0]
    removed.unlink()
    monkeypatch.setattr(command, "measure_eigenvectors", lambda *_: pytest.fail("measured again"))
    assert main(["graph", *FLAGS, "--storage", str(folder)]) == 0
    order = ["trial_key", "epoch", "level", "split", "metric"]
    ours, theirs = (table.sort_values(order, ignore_index=True) for table in (before, read(folder)))
    assert ours.equals(theirs)


def test_two_families_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finer = (*FLAGS, "--k", "2", "--sizes", "2", "--steps", "1", "--num-seeds", "1", "--storage", str(tmp_path))
    coarser = (*finer, "--resolution", "1", "--levels", "8", "--no-stretch")
    trials = []
    for flags in (finer, coarser, finer):
        assert main(["graph", *flags]) == 0
        trials.append(set(read(tmp_path)["trial_key"]))
    assert len(trials[0]) == 3 and len(trials[1]) == 6 and trials[2] == trials[1]
    assert capsys.readouterr().err == ""


def test_small_graphs_leave_out_usual_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = (*FLAGS[:6], "--resolution", "2", "--levels", "2", "--steps", "1", "--num-seeds", "1")
    assert main(["graph", *small, "--storage", str(tmp_path)]) == 0
    assert "14 nodes" in capsys.readouterr().out
    assert set(read(tmp_path)["width"]) == {5, 10, 13}


def test_says_what_edges_tell_of_labels() -> None:
    graph, zeros = PairGraph(sparse.eye_array(40)), np.zeros(40, np.int64)
    views = ViewGraph(graph, zeros.astype(np.uint8).reshape(40, 1, 1, 1), np.arange(40), zeros)
    images = load_dataset(DataConfig(dataset="shapes", num_images=20, num_test_images=20))
    apart = Study(images, views, top_eigenpairs(graph, 12))
    text = "\n".join(command.say(apart))
    assert "the graph has 40 components: a cut of weight 0, conductance 0" in text
    assert text.count("no step leaves its image, so edges say nothing of labels") == 2
    assert text.count("over between inf") == 3 and "longest 0" in text
    for kept, chance, verdict in ((0.06, 0.05, True), (0.04, 0.05, True), (0.07, 0.05, False), (0.99, 0.9, False)):
        assert ("no more than chance" in command.what_steps_keep(kept, chance)) == verdict


def test_help_says_how_many_images_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["graph", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("class-balanced subset of the set (default: 1000)") == 2 and "4000" not in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--dataset says of which images"),
        ((*FLAGS, "--k", "1"), "--k and --sizes are 2 or more"),
        ((*FLAGS, "--sizes", "5000"), "--sizes is 49 at most, for the graph has 50 nodes, given 5000"),
        ((*FLAGS, "--k", "50"), "--k is 49 at most, for the graph has 50 nodes, given 50"),
        ((*FLAGS, "--resolution", "1"), "the graph has 1 node(s), 3 are needed"),
        ((*FLAGS, "--crops", "40"), "a crop of 40 pixels does not fit images of 32"),
        ((*FLAGS, "--resolution", "0"), "resolution of views is 1 or more, given 0"),
        ((*FLAGS, "--num-images", "x"), "num_images"),
    ],
)
def test_bad_input_is_one_line(
    flags: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["graph", *flags, "--storage", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
