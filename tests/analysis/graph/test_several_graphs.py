"""Several exact graphs and trainings in one folder: nothing is averaged over different ones; default folders differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from analysis import encoder
from analysis.__main__ import main
from analysis.claims import check
from analysis.figures import __main__ as figures_command
from analysis.figures import eigenvector_angles, probe_by_purity, spectral_loss
from analysis.figures.base import is_of_networks, lacks, why_not_drawn
from analysis.figures.base.numbers import Frame, trials
from analysis.graph import top_eigenpairs
from analysis.graph.alignment import NUM_EQUAL, NUM_NODES, NUM_STEPS
from analysis.report.graph_tables import eigenvectors_table, learned_table
from analysis.report.results import with_networks
from analysis.stored import read_projections
from analysis.table import KIND, MEASUREMENTS, Checkpoint, read_table
from ray_ssl.ledger import Ledger
from ray_ssl.plugins import plugin_names
from ray_ssl.storage import Storage
from ray_ssl.sweep.overview import show
from tests.analysis.graph.graphs import dense, random_graph
from tests.analysis.graph.trained import IMAGES, train_all
from tests.analysis.purity_tables import graph_table, purity_table
from tests.analysis.test_figures import assert_fit_for_print, assert_no_text_overlaps

FEATURES = ("--k", "3", "--sizes", "3", "5", "--seeds", "0", "1")
COARSE, FINE = ("--resolution", "2"), ("--resolution", "3")
NAMES = {f"spectral {kind}, {words}" for kind in ("table", "network") for words in
         ("k 3, 50 nodes, 2 steps", "k 3, 50 nodes, 4 steps", "k 3, 94 nodes, 2 steps")}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two graphs of one data set, of one of them trainings of two lengths."""
    folder = tmp_path_factory.mktemp("several")
    for flags in ((*COARSE, "--steps", "2"), (*COARSE, "--steps", "4"), (*FINE, "--steps", "2")):
        train_all(folder, (*IMAGES, *FEATURES, *flags))
    return folder


def read(folder: Path) -> Frame:
    storage = Storage.at(str(folder))
    return read_table(storage.filesystem, storage.path(MEASUREMENTS))


@pytest.fixture(scope="module")
def table(folder: Path) -> Frame:
    return read(folder)


def test_networks_are_told_apart_by_graph_and_steps_not_by_keys(table: Frame) -> None:
    found = trials(table)
    learned = found[found["method"] != "eigenvectors"]
    nodes = sorted(table.loc[table["metric"] == NUM_NODES, "value"].astype(int).unique())
    assert len(nodes) == 2
    names = {name.replace("50 nodes", f"{nodes[0]} nodes").replace("94 nodes", f"{nodes[1]} nodes") for name in NAMES}
    assert set(learned["network"]) == names and (learned.groupby("network")["seed"].nunique() == 2).all()
    assert not found["network"].str.contains("trial").any()
    value = table.pivot_table(index="trial_key", columns="metric", values="value", aggfunc="max")
    for network, one in learned.groupby("network"):
        words = value.loc[one["trial_key"]]
        assert set(words[NUM_NODES]) == {float(network.split(" nodes")[0].rpartition(" ")[2])}
        assert set(words[NUM_STEPS]) == {float(network.split(" steps")[0].rpartition(" ")[2])}


def test_one_graph_alone_is_named_by_nothing_more(table: Frame) -> None:
    of = table[table["metric"] == NUM_STEPS].set_index("trial_key")["value"]
    fine = table.loc[table["metric"] == NUM_NODES, ["trial_key", "value"]].drop_duplicates()
    most = set(fine.loc[fine["value"] == fine["value"].max(), "trial_key"])
    one = table[table["trial_key"].isin(most & {*of.index})]
    assert set(trials(one)["network"]) == {"spectral table, k 3", "spectral network, k 3"}


def test_figures_average_over_seeds_alone(table: Frame) -> None:
    angles, loss, purity = (module.numbers(table) for module in (eigenvector_angles, spectral_loss, probe_by_purity))
    assert angles["network"].nunique() == 6 and set(angles["n"]) == {2}
    assert set(loss["n"]) == {2} and loss.groupby("method")[["least_loss", "study"]].nunique().to_numpy().min() >= 2
    assert loss[["least_loss", "study"]].drop_duplicates().shape[0] == 3 and loss["best"].notna().all()
    exact = table[(table["method"] == "eigenvectors") & (table["metric"] == "head_error")]
    assert sorted(1 - exact["value"]) == pytest.approx(sorted(purity["accuracy"])) and (purity["n"] == 1).all()
    assert purity["network"].nunique() == 2
    drawn = [module.draw(table) for module in (eigenvector_angles, spectral_loss, probe_by_purity)]
    for figure in drawn:
        assert figure is not None
        assert_no_text_overlaps(figure)
        assert_fit_for_print(figure)
    words = [" ".join(text.get_text() for text in figure.findobj(Text)) for figure in drawn if figure is not None]
    assert all("nodes" in one for one in words) and "4 steps" in words[0] and "4 steps" in words[1]


def test_eigenvectors_of_a_table_that_does_not_say_of_which_graph_are_not_joined() -> None:
    keyed = [graph_table().assign(trial_key=lambda one, i=i: f"{i}x" + one["width"].astype(str)) for i in (1, 2)]
    two = pd.concat(keyed)
    assert probe_by_purity.numbers(two)["network"].nunique() == two["trial_key"].nunique()
    assert set(probe_by_purity.numbers(graph_table())["network"]) == {"eigenvectors"}


def test_graphs_of_equally_many_nodes_are_not_averaged_either(table: Frame) -> None:
    of_graph = table["metric"].isin(["least_loss", "spectral_loss", "graph_eigenvalue_sum"])
    halved = table.assign(trial_key="f" + table["trial_key"], value=table["value"].mask(of_graph, table["value"] / 2))
    two = pd.concat([table, halved])
    for module, num_names in ((eigenvector_angles, 12), (probe_by_purity, 4)):
        found = module.numbers(two)
        assert found["network"].nunique() == num_names and set(found["n"]) <= {1, 2}
    assert set(spectral_loss.numbers(two)["n"]) == {2}


def test_an_unfinished_training_is_marked(table: Frame) -> None:
    networks = table[table["method"] == "spectral network"]
    longest = networks.loc[(networks["metric"] == NUM_STEPS) & (networks["value"] == 4), "trial_key"]
    seeds = networks[networks["trial_key"].isin(longest)].groupby("seed")["trial_key"].first()

    def without(*keys: str) -> Frame:
        return with_networks(table[~(table["trial_key"].isin(keys) & (table["epoch"] > 2))])

    assert "unfinished" not in learned_table(with_networks(table))
    one, both = learned_table(without(seeds[0])), learned_table(without(*seeds))
    assert one.count("unfinished") == 1 and "1, 1 more unfinished; the same command goes on" in one
    assert both.count("unfinished") == 1 and "2 of 4, unfinished; the same command goes on" in both
    note = check(without(*seeds).drop(columns="network"))["note"]
    assert (note.str.contains("2 training(s) at step 2 of 4, 2 of 4, unfinished", regex=False)).sum() == 1


def test_purity_is_in_the_unit_of_accuracies(table: Frame) -> None:
    page = eigenvectors_table(with_networks(table))
    purity = table.loc[table["metric"] == "cluster_purity", "value"]
    assert all(f"{100 * value:.1f}" in page for value in purity) and "Purity in per cent" in page


def test_a_graph_has_its_claim_and_no_other(table: Frame) -> None:
    found = check(table).set_index("method")
    assert len(found) == 6 and set(found["claim"]) == {"spectral_features_approach_eigenvectors"}
    assert set(found["command"]) == {""} and not found["note"].str.contains("python").any()
    rows = table[table["metric"] == "eigenvector_alignment"]
    for network, one in trials(table).groupby("network"):
        at = rows[rows["trial_key"].isin(one["trial_key"])].pivot_table(index="seed", columns="epoch", values="value")
        if len(at):
            gains = at[at.columns.max()] - at[0]
            assert found.loc[network, "estimate"] == pytest.approx(gains.mean())
            assert (found.loc[network, "verdict"] == "holds") <= (gains.mean() > 0)
            assert found.loc[network, "basis"] == "2 seeds"


def test_eigenvectors_alone_have_no_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str], table: Frame) -> None:
    alone = table[table["method"] == "eigenvectors"]
    assert check(alone).empty
    storage = Storage.at(str(tmp_path))
    for i, (key, rows) in enumerate(alone.groupby("trial_key")):
        at = Checkpoint("graph", str(key), "eigenvectors", 0, i, 0, "shapes", 0)
        KIND.write(storage.filesystem, storage.path(MEASUREMENTS), at, "graph", rows.to_dict("records"), {})
    assert main(["claims", str(tmp_path)]) == 0
    assert "no claim is about eigenvectors of an exact graph alone" in capsys.readouterr().out


def test_beside_networks_a_graph_changes_none_of_their_verdicts(table: Frame) -> None:
    encoders = purity_table()
    alone, both = check(encoders), check(pd.concat([encoders, table]))
    assert "spectral_features_approach_eigenvectors" in set(alone["claim"])
    of_networks: Frame = both[~both["method"].str.contains("nodes")].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_networks, alone)


def test_the_command_says_nothing_that_fails_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "spectral_features_approach_eigenvectors" in text and "python -m" not in text and "not measured" not in text


def test_a_figure_that_was_drawn_of_a_graph_lacks_nothing_of_it(table: Frame) -> None:
    for name in ("eigenvector_angles", "probe_by_purity", "spectral_loss"):
        assert lacks(name, table, "GRAPH") is None
    assert "python -m analysis SWEEP" in (lacks("eigenvector_angles", purity_table(), "SWEEP") or "")
    assert "python" not in (lacks("fig2_left", table, "GRAPH") or "python")


def test_why_a_figure_is_not_drawn_of_a_graph_is_true(table: Frame) -> None:
    of_graphs = {"eigenvector_angles", "probe_by_purity", "spectral_loss"}
    top, none = table[table["method"] == "eigenvectors"], read_projections(Storage.at("nowhere"))
    for rows in (table, top):
        for name in {*plugin_names("analysis.figures")} - of_graphs:
            said = why_not_drawn(name, rows, "GRAPH", none)
            assert said == "is of networks, and GRAPH holds an exact graph's features alone", name
    for name in of_graphs - {"probe_by_purity"}:
        assert "learned on the graph: python sweeps/graph.py with" in why_not_drawn(name, top, "GRAPH", none)
    unlabelled = table[table["level"] == "none"]
    assert why_not_drawn("probe_by_purity", unlabelled, "G", none) == "needs labels of the images, which have none"
    assert "--trials chose" in why_not_drawn("fig1", top, "GRAPH", none, whole=(table, none))
    begun = table[table["epoch"] == 0]
    assert "the sweep's command again" in why_not_drawn("eigenvector_angles", begun, "GRAPH", none)


def test_figures_of_networks_are_named_in_one_line_and_steps_are_called_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert figures_command.main(["all", str(folder), "--out", str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "of networks" in line]
    of_networks = [name for name in plugin_names("analysis.figures") if is_of_networks(name, read(folder))]
    assert len(lines) == 1 and "fig2 left" in lines[0] and "accuracy_by_epoch" in lines[0]
    assert lines[0].startswith(f"{len(of_networks)} figures are of networks, and {folder} holds an exact graph's")
    assert lines[0].partition("alone: ")[2].count(", ") == len(of_networks) - 1
    assert figures_command.main(["fig2_left", str(folder), "--out", str(tmp_path)]) == 2
    assert f"fig2 left is of networks, and {folder} holds" in capsys.readouterr().out
    assert show([Ledger(Storage.at(folder))]).splitlines()[1].split() == ["key", "trial", "state", "step", "why"]


def test_every_study_has_a_default_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(encoder, "show", lambda storage: shown.append(storage.uri) or 0)
    monkeypatch.setenv("RAY_SSL_STORAGE", str(tmp_path))
    short = (*IMAGES, *COARSE, "--sizes", "3", "5")
    typed = (*short, "--shifts", "5", "--image-size", "32")  # as by default
    others = [("--sizes", "4"), ("--no-flip",), ("--data-seed", "1")]
    for flags in (short, typed, *((*short, *other) for other in others)):
        assert main(["graph", *flags]) == 0
    assert len(set(shown[:2])) == 1 and len(set(shown)) == 1 + len(others)
    assert all(Path(uri).parent == tmp_path and Path(uri).name.startswith("graph-shapes-") for uri in shown)
    assert {path.name for path in tmp_path.iterdir()} == {Path(uri).name for uri in shown}


def test_the_sum_of_eigenvalues_is_that_of_a_dense_solver() -> None:
    graph = random_graph(30, 20, 3)
    assert graph.eigenvalue_sum == pytest.approx(np.linalg.eigvalsh(dense(graph)[2]).sum())
    assert graph.eigenvalue_sum == pytest.approx(top_eigenpairs(graph, 20).values.sum())


def test_a_tie_is_said_and_random_spans_have_no_line(table: Frame) -> None:
    equal = table["metric"] == NUM_EQUAL
    assert set(table.loc[equal, "value"]) == {0, 5}  # the finer graph has eight components
    none = (table["metric"] == "eigengap") & (table["value"] < 1e-9)
    table = table[~table["trial_key"].isin(table.loc[none | equal & (table["value"] > 0), "trial_key"])]
    equal, gap = table["metric"] == NUM_EQUAL, table["metric"] == "eigengap"
    tied = table.assign(value=table["value"].mask(equal, 2.0).mask(gap, 0.0))
    words = "eigenvalues 3 and 4 are equal: compared with the closest"
    for rows, is_tied in ((table, False), (tied, True)):
        assert eigenvector_angles.numbers(rows)["chance"].isna().all() == is_tied
        figure = eigenvector_angles.draw(rows)
        assert figure is not None
        said = " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())
        assert (words in said) == is_tied and ("random span" in said) != is_tied
        notes = check(rows, names=["spectral_features_approach_eigenvectors"]).query("method != ''")["note"]
        assert notes.str.contains(words).any() == is_tied
        assert ("(tied)" in learned_table(with_networks(rows)).partition("<tbody>")[2]) == is_tied
        assert ("tied" in eigenvectors_table(with_networks(rows))) == is_tied
