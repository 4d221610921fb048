"""ResNet-18, ResNet-50 and ViT are torchvision's networks: same names, same weights, same numbers."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer, resnet18, resnet50, wide_resnet50_2
from torchvision.models.resnet import ResNet

from analysis.features import Pictures, extract, load_backbone
from ray_ssl.backbones import resnet18 as resnet18_module
from ray_ssl.backbones import resnet50 as resnet50_module
from ray_ssl.backbones.base import Backbone, ResNetBackbone, build_backbone
from ray_ssl.backbones.vit import Config as ViTConfig
from ray_ssl.backbones.vit import ViT
from ray_ssl.checkpoints import checkpoint_folder, load_checkpoint
from ray_ssl.config import BackboneConfig, PretrainConfig
from ray_ssl.data.base import Dataset, ImageSet
from ray_ssl.errors import UserError
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from ray_ssl.trainer import build_trial_method

SMALL_VIT = {"depth": 3, "width": 8, "num_heads": 2}


def images(size: int = 32, batch: int = 3) -> Tensor:
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def without(head: str, network: nn.Module) -> dict[str, Tensor]:
    """torchvision's weights but those of the classifier."""
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(f"{head}.")}


def randomised(network: nn.Module) -> nn.Module:
    """The network with weights far from any initialisation, in evaluation mode."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.mul_(1 + torch.rand_like(tensor) * 0.2)
                tensor.add_(torch.rand_like(tensor) * 0.1 if name.endswith(("bias", "running_mean", "token")) else 0)
    return network.eval()


# --- ResNets ---

RESNETS = [
    (resnet18, resnet18_module.Config, [64] * 3 + [128] * 2 + [256] * 2 + [512] * 3),
    (resnet50, resnet50_module.Config, [64] + [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 4),
]


@pytest.mark.parametrize("stem", ["cifar", "cifar_padded", "standard"])
@pytest.mark.parametrize(("theirs", "config", "widths"), RESNETS)
def test_every_residual_block_is_a_layer(theirs: type, config: type, widths: list[int], stem: str) -> None:
    backbone = build_backbone(config(stem=stem), 32).eval()
    blocks = [name for name, _ in backbone.named_modules() if name.count(".") == 1 and name.startswith("layer")]
    assert backbone.layer_names == ("stem", *blocks, "representation")
    features = backbone.layers(images())
    assert [f.shape for f in features] == [(3, width) for width in widths]
    assert features[-1] is features[-2]  # what is the same is measured once


@pytest.mark.parametrize(("theirs", "config", "widths"), RESNETS)
def test_with_torchvisions_weights_it_gives_torchvisions_output(theirs: type, config: type, widths: list[int]) -> None:
    network = randomised(theirs())
    backbone = build_backbone(config(stem="standard"), 64).eval()
    backbone.load_state_dict(without("fc", network))
    network.fc = nn.Identity()  # type: ignore[assignment]
    torch.testing.assert_close(backbone(images(64)), network(images(64)))


def test_the_cifar_stem_is_the_usual_surgery() -> None:
    network = resnet18()
    network.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()  # type: ignore[assignment]
    network.fc = nn.Identity()  # type: ignore[assignment]
    randomised(network)
    backbone = build_backbone(resnet18_module.Config(), 32).eval()
    backbone.load_state_dict(network.state_dict())
    torch.testing.assert_close(backbone(images()), network(images()))
    maps = backbone.get_submodule("layer1")(backbone._stem(images()))  # type: ignore[operator]
    assert maps.shape == (3, 64, 32, 32)


def test_weights_at_initialisation_are_torchvisions_of_the_same_seed() -> None:
    torch.manual_seed(3)
    network = resnet18(num_classes=1)
    torch.manual_seed(3)
    backbone = build_backbone(resnet18_module.Config(stem="standard"), 32)
    torch.testing.assert_close(backbone.state_dict(), without("fc", network), rtol=0, atol=0)
    cifar = build_backbone(resnet18_module.Config(), 32).get_parameter("conv1.weight")
    assert abs(cifar.std().item() / (2 / (64 * 9)) ** 0.5 - 1) < 0.05  # He, fan-out


def test_a_wide_resnet_is_torchvisions() -> None:
    with torch.device("meta"):
        backbone = build_backbone(resnet50_module.Config(width_factor=2, stem="standard"), 32)
        theirs = without("fc", wide_resnet50_2())
    assert {k: v.shape for k, v in backbone.state_dict().items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize("size", [8, 31, 65])
@pytest.mark.parametrize("stem", ["cifar", "standard"])
def test_resnets_take_images_of_any_size(stem: str, size: int) -> None:
    backbone = build_backbone(resnet18_module.Config(stem=stem), size)  # type: ignore[arg-type]
    assert backbone(images(size)).shape == (3, 512)


# --- ViT ---


def vit(size: int = 16, **options: object) -> ViT:
    backbone = build_backbone(ViTConfig(**(SMALL_VIT | options)), size)  # type: ignore[arg-type]
    assert isinstance(backbone, ViT)
    return backbone.eval()


def test_a_vit_with_torchvisions_weights_gives_torchvisions_output() -> None:
    network = randomised(VisionTransformer(16, 4, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=32))
    backbone = vit()
    backbone.load_state_dict(without("heads", network))
    network.heads = nn.Identity()
    torch.testing.assert_close(backbone(images(16)), network(images(16)))
    torch.testing.assert_close(backbone.layers(images(16))[-1], network(images(16)))


@pytest.mark.parametrize("layer_features", ["class_token", "patch_mean"])
def test_every_encoder_block_is_a_layer(layer_features: str) -> None:
    backbone = vit(layer_features=layer_features)
    assert backbone.layer_names == ("stem", "block1", "block2", "block3", "representation")
    seen: list[Tensor] = []
    for block in backbone.encoder.layers:
        block.register_forward_hook(lambda module, inputs, tokens: seen.append(tokens))  # type: ignore[arg-type]
    stem, *blocks, representation = backbone.layers(images(16))
    maps = backbone.conv_proj(images(16))
    positions = backbone.encoder.pos_embedding[0, 1:]
    torch.testing.assert_close(stem, maps.mean((2, 3)) + positions.mean(0))
    for tokens, found in zip(seen, blocks, strict=True):
        assert tokens.shape == (3, 1 + 16, 8)
        torch.testing.assert_close(found, tokens[:, 0] if layer_features == "class_token" else tokens[:, 1:].mean(1))
    torch.testing.assert_close(representation, backbone.encoder.ln(seen[-1][:, 0]))


@pytest.mark.parametrize("size", [8, 24])
def test_a_vit_takes_crops_of_another_size(size: int) -> None:
    """Positions that are all alike stay so however they are resized: the network of that size gives the same."""
    made_for_16, made_for_it = vit(16), vit(size)
    weights = {k: v for k, v in made_for_16.state_dict().items() if k != "encoder.pos_embedding"}
    made_for_it.load_state_dict(weights, strict=False)
    alike, of_class = torch.randn(2, 8)
    with torch.no_grad():
        for backbone in (made_for_16, made_for_it):
            backbone.encoder.pos_embedding[:, 1:] = alike
            backbone.encoder.pos_embedding[:, 0] = of_class
    torch.testing.assert_close(made_for_16(images(size)), made_for_it(images(size)))


def test_positions_keep_their_place_when_resized() -> None:
    backbone = vit(16)  # a grid of 4 x 4 patches
    with torch.no_grad():
        backbone.encoder.pos_embedding[0, 1:] = torch.arange(4.0).repeat_interleave(4)[:, None]  # the row's number
    resized = backbone._positions(8, 8)[0, 1:].view(8, 8, 8)
    rows = resized[..., 0]
    torch.testing.assert_close(rows, rows[:, :1].expand(8, 8))
    assert (rows[:, 0].diff() > 0).all()


@pytest.mark.parametrize("size", [8, 18])
def test_images_that_patches_do_not_divide_are_refused(size: int) -> None:
    with pytest.raises(UserError, match=f"images of {size} x {size} pixels .* patches of patch_size 16: give sizes"):
        build_backbone(ViTConfig(patch_size=16), size)
    with pytest.raises(UserError, match=f"images of {size} x {size} pixels"):
        vit(patch_size=16)(images(size))


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match=r"^backbone.width 10 cannot be split evenly over num_heads 4$"):
        PretrainConfig.from_dict({"backbone": {"name": "vit", "width": 10}})
    with pytest.raises(UserError, match="no hidden unit"):
        PretrainConfig.from_dict({"backbone": {"name": "vit", "width": 4, "mlp_ratio": 0.1}})


# --- both ---

CONFIGS = [
    resnet18_module.Config(),
    resnet18_module.Config(stem="standard"),
    resnet50_module.Config(),
    ViTConfig(**SMALL_VIT),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_all_layers_come_from_one_pass(config: BackboneConfig) -> None:
    backbone = build_backbone(config, 16).eval()
    calls = dict.fromkeys((name for name, m in backbone.named_modules() if not list(m.children())), 0)
    for name in calls:
        backbone.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    backbone.layers(images(16))
    assert max(calls[n] for n, m in backbone.named_modules() if n in calls and not isinstance(m, nn.ReLU)) == 1


def tiny_images(num: int, seed: int) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (num, 16, 16, 3), np.uint8)
    return ImageSet(pixels, np.arange(num) % 2, ("a", "b"))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_two_steps_of_training_and_back_from_the_checkpoint(config: BackboneConfig, tmp_path: Path) -> None:
    dataset = Dataset("tiny", tiny_images(16, 0), tiny_images(4, 1))
    values = {"projector_width": 8, "embedding_dim": 8}
    training = {"epochs": 1, "global_batch_size": 8, "precision": "fp32"}
    trial = PretrainConfig.from_dict(
        {
            "backbone": config.model_dump(),
            "data": {"image_size": 16},
            "method": {"name": "simclr", **values},
            "training": training,
        }
    )
    trained = pretrain(trial, dataset, Storage.at(tmp_path), lambda metrics: None)
    assert np.isfinite(trained.history[-1]["loss"])
    checkpoint = load_checkpoint(Storage.at(tmp_path), checkpoint_folder(1))
    start = build_trial_method(trial, dataset).state_dict()
    assert all(not torch.equal(start[k], v) for k, v in checkpoint.model.items() if k.endswith("weight"))
    backbone: Backbone = load_backbone(checkpoint)
    features = extract(backbone, Pictures(dataset.test.images), checkpoint.card, torch.device("cpu"))
    assert tuple(checkpoint.card["layer_names"]) == backbone.layer_names
    assert features[-1].shape == (4, backbone.num_features)


def test_whoever_uses_another_backbone_does_not_wait_for_torchvision() -> None:
    for path in (Path(__file__).parents[2] / "ray_ssl/backbones").rglob("*.py"):
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert "torchvision" not in " ".join(map(ast.unparse, top)), path


def test_any_resnet_of_torchvision_can_be_wrapped() -> None:
    from torchvision.models.resnet import BasicBlock

    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=2)
    assert ResNetBackbone(network, "standard").layer_names == (
        "stem", "layer1.0", "layer2.0", "layer3.0", "layer4.0", "representation"
    )  # fmt: skip
