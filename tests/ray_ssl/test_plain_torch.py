"""What an exported encoder prints needs no more than torch, torchvision and safetensors, and gives our features."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from ray_ssl.backbones.base import Backbone, build_backbone
from ray_ssl.checkpoints import Checkpoint, checkpoint_folder, save_checkpoint
from ray_ssl.config import PretrainConfig
from ray_ssl.encoder_file import export
from ray_ssl.errors import UserError
from ray_ssl.plugins import plugin_names
from ray_ssl.storage import Storage
from ray_ssl.trainer import Trainer
from tests.ray_ssl.test_export import DATASET

ENCODERS: dict[str, dict[str, Any]] = {
    "mean": {"name": "res_lh", "depth": 2, "width": 8},
    "flatten": {"name": "res_lh", "depth": 1, "width": 6, "pool": "flatten"},
    "resnet18": {"name": "resnet18"},
    "resnet50": {"name": "resnet50", "stem": "standard"},
    "vit": {"name": "vit", "depth": 2, "width": 12, "num_heads": 3, "mlp_ratio": 2.5, "layer_features": "patch_mean"},
}

PROLOGUE = """
import sys, warnings
warnings.simplefilter("error")
sys.modules["ray_ssl"] = None  # importing it fails from here on
from safetensors.torch import load_file, save_file
images = load_file("images.safetensors")["images"]
features = {}
"""
EPILOGUE = """
assert sys.modules["ray_ssl"] is None and not [name for name in sys.modules if name.startswith("ray_ssl.")]
save_file({name: tensor.detach().contiguous() for name, tensor in features.items()}, "features.safetensors")
"""


def encoder(options: dict[str, Any], trial: Path) -> Backbone:
    """A backbone as after training, in evaluation mode; its checkpoint is written into a trial's folder."""
    training = {"global_batch_size": 8, "precision": "fp32"}
    config = PretrainConfig.from_dict(
        {"data": {"image_size": 16}, "backbone": options, "method": {"name": "supervised"}, "training": training}
    )
    trainer = Trainer(config, DATASET, torch.device("cpu"))
    model = trainer.method.state_dict()
    for name, tensor in model.items():
        if "running" in name:
            tensor.uniform_(0.5, 1.5)
    save_checkpoint(Storage.at(trial), checkpoint_folder(0), Checkpoint(trainer.card(0), model))
    backbone = build_backbone(config.backbone, 16)
    backbone.load_state_dict({k.removeprefix("backbone."): v for k, v in model.items() if k.startswith("backbone.")})
    return backbone.eval()


def test_the_printed_lines_give_the_features_where_ray_ssl_cannot_be_imported(tmp_path: Path) -> None:
    images = torch.rand(5, 3, 16, 16)
    save_file({"images": images}, tmp_path / "images.safetensors")
    script, expected = PROLOGUE, dict[str, torch.Tensor]()
    for name, options in ENCODERS.items():
        backbone = encoder(options, tmp_path / "trial" / name)
        printed = export(str(tmp_path / "trial" / name / checkpoint_folder(0)), tmp_path / name)
        lines = [line for line in printed.splitlines() if not line.startswith("#")]
        assert len(lines) == 3 and "ray_ssl" not in "".join(lines)
        script += "\n".join(lines) + f"\nfeatures[{name!r}] = backbone(images)\n"
        with torch.no_grad():
            expected[name] = backbone(images)
            if options["name"] == "res_lh":  # its source gives every layer
                script += f"features |= {{f'{name} {{n}}': f for n, f in enumerate(backbone.layers(images)[:-1])}}\n"
                expected |= {f"{name} {n}": f for n, f in enumerate(backbone.layers(images)[:-1])}
        card = json.loads((tmp_path / name / "card.json").read_text())
        assert card["weight_names"] in lines[0] + lines[1] and card["loading"][1] == lines[1]
    (tmp_path / "script.py").write_text(script + EPILOGUE)
    subprocess.run([sys.executable, "-I", "script.py"], cwd=tmp_path, check=True)
    found = load_file(tmp_path / "features.safetensors")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_cards_lines_work_inside_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = encoder(ENCODERS["mean"], tmp_path / "trial")
    export(str(tmp_path / "trial" / checkpoint_folder(0)), tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    namespace: dict[str, Any] = {}
    exec("\n".join(json.loads(Path("card.json").read_text())["loading"]), namespace)
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(namespace["backbone"](images), backbone(images))


@pytest.mark.parametrize(
    "options",
    [
        {"name": "resnet18", "stem": "cifar_padded"},
        {"name": "resnet18", "stem": "standard"},
        {"name": "resnet50", "width_factor": 2},
    ],
    ids=str,
)
def test_options_of_the_network_are_in_the_lines(options: dict[str, Any]) -> None:
    with torch.device("meta"):  # no numbers: shapes of weights and of maps
        backbone = build_backbone(PretrainConfig.from_dict({"backbone": options}).backbone, 32)
        namespace: dict[str, Any] = {"torch": torch, "torchvision": torchvision}
        exec(backbone.plain_torch().build, namespace)
        theirs, images = namespace["backbone"], torch.ones(2, 3, 35, 35)
        shapes = [{name: w.shape for name, w in n.state_dict().items()} for n in (theirs, backbone)]
        assert shapes[0] == shapes[1]
        assert theirs(images).shape == backbone(images).shape
        assert theirs.maxpool(theirs.conv1(images)).shape == backbone._stem(images).shape  # type: ignore[operator]


def test_every_backbone_is_covered() -> None:
    assert {options["name"] for options in ENCODERS.values()} == set(plugin_names("ray_ssl.backbones"))


def test_a_backbone_that_does_not_say_how_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray_ssl.backbones.res_lh import ResLH

    encoder(ENCODERS["mean"], tmp_path / "trial")
    monkeypatch.setattr(ResLH, "plain_torch", Backbone.plain_torch)
    with pytest.raises(UserError, match="ResLH cannot be exported: it has no method plain_torch"):
        export(str(tmp_path / "trial" / checkpoint_folder(0)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
