"""An exported encoder is the checkpoint's backbone, loads in three lines, and says what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from analysis import table
from analysis.features import Pictures, extract, load_backbone
from analysis.images import measured_images
from analysis.measure import measure_checkpoint
from analysis.pipeline import MEASUREMENTS
from analysis.settings import AnalysisSettings
from analysis.survey import describe
from ray_ssl import export
from ray_ssl.checkpoints import checkpoint_folder, load_checkpoint
from ray_ssl.config import PretrainConfig
from ray_ssl.data.base import Dataset, ImageSet
from ray_ssl.errors import EXIT_BAD_INPUT, EXIT_DONE
from ray_ssl.ledger import Ledger, Trial, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from tests.analysis.written_tables import write_part


def images(num: int, seed: int) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (num, 16, 16, 3), np.uint8)
    return ImageSet(pixels, np.arange(num) % 2, ("a", "b"))


DATASET = Dataset("tiny", images(16, 0), images(8, 1))


@pytest.fixture(scope="module", params=["res_lh", "vit"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ledger, Trial]:
    config = PretrainConfig.from_dict(
        {
            "data": {"image_size": 16},
            "backbone": {"name": request.param, "depth": 2, "width": 8},
            "method": {"name": "simclr", "projector_width": 8, "embedding_dim": 8},
            "training": {"epochs": 2, "global_batch_size": 8, "precision": "fp32"},
            "seed": 7,
        }
    )
    ledger = Ledger(Storage.at(tmp_path_factory.mktemp("sweep")))
    trial = make_trials([config], DATASET.fingerprint)[0]
    ledger.write_config(trial)
    pretrain(config, DATASET, ledger.trial(trial.key), lambda metrics: None)
    return ledger, trial


def folder_of(trained: tuple[Ledger, Trial], epoch: int = 2) -> str:
    ledger, trial = trained
    return f"{ledger.trial(trial.key).uri}/{checkpoint_folder(epoch)}"


def exported(folder: str, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command prints."""
    assert export.main([folder, str(out)]) == EXIT_DONE
    printed, err = capsys.readouterr()
    assert err == ""
    return printed


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert export.main(arguments) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    return err


def test_three_lines_give_the_features_of_the_checkpoint(
    trained: tuple[Ledger, Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = exported(folder_of(trained), tmp_path / "out", capsys)
    lines = [line for line in printed.splitlines() if not line.startswith("#")]
    assert len(lines) == 3
    namespace: dict[str, Any] = {}
    monkeypatch.setattr(sys, "path", sys.path.copy())
    exec("\n".join(lines), namespace)
    backbone = namespace["backbone"]
    assert not backbone.training
    checkpoint = load_checkpoint(trained[0].trial(trained[1].key), checkpoint_folder(2))
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    pixels = torch.from_numpy(DATASET.test.images).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(card["normalisation"][name]).view(3, 1, 1) for name in ("mean", "std"))
    expected = extract(load_backbone(checkpoint), Pictures(DATASET.test.images), checkpoint.card, torch.device("cpu"))
    torch.testing.assert_close(backbone((pixels - mean) / std).detach(), expected[-1])


def test_the_weights_are_the_backbone_alone(
    trained: tuple[Ledger, Trial], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(folder_of(trained), tmp_path / "out", capsys)
    weights = load_file(tmp_path / "out" / "model.safetensors")
    model = load_checkpoint(trained[0].trial(trained[1].key), checkpoint_folder(2)).model
    assert {f"backbone.{name}" for name in weights} == {name for name in model if name.startswith("backbone.")}
    assert all(torch.equal(tensor, model[f"backbone.{name}"]) for name, tensor in weights.items())


def test_the_card_says_what_it_is(
    trained: tuple[Ledger, Trial], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = trained[1]
    exported(folder_of(trained, epoch=1), tmp_path / "out", capsys)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["backbone"] == trial.config.backbone.model_dump()
    assert (card["image_size"], card["num_features"], card["epoch"], card["seed"]) == (16, 8, 1, 7)
    assert card["layer_names"] == ["stem", "block1", "block2", "representation"]
    assert card["normalisation"] == dict(zip(("mean", "std"), map(list, DATASET.channel_statistics), strict=True))
    assert card["data"] == {"name": "shapes", "fingerprint": DATASET.fingerprint}
    assert card["method"]["name"] == "simclr" and card["trial_key"] == trial.key


def test_the_card_has_what_was_measured_of_the_last_layer_then(
    trained: tuple[Ledger, Trial], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, trial = trained
    sweep, settings = ledger.sweep, AnalysisSettings().of("ncc")
    exported(folder_of(trained), tmp_path / "before", capsys)
    assert json.loads((tmp_path / "before" / "card.json").read_text())["metrics"] == {}
    images = measured_images(DATASET, AnalysisSettings(), ["ncc", "cdnv"])
    measured = {}
    for epoch in (1, 2):
        checkpoint = load_checkpoint(ledger.trial(trial.key), checkpoint_folder(epoch))
        about = describe(checkpoint.card, "sweep", trial.key, "tiny")
        measured[epoch] = measure_checkpoint(checkpoint, images, ["ncc", "cdnv"], torch.device("cpu"))
        for metric, rows in measured[epoch].items():
            write_part(sweep.filesystem, sweep.path(MEASUREMENTS), about, metric, rows, settings)
    torn = f"{MEASUREMENTS}/{table.part_name(trial.key, 2, 'rank')}"
    sweep.write(torn, b"PAR1 torn")
    part = sweep.read(f"{MEASUREMENTS}/{table.part_name(trial.key, 2, 'ncc')}")
    flipped = bytes([part[0] ^ 1]) + part[1:]
    sweep.write(f"{MEASUREMENTS}/{table.part_name(trial.key, 2, 'ncc_flipped')}", flipped)
    exported(folder_of(trained), tmp_path / "out", capsys)
    found = json.loads((tmp_path / "out" / "card.json").read_text())["metrics"]
    expected = {
        f"{r.measurement.metric}/{r.measurement.level}/{r.measurement.split}": r.measurement.value
        for rows in measured[2].values()
        for r in rows
        if r.layer_name == "representation"
    }
    assert found == pytest.approx(expected) and "ncc_accuracy/class/test" in found
    sweep.delete_folder(MEASUREMENTS)


def test_a_uri_is_read_like_a_path(
    trained: tuple[Ledger, Trial], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(folder_of(trained), tmp_path / "path", capsys)
    exported(f"file://{folder_of(trained)}/", tmp_path / "uri", capsys)
    for name in ("model.safetensors", "card.json"):
        assert (tmp_path / "path" / name).read_bytes() == (tmp_path / "uri" / name).read_bytes()


def test_what_is_no_checkpoint_is_refused(
    trained: tuple[Ledger, Trial], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    wrong_epoch = folder_of(trained).replace("000002", "000009")
    assert "there are epoch-000000, epoch-000001, epoch-000002" in refused(capsys, wrong_epoch, str(out))
    a_trial = folder_of(trained).partition("/checkpoints")[0]
    assert "there are checkpoints/epoch-000000, " in refused(capsys, a_trial, str(out))
    assert "give a folder TRIAL_KEY/checkpoints/epoch-N" in refused(capsys, str(tmp_path / "nowhere"), str(out))
    assert "cannot use storage 'ftp://x/y'" in refused(capsys, "ftp://x/y", str(out))
    assert not out.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "card.json", "manifest.json"])
@pytest.mark.parametrize("how", ["altered", "cut", "gone"])
def test_a_damaged_checkpoint_is_refused(
    trained: tuple[Ledger, Trial], name: str, how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "epoch-000002"
    copy.mkdir()
    for file in Path(folder_of(trained)).iterdir():
        content = bytearray(file.read_bytes())
        if file.name == name and how == "altered":
            content[len(content) // 2] ^= 1
        if not (file.name == name and how == "gone"):
            (copy / file.name).write_bytes(
                content[: len(content) // 2] if how == "cut" and file.name == name else content
            )
    reason = "no checkpoint at" if (name, how) == ("manifest.json", "gone") else "damaged checkpoint:"
    message = refused(capsys, str(copy), str(tmp_path / "out"))
    assert reason in message and name in message
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over(
    trained: tuple[Ledger, Trial], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    exported(folder_of(trained), tmp_path / "empty", capsys)
    before = (tmp_path / "empty" / "card.json").read_bytes()
    for taken in (tmp_path / "empty", tmp_path / "empty" / "card.json"):
        assert "is not an empty folder: give a new one" in refused(capsys, folder_of(trained), str(taken))
    assert (tmp_path / "empty" / "card.json").read_bytes() == before
    assert "OUT is a local folder, given 's3://" in refused(capsys, folder_of(trained), "s3://bucket/out")


def test_an_interruption_leaves_nothing_in_the_way(
    trained: tuple[Ledger, Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = Storage.write

    def interrupted(storage: Storage, name: str, content: bytes) -> None:
        if name == "card.json":
            raise KeyboardInterrupt
        write(storage, name, content)

    monkeypatch.setattr(Storage, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.main([folder_of(trained), str(tmp_path / "out")])
    monkeypatch.undo()
    exported(folder_of(trained), tmp_path / "out", capsys)


def test_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ray_ssl.export", "--help"], capture_output=True, text=True, check=True
    )
    assert "CHECKPOINT" in done.stdout and done.stderr == ""
