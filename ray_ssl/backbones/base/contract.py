"""The contract of a backbone: named layers in order, and every layer's features from one forward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor, nn

from ray_ssl.config import BackboneConfig
from ray_ssl.errors import UserError
from ray_ssl.plugins import plugin_class


class PlainTorch(NamedTuple):
    """How Python that lacks this project builds a backbone's network.

    Attributes:
        names: What gives the weights their names: a class or function of torchvision, or the class in `source`.
        build: Statements after which `backbone` is the network, which takes exactly the backbone's weights. They may
            use torch, torchvision and the class in `source`.
        source: Python file that defines the class and imports nothing but torch; None where torchvision has it.
    """

    names: str
    build: str
    source: Path | None = None


class Backbone(nn.Module, ABC):
    """Maps images [B, 3, H, W] to representations h [B, num_features]."""

    num_features: int
    """Length of the representation."""

    heads: tuple[str, ...] = ()
    """Names of the classifier's module in files of the network this one is made from; its weights are left out."""

    synonyms: Mapping[str, str] = MappingProxyType({})
    """Names of modules, wherever they stand, by what files of the same network from elsewhere call them."""

    @property
    @abstractmethod
    def layer_names(self) -> tuple[str, ...]:
        """Names of the measured layers, from input to output; the last is "representation"."""

    @abstractmethod
    def layers(self, images: Tensor) -> list[Tensor]:
        """Returns every layer's features [B, D_layer], in the order of `layer_names`, from one pass."""

    def plain_torch(self) -> PlainTorch:
        """Returns how the network is built without this project; what does not say so cannot be exported.

        Raises:
            UserError: It does not.
        """
        raise UserError(f"{type(self).__name__} cannot be exported: it has no method plain_torch")

    def forward(self, images: Tensor) -> Tensor:
        """Returns the representations h [B, num_features]."""
        return self.layers(images)[-1]


def build_backbone(config: BackboneConfig, image_size: int) -> Backbone:
    """Returns a freshly initialised backbone; weights come from torch's global generator."""
    return plugin_class("ray_ssl.backbones", config.name, Backbone)(config, image_size)  # type: ignore[call-arg]
