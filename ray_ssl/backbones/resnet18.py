"""ResNet-18 (arXiv 1512.03385), torchvision's."""

from __future__ import annotations

from typing import Literal

from ray_ssl.backbones.base import PlainTorch, ResNetBackbone, ResNetConfig


class Config(ResNetConfig):
    """ResNet-18 (arXiv 1512.03385): four stages of two residual blocks, 64 to 512 channels."""

    name: Literal["resnet18"] = "resnet18"  # pyright: ignore[reportIncompatibleVariableOverride]


class ResNet18(ResNetBackbone):
    """torchvision's `resnet18`; the representation has 512 numbers."""

    def __init__(self, config: Config, image_size: int) -> None:
        from torchvision.models import resnet18

        super().__init__(resnet18(num_classes=1), config.stem)

    def plain_torch(self) -> PlainTorch:
        return self.plain_resnet("resnet18")
