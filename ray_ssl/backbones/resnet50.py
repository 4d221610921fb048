"""ResNet-50 (arXiv 1512.03385), torchvision's, and its wide versions (arXiv 1605.07146)."""

from __future__ import annotations

from typing import Literal

from ray_ssl.backbones.base import PlainTorch, ResNetBackbone, ResNetConfig
from ray_ssl.part import Count


class Config(ResNetConfig):
    """ResNet-50 (arXiv 1512.03385): 3, 4, 6 and 3 bottleneck blocks, 256 to 2048 channels."""

    name: Literal["resnet50"] = "resnet50"  # pyright: ignore[reportIncompatibleVariableOverride]
    width_factor: Count = 1
    """channels inside every bottleneck are multiplied by this; 2 is torchvision's wide_resnet50_2 (arXiv 1605.07146)"""


class ResNet50(ResNetBackbone):
    """torchvision's `resnet50`; the representation has 2048 numbers."""

    def __init__(self, config: Config, image_size: int) -> None:
        from torchvision.models import resnet50

        self.width_per_group = 64 * config.width_factor
        super().__init__(resnet50(num_classes=1, width_per_group=self.width_per_group), config.stem)

    def plain_torch(self) -> PlainTorch:
        return self.plain_resnet("resnet50", f"width_per_group={self.width_per_group}")
