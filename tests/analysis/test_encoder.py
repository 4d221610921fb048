"""An encoder that was trained elsewhere is measured as a checkpoint is, into the same table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from pyarrow import fs

from analysis import __main__ as command
from analysis import table
from analysis.images import measured_images
from analysis.measure import measure_checkpoint
from analysis.pipeline import MEASUREMENTS
from analysis.settings import AnalysisSettings
from analysis.survey import describe
from ray_ssl import export
from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config
from ray_ssl.checkpoints import checkpoint_folder, load_checkpoint
from ray_ssl.config import PretrainConfig
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_SOME_FAILED
from ray_ssl.ledger import Ledger, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from tests.analysis.payload import Payload
from tests.analysis.written_tables import write_part

DATA = {"dataset": "shapes", "num_images": 60, "num_test_images": 30, "image_size": 16}
DATA_FLAGS = ["--dataset", "shapes", "--num-images", "60", "--data-num-test-images", "30", "--image-size", "16"]
METRICS = ["ncc", "rank"]
BACKBONE_FLAGS = ["--backbone", "res_lh", "--depth", "2", "--width", "4"]


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Figures have their own tests; here one file stands for them."""
    drawn: list[Path] = []

    def draw_all(measurements: Any, folder: Path, projections: Any) -> list[Path]:
        drawn.append(folder / "figure.csv")
        measurements.to_csv(drawn[-1])
        return [drawn[-1]]

    monkeypatch.setattr("analysis.figures.base.draw_all", draw_all)
    return drawn


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(build_backbone(Config(depth=2, width=4), 16).state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(DataConfig(**DATA))  # type: ignore[arg-type]


def run(capsys: pytest.CaptureFixture[str], source: object, *flags: str) -> tuple[int, str, str]:
    code = command.main(["encoder", str(source), *flags])
    out, err = capsys.readouterr()
    return code, out, err


def measured(capsys: pytest.CaptureFixture[str], source: object, storage: Path, *flags: str) -> Any:
    """Measures, and returns the table."""
    code, out, err = run(capsys, source, *DATA_FLAGS, "--metrics", *METRICS, "--storage", str(storage), *flags)
    assert (code, err) == (EXIT_DONE, "")
    assert f"{storage}/measurements" in out
    return table.read_table(fs.LocalFileSystem(), str(storage / MEASUREMENTS))


def refused(capsys: pytest.CaptureFixture[str], source: object, *flags: str) -> str:
    code, out, err = run(capsys, source, *flags)
    assert (code, out) == (EXIT_BAD_INPUT, "")
    assert len(err.splitlines()) == 1
    return err


def test_a_file_of_a_checkpoints_weights_gives_the_checkpoints_numbers(
    tmp_path: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {
        "data": DATA,
        "backbone": {"name": "res_lh", "depth": 2, "width": 4},
        "method": {"name": "simclr", "projector_width": 8, "embedding_dim": 8},
        "training": {"epochs": 1, "global_batch_size": 20, "precision": "fp32"},
    }
    config = PretrainConfig.from_dict(values)
    ledger = Ledger(Storage.at(tmp_path / "sweep"))
    trial = make_trials([config], dataset.fingerprint)[0]
    ledger.write_config(trial)
    pretrain(config, dataset, ledger.trial(trial.key), lambda metrics: None)
    checkpoint = load_checkpoint(ledger.trial(trial.key), checkpoint_folder(1))
    images = measured_images(dataset, AnalysisSettings(), METRICS)
    expected = measure_checkpoint(checkpoint, images, METRICS, torch.device("cpu"))
    about, settings = describe(checkpoint.card, "sweep", trial.key, dataset.name), AnalysisSettings().of("ncc")
    for metric, rows in expected.items():
        write_part(fs.LocalFileSystem(), str(tmp_path / "sweep" / MEASUREMENTS), about, metric, rows, settings)

    folder = f"{ledger.trial(trial.key).uri}/{checkpoint_folder(1)}"
    model = Path(folder) / "model.safetensors"
    found = measured(capsys, model, tmp_path / "sweep", *BACKBONE_FLAGS, "--key-prefix", "backbone.", "--epoch", "1")
    same = ["epoch", "dataset", "depth", "width", "layer", "layer_name", "level", "split", "metric", "value"]
    theirs, ours = found[found.method == "foreign"], found[found.trial_key == trial.key]
    assert len(ours) == sum(map(len, expected.values())) > 0
    pd.testing.assert_frame_equal(theirs[same].reset_index(drop=True), ours[same].reset_index(drop=True))

    assert export.main([folder, str(tmp_path / "out")]) == EXIT_DONE
    capsys.readouterr()
    again = measured(capsys, tmp_path / "out" / "model.safetensors", tmp_path / "sweep", *BACKBONE_FLAGS,
                     "--epoch", "1")  # fmt: skip
    assert len(again) == len(found)  # the same weights have the same key


def test_what_is_measured_is_described(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = measured(capsys, weights, tmp_path / "enc", *BACKBONE_FLAGS, "--seed", "5")
    assert set(found.layer_name) == {"stem", "block1", "block2", "representation"}
    assert found[
        ["method", "depth", "width", "seed", "sweep", "dataset", "epoch"]
    ].drop_duplicates().values.tolist() == [["foreign", 2, 4, 5, "enc", "shapes", 0]]
    key = found.trial_key.unique().item()
    record = json.loads((tmp_path / "enc" / key / "encoder.json").read_text().partition("\n")[2])
    assert record["source"] == str(weights) and record["backbone"]["depth"] == 2
    assert record["layer_names"] == ["stem", "block1", "block2", "representation"]
    assert (tmp_path / "enc" / "figures" / "figure.csv").exists()


def test_the_same_command_again_measures_nothing(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measured(capsys, weights, tmp_path / "enc", *BACKBONE_FLAGS)
    monkeypatch.setattr("analysis.encoder.measure_backbone", None)
    pd.testing.assert_frame_equal(measured(capsys, weights, tmp_path / "enc", *BACKBONE_FLAGS), first)
    assert command.main([str(tmp_path / "enc")]) == EXIT_DONE  # the folder alone draws again
    assert f"({len(first)} measurements)" in capsys.readouterr().out


def test_the_key_is_of_all_that_changes_the_features(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def key(source: Path, *flags: str) -> str:
        code, out, err = run(capsys, source, *DATA_FLAGS, "--metrics", "rank", "--storage", str(tmp_path / "enc"),
                             *BACKBONE_FLAGS, *flags)  # fmt: skip
        assert (code, err) == (EXIT_DONE, "")
        return out.split()[1].removesuffix(":")

    state = torch.load(weights, weights_only=True)
    torch.save({"state_dict": {f"net.{k}": v for k, v in state.items()}}, tmp_path / "nested.ckpt")
    torch.save(state | {"stem.0.weight": state["stem.0.weight"] * 2}, tmp_path / "other.pt")
    keys = [
        key(weights),
        key(tmp_path / "other.pt"),
        key(weights, "--mean", "0.5", "0.5", "0.5"),
        key(weights, "--pool", "flatten"),
        key(weights, "--data-seed", "1"),
        key(weights, "--image-size", "24"),
    ]
    assert len(set(keys)) == len(keys)
    assert key(tmp_path / "nested.ckpt", "--key-prefix", "net.") == keys[0]


def test_torchvisions_networks_are_measured_at_every_block(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = measured(capsys, "torchvision:resnet18", tmp_path / "enc", "--weights", "none")
    blocks = [f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)]
    assert found.sort_values("layer").layer_name.unique().tolist() == ["stem", *blocks, "representation"]
    again = measured(capsys, "torchvision:resnet18", tmp_path / "enc", "--weights", "none", "--seed", "1")
    assert again.trial_key.nunique() == 2


def test_pretrained_weights_are_given_the_images_they_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import MNASNet0_5_Weights, mnasnet0_5

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")  # put back after the test
    cache = tmp_path / "hub" / "checkpoints" / Path(MNASNet0_5_Weights.DEFAULT.url).name
    cache.parent.mkdir(parents=True)
    torch.save(mnasnet0_5().state_dict(), cache)
    flags = ["--dataset", "shapes", "--num-images", "8", "--data-num-test-images", "8", "--metrics", "rank"]
    code, _, err = run(capsys, "torchvision:mnasnet0_5", *flags, "--weights", "default", "--storage",
                       str(tmp_path / "enc"))  # fmt: skip
    assert (code, err) == (EXIT_DONE, "")
    record = next((tmp_path / "enc").glob("*/encoder.json")).read_text().partition("\n")[2]
    assert json.loads(record)["config"]["data"]["image_size"] == 224
    assert json.loads(record)["normalisation"] == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def test_a_malicious_file_is_one_line_and_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": Payload(tmp_path / "was run")}, tmp_path / "evil.pt")
    storage = ["--storage", str(tmp_path / "enc")]
    assert "evil.pt" in refused(capsys, tmp_path / "evil.pt", *DATA_FLAGS, *BACKBONE_FLAGS, *storage)
    assert not (tmp_path / "was run").exists() and not (tmp_path / "enc").exists()


@pytest.mark.parametrize(
    ("source", "flags", "message"),
    [
        ("FILE", "--backbone res_lh", "--dataset says which images are measured"),
        ("FILE", "--dataset shapes", "needs --backbone: one of res_lh, resnet18"),
        ("FILE", "--dataset shapes --backbone res_lh --stem cifar", "unknown option 'stem'"),
        ("FILE", "--dataset shapes --backbone res_lh --depth two", "takes a whole number of at least 1, given 'two'"),
        ("FILE", "--dataset shapes --backbone res_lh --depth 0", "depth takes a whole number of at least 1, given '0"),
        ("FILE", "--dataset shapes --backbone vit --width 10", "width 10 cannot be split evenly over num_heads 4"),
        ("FILE", "--dataset shapes --backbone res_lh --depth 3 --width 4", "weights.pt does not fit res_lh: 10 "),
        ("FILE", "--dataset shapes --backbone vit --image-size 18", "cannot be cut into patches of patch_size 4"),
        ("FILE", "--dataset shapes --backbone res_lh --weights none", "--weights belongs to torchvision:NAME"),
        ("FILE", "--dataset shape --backbone res_lh", "unknown dataset 'shape'; did you mean 'shapes'?"),
        ("FILE", "--dataset shapes --metrics nnc", "unknown metric 'nnc'; did you mean 'ncc'?"),
        ("FILE", "--dataset shapes --num-test-images 0", "--num-test-images is at least 1"),
        ("FILE", "--dataset shapes --epoch -1", "--epoch is 0 to 2^31 - 1, --seed 0 to 2^63 - 1"),
        ("FILE", "--dataset shapes --std 1 0 1", "--std is above 0"),
        ("missing.pt", "--dataset shapes --backbone res_lh", "'missing.pt' is no file"),
        ("torchvision:resnet18", "--dataset shapes", "needs --weights: default (a download) or none (random)"),
        ("torchvision:resnet19", "--dataset shapes --weights none", "torchvision has no network 'resnet19'; did you"),
        ("torchvision:resnet18", "--dataset shapes --weights none --stem cifar", "--stem belongs to a file of weights"),
        ("torchvision:resnet18", "--dataset shapes --weights none --key-prefix x", "--key-prefix belongs to a file"),
        ("torchvision:alexnet", "--dataset shapes --weights none --image-size 8", "cannot take images of 8 x 8 pixels"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    source: str, flags: str, message: str, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(weights) if source == "FILE" else source
    assert message in refused(capsys, source, *flags.split(), "--storage", str(tmp_path / "enc"))
    assert not (tmp_path / "enc").exists()


def test_a_diverged_encoder_is_one_line(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.load(weights, weights_only=True)
    state["stem.0.weight"][0] = torch.nan
    torch.save(state, weights)
    code, _, err = run(capsys, weights, *DATA_FLAGS, *BACKBONE_FLAGS, "--storage", str(tmp_path / "enc"))
    assert code == EXIT_BAD_INPUT and len(err.splitlines()) == 1
    assert "training features must be finite: 60 of 60 rows" in err
    assert not (tmp_path / "enc" / MEASUREMENTS).exists()


def test_a_table_is_not_mixed_with_other_numbers_of_images(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = measured(capsys, weights, tmp_path / "enc", *BACKBONE_FLAGS)
    state = torch.load(weights, weights_only=True)
    torch.save({k: v * 2 for k, v in state.items()}, tmp_path / "other.pt")
    flags = [*DATA_FLAGS, *BACKBONE_FLAGS, "--storage", str(tmp_path / "enc"), "--num-train-images", "20"]
    assert "give the same --num-train-images and --num-test-images" in refused(capsys, tmp_path / "other.pt", *flags)
    pd.testing.assert_frame_equal(measured(capsys, weights, tmp_path / "enc", *BACKBONE_FLAGS), before)


def test_what_the_images_do_not_allow_is_a_line_and_the_rest_is_measured(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*DATA_FLAGS, *BACKBONE_FLAGS, "--metrics", "ncc", "--storage", str(tmp_path / "enc"), "--levels"]
    code, out, err = run(capsys, weights, *flags, "data", "sample", "targets")
    assert code == EXIT_SOME_FAILED and "table " in out
    samples, targets = err.splitlines()
    assert samples.startswith("error: not analysed: level sample takes 500 training images, shapes has 60")
    assert targets.startswith("error: not analysed: this sweep has no targets of graded randomness")
    found = table.read_table(fs.LocalFileSystem(), str(tmp_path / "enc" / MEASUREMENTS))
    assert set(found["level"]) == {"class", "superclass"}
    assert "level sample takes 500" in refused(capsys, weights, *flags, "sample")
    assert "no targets of graded randomness" in refused(capsys, weights, *flags, "targets")
