"""The table of projections: its parts stand beside the measurements, and only what is missing is projected."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis import projections, stored, table
from analysis.flags import refuse_other_numbers
from analysis.images import measured_images
from analysis.measurable import check_measurable
from analysis.measure import measure_checkpoint
from analysis.metrics import umap
from analysis.metrics.base import Point
from analysis.pipeline import MEASUREMENTS, _Measurer
from analysis.projections import PROJECTIONS, SCHEMA, LayerPoint
from analysis.settings import AnalysisSettings
from analysis.survey import missing_work
from analysis.tasks import find_tasks, groups_of_data, is_projection
from ray_ssl.checkpoints import checkpoint_folder, load_checkpoint
from ray_ssl.config import PretrainConfig
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.errors import UserError
from ray_ssl.ledger import Ledger, Trial, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from tests.analysis.written_tables import write_part

SETTINGS = AnalysisSettings(num_samples=6, num_train_views=4, num_test_views=1)
TASKS = ("umap", "umap@sample", "ncc")
ABOUT = table.Checkpoint("sweep", "0" * 16, "vicreg", 2, 16, 0, "shapes", 3)


def test_points_come_back_with_the_columns_of_the_schema_and_a_torn_part_counts_as_missing(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    points = [LayerPoint(1, "block1", Point("class", 7, "bee", row, 0.5 * row, -1.25)) for row in (4, 9)]
    stored.write(storage, ABOUT, "umap", points, {"num_test_images": 5})
    stored.write(storage, ABOUT, "rank", [], {})
    assert [path.parent.name for path in sorted(tmp_path.rglob("*.parquet"))] == [MEASUREMENTS, PROJECTIONS]
    part = tmp_path / PROJECTIONS / f"{'0' * 16}-000003-umap.parquet"
    found = stored.read_projections(storage)
    assert list(found.columns) == SCHEMA.names
    expected = {**ABOUT._asdict(), "layer": 1, "layer_name": "block1", "level": "class", "label": 7,
                "label_name": "bee", "point": 9, "x": 4.5, "y": -1.25}  # fmt: skip
    assert found.iloc[1].to_dict() == expected and len(found) == 2
    key, whole = ABOUT.trial_key, part.read_bytes()
    assert stored.present(storage) == {(key, 3, "umap"), (key, 3, "rank")}
    assert stored.present(storage, {"umap": {"num_test_images": 6}}) == {(key, 3, "rank")}
    for altered in (whole[: len(whole) // 2], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        part.write_bytes(altered)
        assert stored.present(storage) == {(key, 3, "rank")}
    assert stored.read_projections(storage).empty


def test_a_part_of_the_other_table_is_refused_by_name(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    path = write_part(storage.filesystem, storage.path(PROJECTIONS), ABOUT, "umap", [], {})
    with pytest.raises(UserError, match=rf"{Path(path).name} is of format 2 with 14 columns, .* format 1 with 16"):
        projections.KIND.read(storage.filesystem, storage.path(PROJECTIONS))


def test_umap_is_a_task_that_is_run_on_request() -> None:
    assert not any(is_projection(task) for task in find_tasks())
    assert find_tasks(["umap"]) == ("umap",)
    assert find_tasks(["umap"], ["data", "sample"]) == ("umap", "umap@sample")
    assert find_tasks(["umap"], default_groups=groups_of_data("domains")) == ("umap", "umap@domains")
    assert is_projection("umap@sample") and not is_projection("ncc") and not is_projection("training")
    with pytest.raises(UserError, match="umap is measured at data and sample and domains, not at targets"):
        find_tasks(["umap"], ["targets"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ledger, Trial, Dataset]:
    config = PretrainConfig.from_dict(
        {
            "data": {"dataset": "shapes", "num_images": 100, "num_test_images": 60, "image_size": 16},
            "backbone": {"name": "res_lh", "depth": 1, "width": 4},
            "method": {"name": "vicreg", "projector_width": 8, "embedding_dim": 8},
            "training": {"epochs": 1, "global_batch_size": 50, "precision": "fp32"},
        }
    )
    dataset = load_dataset(config.data)
    ledger = Ledger(Storage.at(tmp_path_factory.mktemp("sweep")))
    trial = make_trials([config], dataset.fingerprint)[0]
    ledger.write_config(trial)
    pretrain(config, dataset, ledger.trial(trial.key), lambda metrics: None)
    return ledger, trial, dataset


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of points of every call; UMAP has its own tests, here the first two features stand for it."""
    calls: list[int] = []

    def embed(features: torch.Tensor) -> np.ndarray:
        calls.append(len(features))
        return features.numpy()[:, :2]

    monkeypatch.setattr(umap, "embed", embed)
    return calls


def test_layers_that_share_features_are_projected_once(
    trained: tuple[Ledger, Trial, Dataset], embedded: list[int]
) -> None:
    ledger, trial, dataset = trained
    images = measured_images(dataset, SETTINGS, TASKS)
    checkpoint = load_checkpoint(ledger.trial(trial.key), checkpoint_folder(1))
    found = measure_checkpoint(checkpoint, images, TASKS, torch.device("cpu"))
    assert [row.layer_name for row in found["umap@sample"]] == [
        name for name in ("stem", "block1", "representation") for _ in range(20)
    ]
    assert len(embedded) == 2 * 3  # stem and block, at sample, class and superclass
    rows = {name: [r.found for r in found["umap"] if r.layer_name == name] for name in ("block1", "representation")}
    assert rows["block1"] == rows["representation"]
    names = dataset.test.coarse_names
    assert all(p.label_name == names[p.label] for p in rows["block1"] if p.level == "superclass")
    assert {p.level for p in rows["block1"]} == {"class", "superclass"}


def test_only_missing_parts_are_projected(
    trained: tuple[Ledger, Trial, Dataset], embedded: list[int], tmp_path: Path
) -> None:
    ledger, trial, dataset = trained
    shutil.copytree(ledger.sweep.local_path, tmp_path / "sweep")
    ledger = Ledger(Storage.at(tmp_path / "sweep"))
    measurer = _Measurer.__new__(_Measurer)
    measurer.ledger, measurer.device = ledger, torch.device("cpu")
    measurer.images = measured_images(dataset, SETTINGS, TASKS)
    work = missing_work(ledger, [trial], SETTINGS, TASKS)
    assert [(w.epoch, w.tasks) for w in work] == [(0, TASKS), (1, TASKS)]
    for one in work:
        assert measurer({"key": one.key, "epoch": one.epoch, "tasks": list(one.tasks)})["error"] == ""
    assert missing_work(ledger, [trial], SETTINGS, TASKS) == []
    shown = stored.read_projections(ledger.sweep)
    pictures = {(epoch, layer): tuple(zip(rows["level"], rows["point"], rows["label"], strict=True))
                for (epoch, layer), rows in shown.groupby(["epoch", "layer"])}  # fmt: skip
    assert len(pictures) == 6 and len(set(pictures.values())) == 1  # the same pictures everywhere

    next((tmp_path / "sweep" / PROJECTIONS).glob("*-000001-umap@sample.parquet")).unlink()
    work = missing_work(ledger, [trial], SETTINGS, TASKS)
    assert [(w.epoch, w.tasks) for w in work] == [(1, ("umap@sample",))]
    with pytest.raises(UserError, match=r"^umap in this table"):
        refuse_other_numbers(ledger.sweep, AnalysisSettings(50, 30, 6, 4, 1), ["ncc", "umap@sample"])


def test_too_few_images_are_refused_before_anything_runs(trained: tuple[Ledger, Trial, Dataset]) -> None:
    *_, dataset = trained
    check_measurable(dataset, SETTINGS, TASKS)
    with pytest.raises(UserError, match="umap at level class needs 10 pictures at least"):
        check_measurable(dataset, AnalysisSettings(num_test_images=20), ["umap"])
    with pytest.raises(UserError, match="--num-train-images 19 is less than one image of each of the 20 classes"):
        check_measurable(dataset, AnalysisSettings(num_train_images=19), ["ncc"])
