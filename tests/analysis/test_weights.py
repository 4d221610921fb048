"""Files of weights: read without running what is in them, fitted by name, refused with the names that are wrong."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from lightly.models import ResNetGenerator
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet18

from analysis.weights import fit_weights, read_weights
from ray_ssl.backbones import resnet18 as resnet18_module
from ray_ssl.backbones.base import Backbone, build_backbone
from ray_ssl.backbones.res_lh import Config
from ray_ssl.errors import UserError
from ray_ssl.plugins import plugin_module
from tests.analysis.payload import Payload


def backbone(width: int = 4, depth: int = 1) -> Backbone:
    return build_backbone(Config(depth=depth, width=width), 8)


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[k], expected[k]) for k in found)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- reading ---


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".pth.tar", ".bin"])
def test_a_state_dict_is_read(suffix: str, tmp_path: Path) -> None:
    expected = backbone().state_dict()
    assert same(read_weights(saved(expected, tmp_path / f"weights{suffix}")), expected)
    torch.save(expected, tmp_path / f"old{suffix}", _use_new_zipfile_serialization=False)
    assert same(read_weights(tmp_path / f"old{suffix}"), expected)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(backbone().state_dict(), tmp_path / "weights.safetensors")
    assert read_weights(tmp_path / "weights.safetensors").keys() == backbone().state_dict().keys()


@pytest.mark.parametrize("nest", ["state_dict", "model", "model_state_dict", "state_dict.model", "model.state_dict"])
def test_training_checkpoints_are_looked_into(nest: str, tmp_path: Path) -> None:
    expected = backbone().state_dict()
    content: Any = expected
    for name in reversed(nest.split(".")):
        # As Lightning writes it: the optimiser's tensors must not be taken for the network's.
        optimiser = {"state": {0: {"momentum_buffer": torch.ones(3)}}}
        content = {"epoch": 3, name: content, "optimizer": optimiser, "optimizer_states": [optimiser], "lr": 0.1}
    assert same(read_weights(saved(content, tmp_path / "a.ckpt")), expected)


def test_other_dictionaries_give_dotted_names(tmp_path: Path) -> None:
    expected = backbone().state_dict()
    content = {"student": {"conv": torch.ones(2)}, "teacher": expected, "epoch": 1}
    found = read_weights(saved(content, tmp_path / "a.pth"))
    assert found.keys() == {"student.conv", *(f"teacher.{name}" for name in expected)}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_a_malicious_file_is_refused_and_nothing_in_it_is_run(
    protocol: int, new: bool, nested: bool, tmp_path: Path
) -> None:
    target, path = tmp_path / "was run", tmp_path / "evil.pth"
    content = {"state_dict": backbone().state_dict(), "epoch": Payload(target)} if nested else Payload(target)
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    assert "evil.pth" in refusal(path)
    assert not target.exists()
    path.write_bytes(pickle.dumps(content, protocol))
    assert "evil.pth" in refusal(path)
    assert not target.exists()
    pickle.loads(path.read_bytes())
    assert target.exists()  # so the payload would have worked


def test_python_objects_are_named(tmp_path: Path) -> None:
    content = {"state_dict": backbone().state_dict(), "args": argparse.Namespace(lr=0.1)}
    assert refusal(saved(content, tmp_path / "a.pth")) == (
        "a.pth holds a Python object (argparse.Namespace), which could run code, so it is not read; write the weights "
        "alone by torch.save(model.state_dict(), PATH)"
    )
    assert "holds a Python object" in refusal(saved(nn.Linear(2, 2), tmp_path / "b.pth"))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_a_torn_file_is_refused(suffix: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / f"torn{suffix}"
    if suffix == ".pt":
        torch.save(backbone().state_dict(), path)
    else:
        save_file(backbone().state_dict(), path)
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "noise": b"\x93noise" * 99, "empty": b""}[damage])
    assert f"torn{suffix} cannot be read (" in refusal(path)


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    assert "is no file" in refusal(tmp_path / "missing.pt")
    assert "is a folder: give the file in it" in refusal(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    assert "notes.txt is of no known kind: give a file .pt, .pth, " in refusal(tmp_path / "notes.txt")
    assert "holds no dictionary of tensors" in refusal(saved(torch.ones(3), tmp_path / "a.pt"))
    assert "holds no dictionary of tensors" in refusal(saved({"epoch": 3}, tmp_path / "b.pt"))


# --- fitting ---


def fitted(target: Backbone, weights: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    fit_weights(target, weights, prefix, "FILE does not fit NET")
    return target.state_dict()


def misfit(target: Backbone, weights: dict[str, Tensor], prefix: str = "") -> str:
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(UserError) as caught:
        fit_weights(target, weights, prefix, "FILE does not fit NET")
    assert same(target.state_dict(), before)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_prefix_selects() -> None:
    theirs = backbone().state_dict()
    weights = {f"module.encoder.{name}": tensor for name, tensor in theirs.items()} | {"module.head": torch.ones(2)}
    assert same(fitted(backbone(), weights, "module.encoder."), theirs)


def test_torchvisions_file_fits_without_its_classifier() -> None:
    theirs = resnet18(num_classes=7).state_dict()
    ours = fitted(build_backbone(resnet18_module.Config(stem="standard"), 32), theirs)
    assert same(ours, {name: tensor for name, tensor in theirs.items() if not name.startswith("fc.")})


def test_numbered_modules_fit_too() -> None:
    """`nn.Sequential(*list(network.children())[:-1])`, as lightly's examples make their backbone."""
    network = resnet18()
    theirs = {f"backbone.{k}": v for k, v in nn.Sequential(*list(network.children())[:-1]).state_dict().items()}
    assert "backbone.4.0.conv1.weight" in theirs
    ours = fitted(build_backbone(resnet18_module.Config(stem="standard"), 32), theirs, "backbone.")
    assert torch.equal(ours["layer1.0.conv1.weight"], network.layer1[0].conv1.weight)  # type: ignore[union-attr]
    assert torch.equal(ours["layer4.1.bn2.running_var"], network.layer4[1].bn2.running_var)  # type: ignore[union-attr, arg-type]
    message = misfit(build_backbone(resnet18_module.Config(stem="standard"), 32), theirs)
    assert message.endswith("did you mean --key-prefix backbone.?")


def seen(network: nn.Module, images: Tensor, names: list[str]) -> list[Tensor]:
    """The spatial means of what a network's modules put out."""
    found: list[Tensor] = []
    for name in names:
        network.get_submodule(name).register_forward_hook(lambda _m, _in, out: found.append(out.mean((2, 3))))
    network.eval()(images)
    return found


def randomised(network: nn.Module) -> nn.Module:
    """The network with statistics of BatchNorm as after training."""
    for name, tensor in network.state_dict().items():
        if "running" in name:
            tensor.uniform_(0.5, 1.5)
    return network


BLOCKS = {
    "resnet18": [f"layer{i}.{j}" for i in range(1, 5) for j in range(2)],
    "resnet50": [f"layer{i}.{j}" for i, n in enumerate((3, 4, 6, 3), 1) for j in range(n)],
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("numbered", [True, False])
def test_lightlys_networks_for_cifar_have_the_same_features_in_every_layer(name: str, numbered: bool) -> None:
    """Their blocks call the shortcut otherwise, and they have no max-pool, so their children count otherwise."""
    network = randomised(ResNetGenerator(name.replace("resnet", "resnet-")))
    theirs = network.state_dict()
    if numbered:  # as in lightly's CIFAR-10 benchmark, in a file of Lightning's
        children = nn.Sequential(*list(network.children())[:-1], nn.AdaptiveAvgPool2d(1))
        theirs = {f"backbone.{k}": v for k, v in children.state_dict().items()}
        assert "backbone.3.0.shortcut.0.weight" in theirs
    ours = build_backbone(plugin_module("ray_ssl.backbones", name).Config(), 32).eval()
    fit_weights(ours, theirs, "backbone." if numbered else "", "FILE does not fit NET")
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = seen(network, images, BLOCKS[name])
        found = ours.layers(images)
    assert len(found) == len(expected) + 2
    torch.testing.assert_close(found[1:], [*expected, expected[-1]], rtol=1e-5, atol=1e-5)


def test_lightlys_networks_of_another_depth_are_refused() -> None:
    target = build_backbone(resnet18_module.Config(), 32)
    assert "layer1.1.conv1.weight" in misfit(target, ResNetGenerator("resnet-9").state_dict())
    assert "are unexpected (layer1.2.conv1.weight" in misfit(target, ResNetGenerator("resnet-34").state_dict())


@pytest.mark.parametrize("prefix", ["backbone.", "backbone"])
def test_solo_learns_checkpoint_for_cifar_has_the_same_features_in_every_layer(prefix: str, tmp_path: Path) -> None:
    """A file of Lightning's; the first convolution of solo-learn (solo/methods/base.py) has a padding of 2."""
    network = resnet18()
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=2, bias=False)
    network.maxpool, network.fc = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    randomised(network)
    parts = nn.ModuleDict({"backbone": network, "classifier": nn.Linear(512, 100), "projector": nn.Linear(512, 8)})
    momentum = {f"momentum_backbone.{name}": tensor + 1 for name, tensor in network.state_dict().items()}
    content = {
        "epoch": 999, "global_step": 195000, "pytorch-lightning_version": "1.6.4",
        "state_dict": {**parts.state_dict(), **momentum}, "loops": {"fit_loop": {"state_dict": {}}}, "callbacks": {},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(3)}}}], "lr_schedulers": [{"last_epoch": 9}],
        "hyper_parameters": {"backbone": {"name": "resnet18"}, "num_classes": 100},
    }  # fmt: skip
    ours = build_backbone(resnet18_module.Config(stem="cifar_padded"), 32).eval()
    fit_weights(ours, read_weights(saved(content, tmp_path / "byol-cifar100.ckpt")), prefix, "FILE does not fit NET")
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = seen(network, images, BLOCKS["resnet18"])
        found = ours.layers(images)
    torch.testing.assert_close(found[1:], [*expected, expected[-1]], rtol=1e-5, atol=1e-5)


def test_files_without_counters_of_batches_fit() -> None:
    theirs = {k: v for k, v in backbone().state_dict().items() if not k.endswith("num_batches_tracked")}
    ours = fitted(backbone(), theirs)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def test_missing_and_unexpected_weights_are_counted_and_three_are_named() -> None:
    one, two = backbone(depth=1).state_dict(), backbone(depth=2).state_dict()
    # A block has twelve tensors; its two counters of batches are not asked for.
    assert misfit(backbone(depth=2), one) == (
        "FILE does not fit NET: 10 weights are missing (blocks.1.conv1.weight, blocks.1.norm1.weight, "
        "blocks.1.norm1.bias ...)"
    )
    assert misfit(backbone(depth=1), two).startswith("FILE does not fit NET: 12 are unexpected (blocks.1.conv1.weight,")
    del one["stem.0.weight"]
    assert misfit(backbone(), one | {"extra": torch.ones(1)}) == (
        "FILE does not fit NET: 1 weights are missing (stem.0.weight) and 1 are unexpected (extra)"
    )


def test_the_prefix_that_would_fit_is_named() -> None:
    theirs = {f"{who}.backbone.{k}": v for who in ("student", "teacher") for k, v in backbone().state_dict().items()}
    message = misfit(backbone(), theirs)
    assert message.endswith("; did you mean --key-prefix student.backbone. or teacher.backbone.?")
    message = misfit(backbone(), theirs, "pupil.")
    assert "no name begins with 'pupil.'; there are student.backbone.stem.0.weight, " in message


def test_other_shapes_are_named() -> None:
    message = misfit(backbone(width=4), backbone(width=6).state_dict())
    assert "weights have another shape (stem.0.weight is 6x3x2x2, not 4x3x2x2, " in message


def test_half_precision_is_widened() -> None:
    theirs = {k: v.half() if v.is_floating_point() else v for k, v in backbone().state_dict().items()}
    ours = fitted(backbone(), theirs)
    assert ours["stem.0.weight"].dtype == torch.float32
    assert torch.equal(ours["stem.0.weight"], theirs["stem.0.weight"].float())
