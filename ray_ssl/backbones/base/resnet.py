"""torchvision's residual networks (arXiv 1512.03385) without their classifier, every block a named layer."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from torch import Tensor, nn

from ray_ssl.backbones.base.contract import Backbone, PlainTorch
from ray_ssl.config import BackboneConfig

if TYPE_CHECKING:  # importing torchvision takes as long as importing torch
    from torchvision.models.resnet import ResNet

Stem = Literal["cifar", "cifar_padded", "standard"]
PADDING: Final = {"cifar": 1, "cifar_padded": 2}
"""Of the 3x3 convolution, in pixels."""


class ResNetConfig(BackboneConfig):
    """Options of every ResNet."""

    stem: Stem = "cifar"
    """first layer; cifar: 3x3 convolution of stride 1 without max-pool, as on CIFAR in arXiv 2002.05709; \
cifar_padded: the same with a padding of 2, solo-learn's on CIFAR; standard: 7x7 of stride 2 with max-pool, for images \
of 64 pixels and more"""


class ResNetBackbone(Backbone):
    """Layers: stem, layer1.0, layer1.1 .. (torchvision's names of the residual blocks), representation.

    Features of a layer are the spatial mean of its map. Parameters and buffers carry torchvision's names, so its
    weights load once those of the classifier (`fc`) are left out. Images of any size are taken.

    Args:
        network: Any ResNet of torchvision, ResNeXt and wide ones included; its modules are taken over.
        stem: Any but "standard" puts a freshly initialised convolution in the place of the network's first.
    """

    heads = ("fc", "linear")
    synonyms = MappingProxyType({"shortcut": "downsample"})  # in lightly's networks, which are the same

    def __init__(self, network: ResNet, stem: Stem) -> None:
        super().__init__()
        self.num_features = network.fc.in_features
        self.stem = stem
        self.conv1: nn.Module = network.conv1 if stem == "standard" else _cifar_convolution(PADDING[stem])
        self.bn1 = network.bn1
        self.relu = network.relu
        self.maxpool: nn.Module = network.maxpool if stem == "standard" else nn.Identity()
        self.layer1 = network.layer1
        self.layer2 = network.layer2
        self.layer3 = network.layer3
        self.layer4 = network.layer4

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("stem", *(name for name, _ in self._blocks()), "representation")

    def layers(self, images: Tensor) -> list[Tensor]:
        x = self._stem(images)
        features = [x.mean((2, 3))]
        for _, block in self._blocks():
            x = block(x)
            features.append(x.mean((2, 3)))
        return [*features, features[-1]]

    def forward(self, images: Tensor) -> Tensor:
        x = self._stem(images)
        for _, block in self._blocks():
            x = block(x)
        return x.mean((2, 3))

    def plain_resnet(self, name: str, arguments: str = "") -> PlainTorch:
        """Returns how torchvision's function `name` builds this network."""
        build = f"backbone = torchvision.models.{name}({arguments}); backbone.fc = torch.nn.Identity()"
        if self.stem != "standard":
            convolution = f"torch.nn.Conv2d(3, 64, 3, padding={PADDING[self.stem]}, bias=False)"
            build += f"; backbone.maxpool = torch.nn.Identity(); backbone.conv1 = {convolution}"
        return PlainTorch(f"torchvision.models.{name}", build)

    def _stem(self, images: Tensor) -> Tensor:
        return self.maxpool(self.relu(self.bn1(self.conv1(images))))

    def _blocks(self) -> Iterator[tuple[str, nn.Module]]:
        for name in ("layer1", "layer2", "layer3", "layer4"):
            for number, block in self.get_submodule(name).named_children():
                yield f"{name}.{number}", block


def _cifar_convolution(padding: int) -> nn.Conv2d:
    """3x3, stride 1, initialised as torchvision initialises the convolution that it replaces."""
    convolution = nn.Conv2d(3, 64, 3, padding=padding, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
