"""RES-L-H: the constant-width residual network of arXiv 2305.15614, section 3 (and its authors' code)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import relu

from ray_ssl.backbones.base import Backbone, pool
from ray_ssl.config import BackboneConfig, Count


class Config(BackboneConfig):
    """RES-L-H (arXiv 2305.15614): two stride-2 convolutions, then L residual blocks of width H."""

    name: Literal["res_lh"] = "res_lh"  # pyright: ignore[reportIncompatibleVariableOverride]
    depth: Count = 5
    """number of residual blocks, L; of encoder blocks in vit"""
    width: Count = 64
    """channels of every layer, H; numbers in a token of vit"""
    pool: Literal["mean", "flatten"] = "mean"
    """features of a layer: spatial mean (H numbers) or the flattened map (64 H numbers at 32 pixels)"""


class ResidualBlock(nn.Module):
    """x -> ReLU(x + BN(conv3x3(ReLU(BN(conv3x3 x))))), width and size unchanged."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        inner = relu(self.norm1(self.conv1(x)), inplace=True)
        return relu(x + self.norm2(self.conv2(inner)), inplace=True)


class ResLH(Backbone):
    """Layers: stem, block1 .. blockL, representation (the pooled output of the last block)."""

    def __init__(self, config: Config, image_size: int) -> None:
        super().__init__()
        width = config.width
        self.pool = config.pool
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 2, stride=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 2, stride=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(config.depth))
        self.num_features = width if config.pool == "mean" else width * (image_size // 4) ** 2

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("stem", *(f"block{i + 1}" for i in range(len(self.blocks))), "representation")

    def layers(self, images: Tensor) -> list[Tensor]:
        x = self.stem(images)
        features = [pool(x, self.pool)]
        for block in self.blocks:
            x = block(x)
            features.append(pool(x, self.pool))
        return [*features, features[-1]]

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        return pool(x, self.pool)
