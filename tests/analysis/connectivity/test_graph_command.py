"""`python -m analysis connectivity --groups`: rows, lines, going on, what encoders are compared with, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from analysis import __main__ as command
from analysis import stored
from analysis.command import read_measurements
from analysis.connectivity.compared import compared_with, estimated_groups, outdated, with_estimates
from analysis.connectivity.estimated import read_estimate
from analysis.features import Pictures, extract
from analysis.figures.base.numbers import Frame
from analysis.graph import top_eigenpairs
from analysis.graph.alignment import alignment, feature_basis
from analysis.images import measured_images
from analysis.measurable import unmeasurable
from analysis.measure import measure_backbone
from analysis.report import make_report
from analysis.settings import AnalysisSettings
from analysis.survey import columns
from analysis.tasks import ESTIMATED, find_tasks
from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as ResLH
from ray_ssl.config import PretrainConfig, ViewConfig, replace
from ray_ssl.data import load_dataset
from ray_ssl.errors import UserError
from ray_ssl.ledger import Ledger
from tests.analysis.connectivity.test_command import counted, make_sweep

__all__ = ["counted"]

PLAIN: dict[str, object] = {"data.num_images": 60, "data.num_test_images": 40, "data.image_size": 16}
STEP = ["--steps", "1"]


def measured(ledger: Ledger) -> Frame:
    table: Frame = read_measurements(ledger.sweep)
    return table.sort_values(["seed", "metric", "level"], ignore_index=True)


def test_both_graphs_have_rows_and_lines_and_nothing_is_measured_twice(
    tmp_path: Path, counted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = make_sweep(tmp_path, PLAIN)
    for kind, flags in (("class", []), ("image", ["--num-images", "30"])):
        assert command.main(["connectivity", str(tmp_path), "--groups", kind, *flags, *STEP]) == 0
        out = capsys.readouterr().out
        for word in ("graph ", "errors ", "paths ", "spectrum ", "cut ", "superclass", "seeds ", "purity", "next:"):
            assert word in out, word
        assert f"python -m analysis {tmp_path} --metrics estimated_alignment" in out
    assert counted == ["0/joint", "1/joint", "0/images", "1/images"]
    table = measured(ledger)
    page = make_report(ledger, table, tmp_path / "figures").decode().partition("<h2>The estimated graph</h2>")[2]
    seen = page.partition("</section>")[0]
    assert "20 classes of shapes; means over the graphs of 2" in seen and "30 training images of shapes; means" in seen
    floor = table.loc[table["metric"] == "image_graph_floor", "value"].mean()
    assert f"{floor:.3f} between the two that are told apart best" in seen
    nmi = table[(table["metric"] == "image_graph_cluster_nmi") & (table["level"] == "superclass")]["value"].mean()
    assert f"{nmi:.2f} (" in seen and seen.count('<th scope="row">superclass') == 2
    assert set(table["layer"]) == {-2} and set(table["level"]) == {"none", "class", "superclass"}
    counts = {
        kind: table[table["metric"] == f"{kind}_graph_num_nodes"]["value"].tolist() for kind in ("class", "image")
    }
    assert counts == {"class": [20, 20], "image": [30, 30]}
    within = table.loc[table["metric"] == "image_graph_error_within", "value"]
    assert within.tolist() == [0.5, 0.5] and np.isfinite(table["value"]).all()
    assert command.main(["connectivity", str(tmp_path), "--groups", "class", *STEP]) == 0
    assert "nothing to measure" in capsys.readouterr().out and len(counted) == 4
    for kind, fewer, words in (
        ("image", ["--num-images", "20", "--steps", "2"],
         "--num-images 20, --steps 2: this is measured with --num-images 30, --steps 1 here"),
        ("class", ["--steps", "2"], "--steps 2: this is measured with --steps 1 here"),
    ):  # fmt: skip
        assert command.main(["connectivity", str(tmp_path), "--groups", kind, *fewer]) == 2
        err = capsys.readouterr().err
        assert words in err and f"delete {ledger.sweep.address(f'connectivity-{kind}.json')}" in err
        assert err.count("\n") == 1 and len(counted) == 4
    assert measured(ledger).equals(table)


def test_with_a_shift_classes_are_of_both_domains_and_pairs_of_them_are_kept(
    tmp_path: Path, counted: list[str]
) -> None:
    ledger = make_sweep(tmp_path, seeds=(0,))
    assert command.main(["connectivity", str(tmp_path), *STEP]) == 0
    assert command.main(["connectivity", str(tmp_path), "--groups", "class", "--way", "pairs", *STEP]) == 0
    assert counted == ["0/joint", "0/0", "0/1", "0/2", "0/0-1", "0/0-2", "0/1-2"]
    table = measured(ledger)
    assert {"connectivity_rho", "class_graph_floor"} <= set(table["metric"])


def test_errors_of_another_way_are_not_replaced(
    tmp_path: Path, counted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = make_sweep(tmp_path, seeds=(0,))
    for flags in ([], ["--groups", "class"]):
        assert command.main(["connectivity", str(tmp_path), *flags, *STEP]) == 0
        table, names = measured(ledger), list(counted)
        capsys.readouterr()
        assert command.main(["connectivity", str(tmp_path), *flags, *STEP, "--way", "pairs"]) == 2
        err = capsys.readouterr().err
        assert "--way pairs: this is measured --way joint here" in err and err.count("\n") == 1
        assert measured(ledger).equals(table) and counted == names


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--groups", "class", "--pairs", "2"], "--pairs is for pairs of classes"),
        (["--num-images", "20"], "--num-images is for --groups image"),
        (["--groups", "image", "--num-images", "2"], "--num-images is 3 to the number of training images, 60, given 2"),
        (
            ["--groups", "image", "--num-images", "61"],
            "--num-images is 3 to the number of training images, 60, given 61",
        ),
    ],
)
def test_what_cannot_be_is_one_line(
    flags: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sweep(tmp_path, PLAIN, seeds=(0,))
    assert command.main(["connectivity", str(tmp_path), *flags]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_of_fewer_images_than_usual_all_are_taken(
    tmp_path: Path, counted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = make_sweep(tmp_path, PLAIN, seeds=(0,))
    for flags in ([], ["--num-images", "60"]):  # the same numbers, which are measured once
        assert command.main(["connectivity", str(tmp_path), "--groups", "image", *STEP, *flags]) == 0
        said = "images    --num-images not given: all 60 training images there are, not 500\n"
        assert (said in capsys.readouterr().out) == (not flags)
    assert counted == ["0/images"]
    assert set(measured(ledger).query("metric == 'image_graph_num_nodes'")["value"]) == {60}


def test_too_few_classes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_sweep(tmp_path, {**PLAIN, "data.num_test_images": 20}, seeds=(0,))
    assert command.main(["connectivity", str(tmp_path), "--groups", "class"]) == 2
    assert "a graph of classes needs 3, each with 2 training and 2 test images" in capsys.readouterr().err


def test_encoders_are_compared_with_the_graph_of_their_sweep(tmp_path: Path) -> None:
    """The mean feature of each node's views by a plain loop, against the eigenvectors of the mean estimate.

    The classes are told apart without edges, so that all eigenvalues of their graph are equal; the images are not.
    """
    ledger = make_sweep(tmp_path, PLAIN)
    tasks = find_tasks(["estimated_alignment"])
    settings = AnalysisSettings(num_test_views=3)
    data = load_dataset(replace(PretrainConfig(), PLAIN).data)
    assert set(unmeasurable(data, settings, tasks)) == {f"estimated_alignment@{group}" for group in ESTIMATED}
    for flags in (["class"], ["image", "--num-images", "30"]):
        assert command.main(["connectivity", str(tmp_path), "--groups", *flags, *STEP]) == 0
    assert estimated_groups(ledger.sweep) == ESTIMATED
    assert "estimated_alignment@class_graph" in find_tasks(["all"], ["all"], estimated_groups(ledger.sweep))
    assert not any("estimated" in task for task in find_tasks(["all"], ["all"]))
    settings = with_estimates(settings, ledger.sweep, tasks)
    assert settings.class_graph and settings.num_graph_images == 30 and not unmeasurable(data, settings, tasks)
    graphs = compared_with(ledger.sweep, tasks)
    torch.manual_seed(0)
    backbone = build_backbone(ResLH(depth=1, width=8), 16).eval()
    card = {"config": {"data": {"image_size": 16}}, "normalisation": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    images = measured_images(data, settings, tasks, graphs)
    found = measure_backbone(backbone, card, images, tasks, torch.device("cpu"))
    of_class, of_image = found["estimated_alignment@class_graph"], found["estimated_alignment@image_graph"]
    assert {row.measurement.level for row in of_class} == {"class"} and len(of_image) == len(of_class) == 3 * 2 * 13
    for rows, kind, pictures, labels in (
        (of_class, "class", Pictures(data.test.images, 1, ViewConfig(), 0, "class_graph views, test"), data.test.fine),
        (of_image, "image", Pictures(images.of_graph, 3, ViewConfig(), 0, "image_graph views, test"),
         np.repeat(np.arange(30), 3)),
    ):  # fmt: skip
        features = extract(backbone, pictures, card, torch.device("cpu"))[-1].double().numpy()
        means = np.stack([features[labels == one].mean(0) for one in range(labels.max() + 1)])
        estimate = read_estimate(ledger.sweep, kind)
        assert estimate is not None and getattr(settings, f"{kind}_graph") == estimate.fingerprint
        weights = estimate.graph.graph.node_weights
        vectors = top_eigenpairs(estimate.graph.graph, 10).vectors
        expected = alignment(feature_basis(means, weights), vectors)
        last = {row.measurement.metric: row.measurement.value for row in rows[-13:]}  # the representation, test views
        isolated = len(weights) == estimate.graph.graph.components.max() + 1  # then any span of 10 has the least loss
        principal, whole = (min(10, features.shape[1]) / 10,) * 2 if isolated else expected
        assert last["estimated_alignment_top10"] == pytest.approx(principal, abs=1e-9)
        assert last["estimated_coverage_top10"] == pytest.approx(whole, abs=1e-9)
        assert last["estimated_num_equal_top10"] == (len(weights) - 10 if isolated else 0)
        assert last["estimated_num_nodes"] == len(weights) and np.isnan(last["estimated_alignment_top50"])
    trial, task = ledger.known_trials()[0], "estimated_alignment@class_graph"
    about = columns(trial.config, "sweep", trial.key, data.name, 0)
    stored.write(ledger.sweep, about, task, of_class, settings.of(task))
    assert outdated(ledger.sweep) == []
    (tmp_path / "connectivity-class.json").unlink()
    assert command.main(["connectivity", str(tmp_path), "--groups", "class", "--steps", "2"]) == 0
    assert (
        f"estimated anew since encoders were compared with it: python -m analysis {ledger.sweep.uri}"
        in (outdated(ledger.sweep)[0])
    )
    content = ledger.sweep.read("connectivity-class.safetensors")
    ledger.sweep.write("connectivity-class.safetensors", content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"connectivity-class.safetensors beside it is torn.* --groups class makes"):
        read_estimate(ledger.sweep, "class")
