"""One block and several agree: the moments, every metric that is a function of sums, and the table of the command."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.blocks import Block, Merged, NetworkSums, check_by_block, measure_by_block, sums_of_block
from analysis.features import load_backbone
from analysis.images import MeasuredImages, measured_images
from analysis.measure import measure_backbone
from analysis.moments import ChosenRows, ClassMoments, Moments
from analysis.pipeline import MEASUREMENTS, Outcome, _measure_by_block
from analysis.settings import AnalysisSettings
from analysis.survey import Work
from analysis.tasks import METRICS, find_tasks, metric_and_group
from ray_ssl.checkpoints import Checkpoint, checkpoint_folder, save_checkpoint
from ray_ssl.config import PretrainConfig
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.errors import UserError
from ray_ssl.ledger import DONE, Ledger, make_trials
from ray_ssl.plugins import plugin_module
from ray_ssl.storage import Storage
from ray_ssl.trainer import Trainer
from tests.analysis.metrics.blobs import draw, draw_labels
from tests.sweeps.command import run

CPU = torch.device("cpu")
SIZES = [1, 7, 30, 64, 100, 5, 93]
SETTINGS = AnalysisSettings(num_samples=9, num_train_views=200, num_test_views=20)
TASKS = [t for t in find_tasks(["all"], ["all"]) if hasattr(plugin_module(METRICS, metric_and_group(t)[0]), "SUMS")]


def test_merged_moments_are_those_of_all_images() -> None:
    rows, labels = draw(300, 6) @ draw(6, 6, seed=1) + 50, draw_labels(300, 9).sort().values
    parts, part_labels = rows.split(SIZES), labels.split(SIZES)  # sorted: most blocks lack most classes
    moments, classes = Moments.of(parts[0]), ClassMoments.of(parts[0], part_labels[0], 11)
    for part, some in zip(parts[1:], part_labels[1:], strict=True):
        moments, classes = moments.merge(Moments.of(part)), classes.merge(ClassMoments.of(part, some, 11))
    wide = rows.double()
    assert moments.num_images == 300
    torch.testing.assert_close(moments.mean, wide.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(moments.scatter, 300 * torch.cov(wide.T, correction=0), rtol=1e-10, atol=1e-8)
    for label in range(9):
        own = wide[labels == label]
        assert classes.counts[label] == len(own)
        torch.testing.assert_close(classes.means[label], own.mean(0), rtol=1e-12, atol=0)
        spread = (own - own.mean(0)).square().sum(1).mean()
        torch.testing.assert_close(classes.variances[label], spread, rtol=1e-10, atol=0)
    assert classes.counts[9:].tolist() == [0, 0]
    assert classes.means[9:].isnan().all() and classes.variances[9:].isnan().all()


def test_chosen_rows_come_back_in_the_order_in_which_they_were_chosen() -> None:
    rows, chosen = draw(300, 2), torch.randperm(300, generator=torch.Generator().manual_seed(0))[:50]
    starts = np.cumsum([0, *SIZES[:-1]]).tolist()
    parts = [ChosenRows.of(part, start, chosen) for part, start in zip(rows.split(SIZES), starts, strict=True)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert merged.rows.equal(rows[chosen])


@pytest.fixture(scope="module")
def network() -> tuple[PretrainConfig, Dataset, Checkpoint]:
    """A network that was not trained, 1,700 training and 600 test images with a target."""
    config = PretrainConfig.from_dict(
        {
            "data": {"dataset": "shapes", "num_images": 1700, "num_test_images": 600},
            "backbone": {"name": "res_lh", "depth": 2, "width": 6},
            "method": {"name": "vicreg", "projector_width": 16, "embedding_dim": 8},
            "training": {"epochs": 1, "global_batch_size": 50, "precision": "fp32"},
        }
    )
    dataset = load_dataset(config.data)
    trainer = Trainer(config, dataset, CPU)
    return config, dataset, Checkpoint(trainer.card(0), trainer.method.state_dict())


def with_target(dataset: Dataset) -> Dataset:
    train, test = ({"noise-1.00": np.roll(split.fine, 1)} for split in (dataset.train, dataset.test))
    return replace(
        dataset,
        train=replace(dataset.train, targets=train),
        test=replace(dataset.test, targets=test),
        target_randomness={"noise-1.00": 1.0},
    )


def by_block(checkpoint: Checkpoint, images: MeasuredImages, images_per_block: int) -> tuple[dict[Any, float], int]:
    """Values by task and what they are of, and the number of training blocks of levels class and superclass."""
    backbone, blocks = load_backbone(checkpoint), list[Block]()

    def take(some: list[Block], known: Merged) -> Iterator[NetworkSums]:
        blocks.extend(some if not known else [])
        return (sums_of_block(backbone, checkpoint.card, images, TASKS, one, known, CPU) for one in some)

    found = values(measure_by_block(images, TASKS, images_per_block, take))
    return found, sum(b.group == "data" and b.split == "train" for b in blocks)


def values(found: dict[str, list[Any]]) -> dict[Any, float]:
    return {(t, r.layer, r.layer_name, *r.measurement[:3]): r.measurement.value for t in found for r in found[t]}


def test_one_block_and_seven_give_what_whole_features_give(network: tuple[PretrainConfig, Dataset, Checkpoint]) -> None:
    _, dataset, checkpoint = network
    images = measured_images(with_target(dataset), SETTINGS, TASKS)
    assert {metric_and_group(task)[0] for task in TASKS} == {
        "alignment_uniformity", "alpha_req", "cdnv", "lidar", "ncc", "num_classes", "rank", "target_quality",
    }  # fmt: skip
    whole = values(measure_backbone(load_backbone(checkpoint), checkpoint.card, images, TASKS, CPU))
    for images_per_block, num_blocks in ((1792, 1), (256, 7)):
        found, count = by_block(checkpoint, images, images_per_block)
        assert count == num_blocks
        assert list(found) == list(whole)
        for key, value in found.items():
            assert value == pytest.approx(whole[key], rel=1e-10, abs=0, nan_ok=True), key
    assert sum(math.isfinite(value) for value in whole.values()) > 0.9 * len(whole)


def test_the_command_writes_the_same_table(network: tuple[PretrainConfig, Dataset, Checkpoint], tmp_path: Path) -> None:
    config, dataset, checkpoint = network
    ledger = Ledger(Storage.at(tmp_path / "sweep"))
    trial = make_trials([config], dataset.fingerprint)[0]
    ledger.write_config(trial)
    save_checkpoint(ledger.trial(trial.key), checkpoint_folder(0), checkpoint)
    common = [str(tmp_path / "sweep"), "--address", "local", "--tracking-uri", f"sqlite:///{tmp_path}/m.db"]
    tasks = ["ncc", "cdnv", "rank"]
    code, out, err = run(tmp_path, *common, "--metrics", *tasks, "--images-per-block", "256", module="analysis")
    assert (code, err) == (0, "") and "measured 1/1" in out
    images = measured_images(dataset, AnalysisSettings(), tasks)
    whole = values(measure_backbone(load_backbone(checkpoint), checkpoint.card, images, tasks, CPU))
    rows = pd.read_parquet(tmp_path / "sweep" / "measurements")
    names = ("layer", "layer_name", "level", "split", "metric")
    found = dict(zip(zip(*(rows[name] for name in names), strict=True), rows["value"], strict=True))
    assert found == pytest.approx({key[1:]: value for key, value in whole.items()}, rel=1e-10, abs=0)


def test_what_cannot_be_measured_by_block_is_refused() -> None:
    with pytest.raises(UserError, match=r"^linear_probe, knn@sample cannot be measured by block.* ncc .*rank"):
        check_by_block(["ncc", "linear_probe", "knn@sample"], 256)
    check_by_block(["linear_probe"], 0)
    for size in (-256, 100):
        with pytest.raises(UserError, match=f"a multiple of 256, given {size}"):
            check_by_block(["ncc"], size)


class Pool:
    """Calls an actor in this process."""

    def __init__(self, ledger: Ledger, images: MeasuredImages) -> None:
        self.ledger, self.images = ledger, images

    def map(self, actor: Any, rows: list[dict[str, Any]], known: Merged) -> Iterator[dict[str, Any]]:
        one = actor.__new__(actor)
        one.ledger, one.images, one.device, one.known, one.loaded = self.ledger, self.images, CPU, known, {}
        return map(one, rows)


def test_a_checkpoint_that_cannot_be_measured_is_reported(
    network: tuple[PretrainConfig, Dataset, Checkpoint], tmp_path: Path
) -> None:
    config, dataset, checkpoint = network
    ledger, images = Ledger(Storage.at(tmp_path)), measured_images(dataset, AnalysisSettings(300, 100), ["ncc"])
    trial = make_trials([config], dataset.fingerprint)[0]
    ledger.write_config(trial)
    ledger.end(trial.key, DONE, {"history": []})
    diverged = {k: v * math.nan if v.is_floating_point() else v for k, v in checkpoint.model.items()}
    for epoch, model in enumerate((checkpoint.model, diverged, checkpoint.model)):
        save_checkpoint(ledger.trial(trial.key), checkpoint_folder(epoch), Checkpoint(checkpoint.card, model))
    ledger.trial(trial.key).write(f"{checkpoint_folder(2)}/manifest.json", b"torn")
    pool: Any = Pool(ledger, images)
    good, bad, torn = (_measure_by_block(pool, Work(trial.key, e, ("ncc",)), images, 256) for e in range(3))
    assert good == Outcome(trial.key, 0, "")
    assert "training features must be finite" in bad.error and not bad.damaged
    assert "damaged checkpoint" in torn.error and torn.damaged
    assert len(list((tmp_path / MEASUREMENTS).iterdir())) == 1
