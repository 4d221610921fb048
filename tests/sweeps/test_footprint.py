"""What a trial takes is counted without making it, and refused in one line where it can never fit."""

import time
from pathlib import Path

import pytest
import torch
from torch import nn

from analysis.settings import AnalysisSettings
from ray_ssl.backbones.base import build_backbone
from ray_ssl.checkpoints import saved_epochs
from ray_ssl.cluster import MachineOptions
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.data import load_dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import EXIT_BAD_INPUT, UserError
from ray_ssl.ledger import Ledger, make_trials
from ray_ssl.methods.base import build_method
from ray_ssl.plugins import plugin_names
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from sweeps import room
from sweeps.cli import main
from sweeps.depth_width import SWEEP
from sweeps.footprint import footprint, show_bytes, show_count
from sweeps.room import DataSizes
from tests.ray_ssl.test_batches import write_set

BASE = replace(PretrainConfig(), {"training.precision": "fp32"})


def built(config: PretrainConfig) -> nn.Module:
    return build_method(config.method, build_backbone(config.backbone, config.data.image_size), 20)


@pytest.mark.parametrize("backbone", plugin_names("ray_ssl.backbones"))
@pytest.mark.parametrize("method", ["vicreg", "supervised"])
def test_every_backbone_is_counted_as_it_is_built(backbone: str, method: str) -> None:
    config = PretrainConfig.from_dict({"backbone": {"name": backbone}, "method": {"name": method}})
    whole = built(config)
    size = footprint(config, 20)
    assert size.num_parameters == sum(p.numel() for p in whole.parameters() if p.requires_grad)
    numbers = sum(t.numel() for t in (*whole.parameters(), *whole.buffers()))
    assert size.num_parameters + size.num_other == numbers
    assert size.flops > size.num_parameters  # every weight is used at least once an image
    assert size.activation_bytes > 0 and size.feature_bytes > 0


@pytest.mark.parametrize("method", plugin_names("ray_ssl.methods"))
def test_every_method_is_counted_as_it_is_built(method: str) -> None:
    config = PretrainConfig.from_dict({"backbone": {"name": "res_lh", "width": 8}, "method": {"name": method}})
    whole = built(config)
    size = footprint(config, 20)
    assert size.num_parameters + size.num_other == sum(t.numel() for t in (*whole.parameters(), *whole.buffers()))


def test_activations_and_operations_by_hand() -> None:
    # One block of width 4 on 8 x 8 pixels: the stem halves twice, to 4 x 4 and 2 x 2.
    config = PretrainConfig.from_dict(
        {
            "data": {"image_size": 8},
            "backbone": {"name": "res_lh", "depth": 1, "width": 4},
            "method": {"name": "supervised"},
            "training": {"global_batch_size": 10},
        }
    )
    size = footprint(config, 20)
    macs = 16 * 4 * 3 * 4 + 4 * 4 * 4 * 4 + 2 * (4 * 4 * 4 * 9)
    head = 4 * 20 + 20
    assert size.flops == 2 * macs + 2 * head
    assert size.feature_bytes == 4 * (4 + 4)  # stem and block; the representation is the block's
    # A BatchNorm's input is kept, its output overwritten by the ReLU is too; the images and the last sum besides.
    stem = [3 * 64, 4 * 16, 4 * 16, 4 * 4, 4 * 4]
    block = [4 * 4] * 4
    assert sum(stem + block) * 4 * 10 <= size.activation_bytes <= 1.2 * sum(stem + block) * 4 * 10


@pytest.mark.parametrize("backbone", ["res_lh", "vit"])
def test_a_deep_network_lies_on_the_line_through_two_shallow_ones(backbone: str) -> None:
    config = PretrainConfig.from_dict({"backbone": {"name": backbone, "depth": 40}})
    whole = built(config)
    size = footprint(config, 20)
    assert size.num_parameters == sum(p.numel() for p in whole.parameters())


def test_an_absurd_network_is_counted_in_a_moment() -> None:
    started = time.process_time()
    assert footprint(replace(BASE, {"backbone.depth": 10**6, "backbone.width": 10**8}), 20).num_parameters > 1e23
    assert time.process_time() - started < 10


def test_the_disk_holds_what_was_foretold(tmp_path: Path) -> None:
    config = PretrainConfig.from_dict(
        {
            "data": {"num_images": 60, "num_test_images": 20},
            "backbone": {"name": "res_lh", "depth": 1, "width": 8},
            "method": {"name": "vicreg", "projector_width": 256, "embedding_dim": 256},
            "training": {"epochs": 6, "global_batch_size": 30, "num_checkpoints": 4},
        }
    )
    largest = 0

    def measure(metrics: dict[str, float]) -> None:
        nonlocal largest
        largest = max(largest, sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file()))

    pretrain(config, load_dataset(config.data), Storage.at(tmp_path), measure, state_seconds=0)
    assert len(saved_epochs(Storage.at(tmp_path))) == 4
    foretold = footprint(config, 20).disk_bytes
    assert 0.8 * foretold < largest < 1.1 * foretold  # between two saves there is one state less


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--depths 1000000 --widths 100000000", "does not fit into memory: 1.8e+23 parameters; 2.16e+06 EB (weights"),
        ("--widths 2000000000", "cannot be counted: one of its tensors has more than 2^63 bytes"),
        ("--depths 1000000", "does not fit into memory"),
        ("--projector-width 1000000000 --method vicreg", "parameters; "),
        ("--image-size 512 --global-batch-size 4000 --widths 64", "activations of a batch of 4000"),
        ("--num-images 1000000000", "1000001000 (--num-images, --num-test-images) x 32 x 32 x 3 bytes"),
        ("--num-test-images 1000000000", "this machine has"),
        ("--epochs 1000000000 --num-checkpoints 1000000000", "does not fit on the disk"),
        ("--pool flatten --widths 4000 --image-size 64 --method vicreg", "features of 5000 images in all layers"),
        ("--dry-run --depths 1000000", "does not fit into memory"),
    ],
)
def test_what_never_fits_is_refused_before_ray_starts(
    line: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(room, "machine_memory", lambda: 16e9)
    started = time.process_time()
    assert main(SWEEP, line.split()) == EXIT_BAD_INPUT
    assert time.process_time() - started < 30
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


SMALL_DATA = DataSizes(num_train=300, num_test=60, num_classes=20, image_size=32)
LOCAL = MachineOptions(address="local")
THREE = make_trials([replace(BASE, {"seed": seed}) for seed in range(3)], "data")


def test_trials_side_by_side_that_may_not_fit_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    size = footprint(BASE, 20)
    alone = size.weight_bytes + size.activation_bytes
    monkeypatch.setattr(room, "machine_memory", lambda: 2.2 * alone)
    room.check_memory(THREE, SMALL_DATA, 2000, LOCAL, 2)
    assert caplog.text == ""
    room.check_memory(THREE, SMALL_DATA, 2000, LOCAL, 3)
    assert "3 trials side by side need about" in caplog.text


def test_files_that_never_fit_are_refused_before_one_is_decoded_and_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("ray_ssl.data.decode._decode_into", never)
    monkeypatch.setattr(room, "machine_memory", lambda: 1e6)
    config = DataConfig(dataset=write_set(tmp_path, 200))
    settings = AnalysisSettings(num_train_images=50, num_test_images=20)
    whole = DataSizes.foretold(config, settings)
    with pytest.raises(UserError, match=r"240 \(--num-images, --num-test-images\) x 32 x 32 .* = 1\.47 MB.*; --stream"):
        room.check_images(whole, config)
    config = config.model_copy(update={"stream": True, "stream_window": 150})
    monkeypatch.setattr(room, "NUM_SAMPLED", (60, 30))
    streamed = DataSizes.foretold(config, settings)
    room.check_images(streamed, config)
    assert streamed.num_bytes == 2 * 3 * 32 * 32 * (60 + 30 + 50 + 20)
    assert streamed.bytes_per_worker(1) == 3 * 32 * 32 * (150 + 3 * 1024)
    assert whole.bytes_per_worker(1) == 0
    monkeypatch.setattr(room, "machine_memory", lambda: 9e5)
    with pytest.raises(UserError, match=r"160 \(sampled, and measured: --num-train-images, "):
        room.check_images(streamed, config)


def test_the_largest_level_group_decides_how_much_the_analysis_holds() -> None:
    settings = AnalysisSettings(num_train_images=200, num_samples=10, num_train_views=30, num_test_views=5)
    assert room.pictures_at_once(settings, ("ncc", "rank"), SMALL_DATA) == 200 + 60
    assert room.pictures_at_once(settings, ("ncc", "ncc@sample"), SMALL_DATA) == 10 * (30 + 5)
    assert room.pictures_at_once(settings, ("ncc@targets",), SMALL_DATA) == 200 + 60


def test_a_disk_that_may_become_full_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(room, "_free_bytes", lambda storage: 2 * footprint(BASE, 20).disk_bytes)
    ledger = Ledger(Storage.at(tmp_path))
    room.check_disk(THREE[:2], 20, ledger)
    assert caplog.text == ""
    room.check_disk(THREE, 20, ledger)
    assert "all 3 trials need about" in caplog.text


def test_what_a_trial_has_written_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(Storage.at(tmp_path))
    needed = footprint(BASE, 20).disk_bytes
    monkeypatch.setattr(room, "_free_bytes", lambda storage: 0.6 * needed)
    with pytest.raises(UserError, match=r"does not fit on the disk: 4\.7\d million parameters x 4 bytes"):
        room.check_disk(THREE[:1], 20, ledger)
    ledger.trial(THREE[0].key).write("state/x", bytes(int(0.5 * needed)))
    room.check_disk(THREE[:1], 20, ledger)


def test_sizes_read_well() -> None:
    assert [show_bytes(x) for x in (500, 1.5e6, 25.2e9, 2e21)] == ["0.5 kB", "1.5 MB", "25.2 GB", "2e+03 EB"]
    assert [show_count(x) for x in (120_000, 1.18e9, 1.8e23)] == [
        "0.12 million", "1.18 billion", "1.8e+23"
    ]  # fmt: skip


def test_no_weight_is_made() -> None:
    before = torch.random.get_rng_state()
    footprint(replace(BASE, {"backbone.width": 20_000}), 20)  # 29 GB of weights
    assert torch.equal(torch.random.get_rng_state(), before)
