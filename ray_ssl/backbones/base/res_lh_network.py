"""RES-L-H, the constant-width residual network of arXiv 2305.15614 (section 3, and its authors' code).

This file needs nothing but torch: exported encoders have a copy of it beside their weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu


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


class ResLHNetwork(nn.Module):
    """Two stride-2 convolutions, then residual blocks, of one width.

    Args:
        depth: Number of residual blocks, L.
        width: Channels of every layer, H.
        pool: Features of a layer are the spatial mean of its map ("mean": H numbers) or all of it ("flatten").
    """

    def __init__(self, depth: int, width: int, pool: str = "mean") -> None:
        super().__init__()
        self.pool = pool
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 2, stride=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 2, stride=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of what `layers` returns."""
        return ("stem", *(f"block{i + 1}" for i in range(len(self.blocks))), "representation")

    def layers(self, images: Tensor) -> list[Tensor]:
        """Maps images [B, 3, size, size] to the features [B, D] of every layer; the last is the representation."""
        x = self.stem(images)
        features = [self._features(x)]
        for block in self.blocks:
            x = block(x)
            features.append(self._features(x))
        return [*features, features[-1]]

    def forward(self, images: Tensor) -> Tensor:
        """Maps images [B, 3, size, size] to their representations [B, D]."""
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        return self._features(x)

    def _features(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3)) if self.pool == "mean" else torch.flatten(maps, 1)
