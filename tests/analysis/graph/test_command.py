"""`python -m analysis graph`, and what the table holds of trainings: figures, report; what is refused."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from PIL import Image
from scipy import sparse, stats

from analysis import encoder
from analysis.__main__ import main
from analysis.figures import accuracy_by_epoch, accuracy_by_method, eigenvector_angles, spectral_loss
from analysis.figures.base.numbers import LEARNED, Frame
from analysis.graph import PairGraph, recorded, top_eigenpairs, words
from analysis.graph.alignment import random_smallest_cosine
from analysis.graph.contrastive import marks
from analysis.graph.experiment import Study, graph_of
from analysis.graph.look import look
from analysis.graph.views import ViewFamily, ViewGraph
from analysis.report import make_report
from analysis.report.graph_tables import eigenvectors_table
from analysis.report.results import with_networks
from analysis.table import MEASUREMENTS, read_table
from ray_ssl.data import load_dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.graph_config import KINDS
from ray_ssl.ledger import Ledger
from ray_ssl.storage import Storage
from sweeps import graph_cli
from sweeps.graph import SWEEP
from tests.analysis.graph.trained import IMAGES, plan_of, train_all
from tests.analysis.test_figures import assert_fit_for_print, assert_no_text_overlaps

Capsys = pytest.CaptureFixture[str]
real_show = encoder.show

FLAGS = (*IMAGES, "--resolution", "2", "--sizes", "4", "8")
TRAINED = (*FLAGS, "--k", "4", "--steps", "12", "--seeds", "0", "1")


@pytest.fixture(autouse=True)
def drawn() -> Iterator[list[Storage]]:
    """Where figures and report would be made: every one of them takes seconds, and has tests of its own."""
    shown: list[Storage] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "show", lambda storage: shown.append(storage) or 0)
        yield shown


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    train_all(folder, TRAINED)
    return folder


def read(folder: Path) -> Frame:
    storage = Storage.at(str(folder))
    return read_table(storage.filesystem, storage.path(MEASUREMENTS))


def test_table_holds_what_the_theory_compares(folder: Path) -> None:
    table = read(folder)
    assert set(table["method"]) == {"graph", "eigenvectors", "spectral table", "spectral network"}
    assert tuple(f"spectral {kind}" for kind in KINDS) == LEARNED
    last = table[(table["method"] == "spectral table") & (table["epoch"] == 12) & (table["level"] == "none")]
    first = table[(table["method"] == "spectral table") & (table["epoch"] == 0) & (table["level"] == "none")]
    for metric, better in (("eigenvector_alignment", 1), ("spectral_loss", -1)):
        change = last[last["metric"] == metric]["value"].mean() - first[first["metric"] == metric]["value"].mean()
        assert change * better > 0
    losses = table[table["method"] != "graph"].pivot_table(
        index=["trial_key", "epoch"], columns="metric", values="value"
    )
    assert (losses["spectral_loss"] >= losses["least_loss"] * (1 + 1e-9)).all()
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
    (smallest,) = set(numbers.loc[numbers["metric"] == "eigenvector_cosine", "chance"])
    assert smallest == random_smallest_cosine(4, 50)
    figure = eigenvector_angles.draw(read(folder))
    assert figure is not None and len(figure.axes) == 2
    texts = [text.get_text() for text in figure.texts]
    assert any(text.startswith("full-batch step") for text in texts)
    drawn = [line for ax in figure.axes for line in ax.lines if line.get_linestyle() not in ("-", "None")]
    assert [float(np.asarray(line.get_ydata())[0]) for line in drawn] == [at, smallest]
    assert f"random span {at:.2g}" in " ".join(text.get_text() for text in figure.findobj(Text))
    assert any(text.startswith("k 4 on shapes") for text in texts) and not any("width" in text for text in texts)
    for band in (band for ax in figure.axes for band in ax.collections):
        heights = np.asarray(band.get_paths()[0].vertices)[:, 1]
        assert heights.min() >= 0 and heights.max() <= 1


def test_figure_has_a_column_for_each_number_of_features(folder: Path) -> None:
    table = read(folder)
    other = table.assign(trial_key=table["trial_key"] + "0", width=table["width"].where(table["width"] != 4, 12))
    both = pd.concat([table, other])
    figure = eigenvector_angles.draw(both)
    titles = [text.get_text() for text in figure.findobj(Text)] if figure else []
    assert figure is not None and [text for text in titles if text.startswith("learned")] == [
        "learned on the graph, k 4, 50 nodes", "learned on the graph, k 12, 50 nodes",
    ]  # fmt: skip
    drawn = {
        float(np.asarray(line.get_ydata())[0]) for ax in figure.axes for line in ax.lines if line.get_zorder() == 1
    }
    assert drawn == {4 / 50, 12 / 50, random_smallest_cosine(4, 50), random_smallest_cosine(12, 50)}
    assert_no_text_overlaps(figure)
    assert_fit_for_print(figure)


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


def test_the_report_is_of_the_graph(folder: Path, tmp_path: Path) -> None:
    table = read(folder)
    page = make_report(Ledger(Storage.at(str(folder))), table, tmp_path).decode()
    assert (
        "What do the top eigenvectors of the graph of positive pairs reach" in page
        and "No question is recorded" not in page
    )
    assert '<option value="epoch">step</option>' in page and "Report of an exact graph" in page
    assert "Sweep report" not in page and "from epoch" not in page
    titles = [part.partition("</h2>")[0] for part in page.split("<h2>")[1:]]
    assert titles == [
        "What the graph looks like",
        "Learned on the graph",
        "Its eigenvectors",
        "Claims",
        "Chart",
        "Failures and warnings",
        "Grid",
        "Commands",
    ]
    seen, learned, top = (part.partition("</table>")[0] for part in page.split("<tbody>")[1:4])
    assert [part.partition("<")[0] for part in seen.split('<th scope="row">')[1:]] == ["sample", "class", "superclass"]
    assert learned.count("<tr>") == 2 and top.count("<tr>") == 2 * 2  # sizes, levels
    rows = table[(table["method"] == "spectral table") & (table["epoch"] == 12)]
    values = rows[rows["metric"] == "eigenvector_alignment"]["value"]
    low, _ = stats.t.interval(0.95, 1, values.mean(), stats.sem(values))
    assert f"{values.mean():.3f} \N{PLUS-MINUS SIGN} {values.mean() - low:.3f}" in learned
    chart = json.loads(page.partition('id="measurements">')[2].partition("</script>")[0])
    assert chart["first"] == {"metric": "eigenvector_alignment", "split": "train"}
    assert {trial["network"] for trial in chart["trials"]} == {"spectral table, k 4", "spectral network, k 4"}
    assert "<dd>table, network</dd>" in page or "table" in page.partition("<h2>Grid</h2>")[2]
    assert accuracy_by_epoch.draw(table) is None and accuracy_by_method.draw(table) is None


def _without_progress(text: str) -> list[str]:
    return [line for line in text.splitlines() if "measuring" not in line and " work done " not in line]


def test_a_look_has_the_rows_of_the_sweep_and_measures_nothing_twice(
    folder: Path, tmp_path: Path, drawn: list[Storage], monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    line = ["graph", *FLAGS, "--storage", str(tmp_path)]
    assert main(line) == 0
    order = ["trial_key", "epoch", "level", "split", "metric"]
    exact = read(folder).query("method in ('graph', 'eigenvectors')").drop(columns="sweep")
    ours, theirs = (table.sort_values(order, ignore_index=True) for table in (exact, read(tmp_path)))
    pd.testing.assert_frame_equal(ours, theirs.drop(columns="sweep"))
    said = capsys.readouterr().out
    there = ["--storage", str(tmp_path.parent), "--name", tmp_path.name]
    assert said.endswith(f"next:\n  python sweeps/graph.py {shlex.join([*FLAGS, *there])}\n")
    assert [storage.uri for storage in drawn] == [Storage.at(tmp_path).uri]
    key = theirs.loc[theirs["method"] == "eigenvectors", "trial_key"].iloc[0]
    next((tmp_path / MEASUREMENTS).glob(f"{key}*.parquet")).unlink()
    measured: list[int] = []
    measure = recorded.measure_eigenvectors
    monkeypatch.setattr(recorded, "measure_eigenvectors", lambda study, k: measured.append(k) or measure(study, k))
    assert main(line) == 0
    again = capsys.readouterr().out
    heads = "measuring clusters and linear heads of the top"
    assert f"{heads} 4, 8 eigenvectors; as many clusters as labels\n" in said
    assert len(measured) == 1 and f"{heads} {measured[0]} eigenvectors\n" in again
    assert _without_progress(again) == _without_progress(said)
    assert read(tmp_path).sort_values(order, ignore_index=True).equals(theirs)


def test_two_families_share_a_folder(tmp_path: Path, capsys: Capsys) -> None:
    finer = (*FLAGS, "--sizes", "2", "--storage", str(tmp_path))
    coarser = (*finer, "--resolution", "1", "--levels", "8", "--no-stretch")
    trials = []
    for flags in (finer, coarser, finer):
        assert main(["graph", *flags]) == 0
        trials.append(set(read(tmp_path).query("method == 'eigenvectors'")["trial_key"]))
    assert read(tmp_path).query("method == 'graph'")["trial_key"].nunique() == 2
    assert len(trials[0]) == 1 and len(trials[1]) == 2 and trials[2] == trials[1]
    assert capsys.readouterr().err == ""


def test_small_graphs_leave_out_usual_sizes(tmp_path: Path, capsys: Capsys) -> None:
    small = (*FLAGS[:6], "--resolution", "2", "--levels", "2")
    assert main(["graph", *small, "--storage", str(tmp_path)]) == 0
    assert "14 nodes" in capsys.readouterr().out
    assert set(read(tmp_path).query("method == 'eigenvectors'")["width"]) == {5, 10, 13}
    plan = plan_of(*small)
    assert plan.sizes == [5, 10, 13] and {trial.config.k for trial in plan.trials} == {13}


def test_the_usual_number_of_features_is_at_a_gap_and_ties_are_said(capsys: Capsys) -> None:
    flags = (*IMAGES, "--resolution", "3", "--levels", "4")
    usual, asked = plan_of(*flags), plan_of(*flags, "--k", "20", "--sizes", "5", "50")
    num_components = usual.study.graph.components.max() + 1
    assert {trial.config.k for trial in usual.trials} == {num_components} and num_components in usual.sizes
    said = f"--k not given: {num_components}, for eigenvalues 20 and 21 are equal\n"
    assert capsys.readouterr().out.count(said) == 1
    assert {trial.config.k for trial in asked.trials} == {20} and asked.sizes == [5, 20, 50]
    (line,) = words.say_ties(asked.study, asked.sizes)
    assert "equal eigenvalues: 5 and 6, 20 and 21; the span" in line
    assert line.endswith(f"nearest gaps after {num_components}")
    assert not list(words.say_ties(asked.study, [50]))


def test_fewer_images_than_usual_are_taken_and_more_than_there_are_refused(tmp_path: Path, capsys: Capsys) -> None:
    folder = folder_of(tmp_path / "set", labelled=True)
    flags = ("--dataset", f"folder:{folder}", "--resolution", "2", "--sizes", "2")
    for command in (lambda line: main(["graph", *line]), lambda line: graph_cli.main(SWEEP, [*line, "--dry-run"])):
        assert command([*flags, "--storage", str(tmp_path / "out")]) == 0
        said = capsys.readouterr().out
        assert "--num-images not given: all 20 there are, not 1000\n" in said and "graph     40 images" in said
        assert command([*flags, "--num-images", "21", "--storage", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err == "error: --num-images 21 is more than there are: at most 20\n"
    plan, typed = plan_of(*flags), plan_of(*flags, "--num-images", "20", "--num-test-images", "20")
    assert [trial.key for trial in plan.trials] == [trial.key for trial in typed.trials] and plan.data == typed.data


def test_without_labels_all_else_is_measured(tmp_path: Path, capsys: Capsys) -> None:
    sets = [folder_of(tmp_path / name, labelled=name == "named") for name in ("named", "plain")]
    found, line = [], ()
    for folder in sets:
        line = ("--dataset", f"folder:{folder}", "--resolution", "2", "--levels", "3", "--sizes", "3")
        assert main(["graph", *line, "--storage", str(folder / "out")]) == 0
        found.append(read(folder / "out").set_index(["metric", "level"])["value"])
    said = capsys.readouterr().out
    assert said.count("labels    40 of 40 images have none: left out is") == said.count("\nheads     k  eigengap") == 1
    labelled, unlabelled = found
    assert set(unlabelled.index) == {at for at in labelled.index if at[1] in ("none", "sample")}
    for folder, gap in zip(sets, (at["eigengap", "none"] for at in found), strict=True):
        shown = eigenvectors_table(with_networks(read(folder / "out")))
        assert f'data-title="eigengap">{gap:.4f}<' in shown
        assert ("The images have no labels to tell apart" in shown) == (folder.name == "plain")
    real_show(Storage.at(sets[1] / "out"))
    assert "figures   none: these measurements are of no figure\n" in capsys.readouterr().out
    assert not (sets[1] / "out" / "figures").exists() and (sets[1] / "out" / "report.html").exists()
    # Other images are held out for testing, but the graph is of all.
    # Of equally probable images of a view the first is its sample, and files are in another order.
    alike = unlabelled[unlabelled.index.get_level_values("level") == "none"]
    assert alike.to_dict() == pytest.approx(labelled[alike.index].to_dict())
    plan = train_all(tmp_path / "trained", (*line, "--k", "3", "--steps", "2", "--seeds", "0"))
    learned = read(tmp_path / "trained").query("method not in ('graph', 'eigenvectors')")
    assert set(learned["trial_key"]) == {trial.key for trial in plan.trials} and set(learned["level"]) == {"none"}


@pytest.mark.parametrize(
    ("coarse", "why"), [((-1, 0, 1), "21 of 60 images have none"), ((0, 0, 0), "all images have the same")]
)
def test_superclasses_that_tell_nothing_are_left_out(coarse: tuple[int, ...], why: str) -> None:
    dataset = load_dataset(DataConfig(dataset="shapes", num_images=40, num_test_images=20))
    sides = {
        name: replace(images, coarse=np.array(coarse)[np.arange(len(images)) % 3], coarse_names=("a", "b"))
        for name, images in (("train", dataset.train), ("test", dataset.test))
    }
    dataset = replace(dataset, **sides)
    found = graph_of(dataset, ViewFamily(resolution=2))
    study = Study(dataset, found, top_eigenpairs(found.graph, 3))
    assert study.left_out == {"superclass": why} and [level.name for level in study.levels] == ["class"]
    assert [line for line in words.say(study, look(study)) if line.startswith("labels")] == [
        f"labels    of superclass: {why}: left out is what asks for them (weight within classes, purity of clusters, "
        "linear heads)"
    ]


def folder_of(folder: Path, labelled: bool) -> Path:
    """40 shapes as files, two of each class."""
    images = load_dataset(DataConfig(dataset="shapes", num_images=40, num_test_images=20)).train.take(np.arange(40))
    for i, (pixels, label) in enumerate(zip(images.images, images.fine, strict=True)):
        place = folder / f"class{label}" if labelled else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i:02d}.png")
    return folder


def test_says_what_edges_tell_of_labels() -> None:
    graph, zeros = PairGraph(sparse.eye_array(40)), np.zeros(40, np.int64)
    views = ViewGraph(graph, zeros.astype(np.uint8).reshape(40, 1, 1, 1), np.arange(40), zeros)
    images = load_dataset(DataConfig(dataset="shapes", num_images=20, num_test_images=20))
    apart = Study(images, views, top_eigenpairs(graph, 12))
    text = "\n".join(words.say(apart, look(apart)))
    assert "the graph has 40 components: a cut of weight 0, conductance 0" in text
    assert text.count("no step leaves its image, so edges say nothing of labels") == 2
    assert text.count("no weight between labels") == 3 and "longest 0" in text
    for kept, chance, verdict in ((0.06, 0.05, True), (0.04, 0.05, True), (0.07, 0.05, False), (0.99, 0.9, False)):
        assert ("no more than chance" in words.what_steps_keep(kept, chance)) == verdict


def test_without_images_it_is_a_small_demonstration() -> None:
    small, typed = graph_cli.parse(SWEEP, []), graph_cli.parse(SWEEP, ["--steps", "7"])
    named = graph_cli.parse(SWEEP, ["--dataset", "shapes"])
    assert [(one.num_steps, one.family.resolution, one.demo) for one in (small, typed, named)] == [
        (500, 3, True), (7, 3, True), (2000, 4, False),
    ]  # fmt: skip
    assert small.data == named.data


@pytest.mark.parametrize("command", [lambda line: main(["graph", *line]), lambda line: graph_cli.main(SWEEP, line)])
def test_help_says_how_many_images_are_drawn(
    command: Callable[[list[str]], int], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        command(["--help"])
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    text = " ".join(said.split())
    assert text.count("class-balanced subset of the set (default: 1000)") == 2 and "4000" not in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--dataset says of which images"),
        ((*FLAGS, "--sizes", "1"), "--sizes are 2 or more, given 1"),
        ((*FLAGS, "--sizes", "5000"), "--sizes is 49 at most, for the graph has 50 nodes, given 5000"),
        ((*FLAGS, "--resolution", "1"), "the graph has 1 node(s), 3 are needed"),
        ((*FLAGS, "--crops", "40"), "a crop of 40 pixels does not fit images of 32"),
        ((*FLAGS, "--resolution", "0"), "resolution of views is 1 or more, given 0"),
        ((*FLAGS, "--num-images", "x"), "--num-images takes a whole number of at least 1, given 'x'"),
        ((*FLAGS, "--crops", "1", "20"), "--crops are 2 pixels (the --resolution) or more, given 1 20"),
    ],
)
def test_bad_input_is_one_line(flags: tuple[str, ...], message: str, tmp_path: Path, capsys: Capsys) -> None:
    assert main(["graph", *flags, "--storage", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--k", "1"), "--k is 2 to 2147483647, given 1"),
        (("--k", "50"), "--k is 49 at most, for the graph has 50 nodes, given 50"),
        (("--k", "4", "50", "--dry-run"), "--k is 49 at most, for the graph has 50 nodes, given 50"),
        (("--steps", "0"), "--steps is 1 to 2147483647, given 0"),
        (("--seeds", "-1"), "--seeds is 0 to 9223372036854775807, given -1"),
        (("--num-cpus", "0"), "--num-cpus is at least 1"),
        (("--cpus-per-worker", "3", "--num-cpus", "2"), "a trial asks for 1 x 3 CPUs"),
        (("--num-images", "100000000"), "the images do not fit into memory"),
        (("--name", "a/b"), "--name is one folder inside --storage"),
    ],
)
def test_bad_input_of_the_sweep_is_one_line_and_makes_nothing(
    flags: tuple[str, ...], message: str, tmp_path: Path, capsys: Capsys
) -> None:
    assert graph_cli.main(SWEEP, [*FLAGS, *flags, "--address", "local", "--storage", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
