"""Every backbone keeps the contract; RES-L-H is the network of arXiv 2305.15614."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d

from ray_ssl.backbones.base import Backbone, build_backbone
from ray_ssl.backbones.res_lh import Config
from ray_ssl.config import BackboneConfig, PretrainConfig
from ray_ssl.plugins import plugin_module, plugin_names

NAMES = plugin_names("ray_ssl.backbones")


def _images(size: int = 32, batch: int = 3) -> Tensor:
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def _small(name: str) -> BackboneConfig:
    config_type = plugin_module("ray_ssl.backbones", name).Config
    small = {"width": 8, "depth": 2}
    return config_type(**{option: size for option, size in small.items() if option in config_type.model_fields})


# --- the contract, for every backbone ---


@pytest.mark.parametrize("name", NAMES)
def test_config_round_trips_and_every_option_is_explained(name: str) -> None:
    config = _small(name)
    assert PretrainConfig.from_json(PretrainConfig(backbone=config).to_json()).backbone == config
    assert all(field.description for key, field in type(config).model_fields.items() if key != "name")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_layers_are_named_flat_and_end_in_the_representation(name: str, training: bool) -> None:
    backbone = build_backbone(_small(name), 32).train(training)
    names, features = backbone.layer_names, backbone.layers(_images())
    assert len(names) == len(set(names)) == len(features)
    assert names[-1] == "representation"
    assert all(f.ndim == 2 and len(f) == 3 for f in features)
    assert features[-1].shape == (3, backbone.num_features)
    assert torch.equal(backbone(_images()), features[-1])


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    backbone = build_backbone(_small(name), 32)
    backbone(_images()).square().sum().backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_a_function_of_the_global_seed(name: str) -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.nn.utils.parameters_to_vector(build_backbone(_small(name), 32).parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize("name", NAMES)
def test_memory_format_changes_nothing(name: str) -> None:
    backbone = build_backbone(_small(name), 32).double()
    images = _images().double()
    expected = backbone.layers(images)
    backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for found, one in zip(backbone.layers(images.to(memory_format=torch.channels_last)), expected, strict=True):
        torch.testing.assert_close(found, one)


# --- RES-L-H ---


def _res_lh(depth: int, width: int, pool: str = "mean", size: int = 32) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(Config(depth=depth, width=width, pool=pool), size)  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [1, 2, 5, 10, 20])
@pytest.mark.parametrize("width", [1, 2, 8, 50])
def test_res_lh_of_every_depth_and_width(depth: int, width: int) -> None:
    backbone = _res_lh(depth, width, size=8)
    assert backbone.layer_names == ("stem", *(f"block{i}" for i in range(1, depth + 1)), "representation")
    assert [tuple(f.shape) for f in backbone.layers(_images(8))] == [(3, width)] * (depth + 2)
    stem = 3 * width * 2 * 2 + width * width * 2 * 2 + 2 * (2 * width)
    block = 2 * (width * width * 3 * 3 + 2 * width)
    assert sum(p.numel() for p in backbone.parameters()) == stem + depth * block


def test_res_10_250_has_the_parameters_of_its_closed_form() -> None:
    with torch.device("meta"):
        backbone = _res_lh(10, 250)
    assert sum(p.numel() for p in backbone.parameters()) == 254_000 + 10 * 1_126_000


@pytest.mark.parametrize("size", [8, 32, 33, 62, 64])
def test_res_lh_flattens_a_quarter_of_the_image(size: int) -> None:
    backbone = _res_lh(2, 4, "flatten", size)
    assert backbone.num_features == 4 * (size // 4) ** 2
    assert [f.shape[1] for f in backbone.layers(_images(size))] == [backbone.num_features] * 4


def test_mean_pooling_is_the_mean_of_the_flattened_map() -> None:
    mean, flat = _res_lh(2, 4), _res_lh(2, 4, "flatten")
    for pooled, flattened in zip(mean.layers(_images()), flat.layers(_images()), strict=True):
        torch.testing.assert_close(pooled, flattened.view(3, 4, 64).mean(2))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("pool", ["mean", "flatten"])
def test_res_lh_equals_its_formula(training: bool, pool: str) -> None:
    """conv 2x2/2, BN, ReLU twice; then x <- ReLU(x + BN(conv(ReLU(BN(conv x))))), straight from the state dict."""
    backbone = _res_lh(2, 4, pool).double().train(training)
    with torch.no_grad():
        for tensor in backbone.state_dict().values():
            tensor.copy_(torch.rand_like(tensor, dtype=torch.float64) + 0.1)
    state = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = (None, None) if training else (state[f"{name}.running_mean"], state[f"{name}.running_var"])
        return batch_norm(x, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"], training)

    def pooled(x: Tensor) -> Tensor:
        return x.mean((2, 3)) if pool == "mean" else x.reshape(len(x), -1)

    x = _images().double()
    for conv in ("0", "3"):
        x = norm(conv2d(x, state[f"stem.{conv}.weight"], stride=2), f"stem.{int(conv) + 1}").clamp_min(0)
    expected = [pooled(x)]
    for i in range(2):
        inner = norm(conv2d(x, state[f"blocks.{i}.conv1.weight"], padding=1), f"blocks.{i}.norm1").clamp_min(0)
        outer = norm(conv2d(inner, state[f"blocks.{i}.conv2.weight"], padding=1), f"blocks.{i}.norm2")
        x = (x + outer).clamp_min(0)
        expected.append(pooled(x))
    for found, one in zip(backbone.layers(_images().double()), [*expected, expected[-1]], strict=True):
        torch.testing.assert_close(found, one)
    torch.testing.assert_close(backbone(_images().double()), expected[-1])


def test_layers_of_a_shallow_network_are_the_first_of_a_deeper_one() -> None:
    shallow, deep = _res_lh(2, 4, "flatten").eval(), _res_lh(5, 4, "flatten").eval()
    deep.load_state_dict(shallow.state_dict(), strict=False)
    for found, one in zip(deep.layers(_images()), shallow.layers(_images())[:-1], strict=False):
        assert torch.equal(found, one)
