"""torchvision's classification networks by name, each layer's features from one forward pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import ResNet, SwinTransformer, VisionTransformer

from ray_ssl.backbones.base import Backbone, ResNetBackbone, TransformerBackbone
from ray_ssl.errors import UserError, did_you_mean

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of the images by channel, on the 0..1 scale."""


class Pretrained(NamedTuple):
    """A network and what its weights were trained with; both None where the weights are random."""

    network: nn.Module
    image_size: int | None
    statistics: Statistics | None


def load_torchvision(name: str, weights: Literal["none", "default"], seed: int) -> Pretrained:
    """Returns one of torchvision's classification networks.

    Args:
        name: As in `torchvision.models`.
        weights: "default": torchvision's best, downloaded once; "none": random ones.
        seed: Of the random weights.

    Raises:
        UserError: No such network, or its weights cannot be downloaded.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UserError(f"torchvision has no network {name!r}{did_you_mean(name, known)}")
    if weights == "none":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Pretrained(torchvision.models.get_model(name, weights=None), None, None)
    chosen = torchvision.models.get_model_weights(name)["DEFAULT"]
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # torchvision's loader would unpickle anything
    try:
        network = torchvision.models.get_model(name, weights=chosen)
    except Exception as error:  # no network, a changed file, a full disk: all end in the same advice
        first = str(error).strip().partition("\n")[0]
        raise UserError(
            f"the weights of torchvision's {name} could not be had from {chosen.url} ({type(error).__name__}: "
            f"{first[:120]}); put that file into {torch.hub.get_dir()}/checkpoints"
        ) from None
    preset: Any = chosen.transforms()
    return Pretrained(network, preset.crop_size[0], (tuple(preset.mean), tuple(preset.std)))


def as_backbone(network: nn.Module, image_size: int) -> Backbone:
    """Returns any of torchvision's classification networks with named layers, in evaluation mode.

    Raises:
        UserError: It cannot take images of this size.
    """
    if isinstance(network, ResNet):
        return ResNetBackbone(network, "standard").eval()
    if isinstance(network, VisionTransformer):
        backbone = TransformerBackbone(network, "class_token").eval()
        _try(backbone, image_size)
        return backbone
    return ModuleBackbone(network.eval(), image_size)


class ModuleBackbone(Backbone):
    """Layers: every module with weights below the top-level containers, in the order in which they run, and
    "representation", what the last linear (or convolutional) layer is given.

    Features of a layer are the spatial mean of its output.

    Args:
        network: A classification network of torchvision in evaluation mode.
        image_size: Height and width of the images that will come; one is tried.

    Raises:
        UserError: It cannot take images of this size.
    """

    def __init__(self, network: nn.Module, image_size: int) -> None:
        super().__init__()
        self.network = network
        self._seen: dict[str, Tensor] = {}
        head_name, head = [(n, m) for n, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
        for name, module in _modules_with_weights(network):
            if name == head_name or head_name.startswith(f"{name}."):
                break
            channels_last = isinstance(network, SwinTransformer) and not isinstance(module, nn.Conv2d)
            axis = -1 if channels_last else 1
            module.register_forward_hook(lambda _m, _inputs, output, n=name, a=axis: self._see(n, output, a))
        head.register_forward_pre_hook(lambda _m, inputs: self._see("representation", inputs[0], 1))
        features = _try(self, image_size)
        self._names = tuple(self._seen)
        self.num_features = features[-1].shape[1]

    @property
    def layer_names(self) -> tuple[str, ...]:
        return self._names

    def layers(self, images: Tensor) -> list[Tensor]:
        self._seen.clear()
        self.network(images)
        return list(self._seen.values())

    def _see(self, name: str, output: Any, channel_axis: int) -> None:
        # Pooled at once: the next module may work in place.
        axes = [axis for axis in range(1, output.ndim) if axis != channel_axis % output.ndim]
        self._seen[name] = output.mean(axes) if axes else output.clone()


def _modules_with_weights(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The children in order; of plain containers their children."""
    for name, child in module.named_children():
        if type(child) in (nn.Sequential, nn.ModuleList):
            yield from _modules_with_weights(child, f"{prefix}{name}.")
        elif any(True for _ in child.parameters()):
            yield f"{prefix}{name}", child


@torch.no_grad()
def _try(backbone: Backbone, image_size: int) -> list[Tensor]:
    try:
        return backbone.layers(torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError) as error:
        if isinstance(error, UserError):
            raise
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"this network cannot take images of {image_size} x {image_size} pixels ({first})") from None
