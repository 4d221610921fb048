"""RES-L-H: the constant-width residual network of arXiv 2305.15614, section 3 (and its authors' code)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ray_ssl.backbones.base import Backbone, PlainTorch, res_lh_network
from ray_ssl.config import BackboneConfig
from ray_ssl.part import Count


class Config(BackboneConfig):
    """RES-L-H (arXiv 2305.15614): two stride-2 convolutions, then L residual blocks of width H."""

    name: Literal["res_lh"] = "res_lh"  # pyright: ignore[reportIncompatibleVariableOverride]
    depth: Count = 5
    """number of residual blocks, L"""
    width: Count = 64
    """channels of every layer, H"""
    pool: Literal["mean", "flatten"] = "mean"
    """features of a layer: spatial mean (H numbers) or the flattened map (64 H numbers at 32 pixels)"""


class ResLH(res_lh_network.ResLHNetwork, Backbone):
    """Layers: stem, block1 .. blockL, representation (the pooled output of the last block)."""

    def __init__(self, config: Config, image_size: int) -> None:
        super().__init__(config.depth, config.width, config.pool)
        self.num_features = config.width if config.pool == "mean" else config.width * (image_size // 4) ** 2
        self._arguments = f"depth={config.depth}, width={config.width}, pool={config.pool!r}"

    def plain_torch(self) -> PlainTorch:
        network = res_lh_network.ResLHNetwork.__name__
        return PlainTorch(network, f"backbone = {network}({self._arguments})", Path(res_lh_network.__file__))
