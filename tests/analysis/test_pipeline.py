"""The analysis stage: only what is missing, and a damaged checkpoint does not stop the others."""

from pathlib import Path

import pytest
import torch

from analysis.features import extract, load_backbone
from analysis.measure import AnalysisSettings, measure_checkpoint, measured_images
from analysis.pipeline import missing_work
from ray_ssl.checkpoints import checkpoint_folder, load_checkpoint
from ray_ssl.config import PretrainConfig
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.ledger import Ledger, Trial, make_trials
from ray_ssl.pretrain import Trainer, pretrain
from ray_ssl.storage import Storage
from tests.sweeps.command import TINY, run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ledger, Trial, Dataset]:
    config = PretrainConfig.from_dict(
        {
            "data": {"dataset": "shapes", "num_images": 200, "num_test_images": 60},
            "backbone": {"name": "res_lh", "depth": 2, "width": 6},
            "method": {"name": "vicreg", "projector_width": 16, "embedding_dim": 8},
            "training": {"epochs": 2, "global_batch_size": 50},
        }
    )
    dataset = load_dataset(config.data)
    ledger = Ledger(Storage.at(tmp_path_factory.mktemp("sweep")))
    trial = make_trials([config], dataset.fingerprint)[0]
    ledger.write_config(trial)
    pretrain(config, dataset, ledger.trial(trial.key), lambda metrics: None)
    return ledger, trial, dataset


def test_one_pass_gives_the_features_of_every_layer(trained: tuple[Ledger, Trial, Dataset]) -> None:
    ledger, trial, dataset = trained
    checkpoint = load_checkpoint(ledger.trial(trial.key), checkpoint_folder(2))
    features = extract(load_backbone(checkpoint), dataset.test.images, checkpoint.card, torch.device("cpu"))
    assert [f.shape for f in features] == [(60, 6)] * 4
    assert features[-1] is features[-2]  # the representation is the pooled last block
    trainer = Trainer(trial.config, dataset, torch.device("cpu"))
    trainer.method.load_state_dict(checkpoint.model)
    torch.testing.assert_close(trainer.features(dataset.test), features[-1])


def test_measuring_names_every_layer_level_and_metric(trained: tuple[Ledger, Trial, Dataset]) -> None:
    ledger, trial, dataset = trained
    checkpoint = load_checkpoint(ledger.trial(trial.key), checkpoint_folder(1))
    images = measured_images(dataset, AnalysisSettings(100, 40))
    assert (len(images.train), len(images.test)) == (100, 40)
    rows = measure_checkpoint(checkpoint, images, ["ncc", "rank"], torch.device("cpu"))
    assert [r.layer_name for r in rows["rank"]] == ["stem", "block1", "block2", "representation"]
    assert {(r.layer_name, r.measurement.level) for r in rows["ncc"]} == {
        (layer, level) for layer in ("stem", "block1", "block2", "representation") for level in ("class", "superclass")
    }


def test_work_is_what_is_missing(trained: tuple[Ledger, Trial, Dataset]) -> None:
    ledger, trial, _ = trained
    work = missing_work(ledger, [trial], AnalysisSettings(), ["ncc", "rank"])
    assert [(w.epoch, w.metrics) for w in work] == [(epoch, ("ncc", "rank")) for epoch in (0, 1, 2)]


def test_a_damaged_checkpoint_is_reported_and_the_others_are_measured(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, *TINY, "--widths", "4")
    assert (code, err) == (0, "")
    sweep = next((tmp_path / "results").glob("depth_width-*"))
    for part in (sweep / "measurements").iterdir():
        part.unlink()
    model = next(sweep.glob("*/checkpoints/epoch-000001/model.safetensors"))
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    code, out, err = run(tmp_path, str(sweep), "--address", "local", module="analysis")
    assert code == 1
    assert "epoch 1: damaged checkpoint" in err
    assert len(err.strip().splitlines()) == 1
    epochs = {part.name.split("-")[1] for part in (sweep / "measurements").iterdir()}
    assert epochs == {"000000", "000004"}
    assert "next:" in out
