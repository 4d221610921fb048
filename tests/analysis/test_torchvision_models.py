"""torchvision's networks as backbones: every layer is what the network itself computes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import relu

from analysis.torchvision_models import as_backbone, load_torchvision
from ray_ssl.backbones.base import ResNetBackbone, TransformerBackbone
from ray_ssl.errors import UserError
from tests.analysis.payload import Payload

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's own, on initialising some networks
        yield


def network(name: str) -> nn.Module:
    """One of torchvision's networks with weights that are nowhere 0 (some heads start so)."""
    found = torchvision.models.get_model(name, weights=None).eval()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(torch.rand_like(parameter) * 0.01)
    return found


@pytest.mark.parametrize("name", ["densenet121", "swin_t", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5"])
@torch.no_grad()
def test_the_classifier_of_the_representation_is_the_networks_output(name: str) -> None:
    theirs = network(name)
    head = [m for m in theirs.modules() if isinstance(m, nn.Linear)][-1]
    expected = theirs(IMAGES)
    backbone = as_backbone(theirs, 64)
    features = backbone.layers(IMAGES)
    torch.testing.assert_close(head(features[-1]), expected)
    assert len(features) == len(backbone.layer_names) == len(set(backbone.layer_names))
    assert backbone.layer_names[-1] == "representation" and features[-1].shape == (2, backbone.num_features)
    assert torch.equal(backbone(IMAGES), features[-1])


@torch.no_grad()
def test_layers_that_the_next_module_overwrites_are_pooled_before() -> None:
    theirs = network("squeezenet1_1")  # its ReLUs work in place
    features = theirs.get_submodule("features")
    convolution = features[0](IMAGES).mean((2, 3))  # type: ignore[operator]
    squeezed = features[2](features[1](features[0](IMAGES)))  # type: ignore[operator]
    fire = features[3](squeezed).mean((2, 3))  # type: ignore[operator]
    backbone = as_backbone(theirs, 64)
    named = dict(zip(backbone.layer_names, backbone.layers(IMAGES), strict=True))
    torch.testing.assert_close(named["features.0"], convolution)
    torch.testing.assert_close(named["features.3"], fire)
    torch.testing.assert_close(named["representation"], relu(theirs.get_submodule("features")(IMAGES)).mean((2, 3)))


@torch.no_grad()
def test_the_axis_of_channels_is_known() -> None:
    backbone = as_backbone(network("swin_t"), 64)  # maps [B, H, W, C] between its blocks
    widths = dict(zip(backbone.layer_names, (f.shape[1] for f in backbone.layers(IMAGES)), strict=True))
    assert {name: widths[f"features.{name}"] for name in ("0.0", "1.1", "3.0", "5.3", "7.1")} == {
        "0.0": 96, "1.1": 96, "3.0": 192, "5.3": 384, "7.1": 768,
    }  # fmt: skip


def test_families_we_know_are_wrapped() -> None:
    backbone = as_backbone(network("resnext50_32x4d"), 64)
    assert isinstance(backbone, ResNetBackbone) and len(backbone.layer_names) == 1 + 16 + 1
    vit = torchvision.models.VisionTransformer(32, 8, 2, 2, 8, 16)
    assert isinstance(as_backbone(vit, 64), TransformerBackbone)


def test_one_pass_gives_all_layers() -> None:
    theirs = network("mnasnet0_5")
    calls: list[Tensor] = []
    backbone = as_backbone(theirs, 64)
    theirs.register_forward_pre_hook(lambda module, inputs: calls.append(inputs[0]))
    backbone.layers(IMAGES)
    assert len(calls) == 1


@pytest.mark.parametrize(("name", "size"), [("alexnet", 8), ("inception_v3", 32)])
def test_images_that_are_too_small_are_refused(name: str, size: int) -> None:
    with pytest.raises(UserError, match=rf"^this network cannot take images of {size} x {size} pixels \(.*\)$"):
        as_backbone(torchvision.models.get_model(name, weights=None), size)


def test_random_weights_are_a_function_of_the_seed() -> None:
    def weights(seed: int) -> Tensor:
        return nn.utils.parameters_to_vector(load_torchvision("mnasnet0_5", "none", seed).network.parameters())

    before = torch.random.get_rng_state()
    assert torch.equal(weights(0), weights(0)) and not torch.equal(weights(0), weights(1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_mistyped_name_is_refused() -> None:
    with pytest.raises(UserError, match=r"torchvision has no network 'resnet19'; did you mean 'resnet1"):
        load_torchvision("resnet19", "none", 0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torchvision's folder of downloaded weights, empty; there is no network."""

    def offline(*_: object, **__: object) -> None:
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")  # put back after the test
    monkeypatch.setattr("torch.hub.urlopen", offline)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_no_network_is_one_line(cache: Path) -> None:
    with pytest.raises(UserError) as refusal:
        load_torchvision("mnasnet0_5", "default", 0)
    url = torchvision.models.MNASNet0_5_Weights.DEFAULT.url
    assert f"could not be had from {url} (OSError: Temporary failure" in str(refusal.value)
    assert str(cache) in str(refusal.value) and "\n" not in str(refusal.value)


def test_pretrained_weights_bring_their_preset(cache: Path) -> None:
    theirs = network("mnasnet0_5")
    torch.save(theirs.state_dict(), cache / Path(torchvision.models.MNASNet0_5_Weights.DEFAULT.url).name)
    found = load_torchvision("mnasnet0_5", "default", 0)
    assert found.image_size == 224 and found.statistics == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    torch.testing.assert_close(found.network.state_dict(), theirs.state_dict())


def test_nothing_in_downloaded_weights_is_run(cache: Path, tmp_path: Path) -> None:
    torch.save(Payload(tmp_path / "was run"), cache / Path(torchvision.models.MNASNet0_5_Weights.DEFAULT.url).name)
    with pytest.raises(UserError, match="could not be had"):
        load_torchvision("mnasnet0_5", "default", 0)
    assert not (tmp_path / "was run").exists()
