"""Vision transformer (arXiv 2010.11929), torchvision's; small defaults for 32-pixel images."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import model_validator

from ray_ssl.backbones.base import PlainTorch, TransformerBackbone
from ray_ssl.backbones.base.transformer import LayerFeatures, check_patches
from ray_ssl.config import BackboneConfig
from ray_ssl.part import Count, Positive


class Config(BackboneConfig):
    """Vision transformer (arXiv 2010.11929): patches as tokens, then encoder blocks of constant width."""

    name: Literal["vit"] = "vit"  # pyright: ignore[reportIncompatibleVariableOverride]
    patch_size: Count = 4
    """height and width of a patch in pixels; must divide the image size"""
    depth: Count = 6
    """number of encoder blocks"""
    width: Count = 192
    """numbers in a token; a multiple of the number of heads"""
    num_heads: Count = 4
    """attention heads of a block"""
    mlp_ratio: Positive = 4.0
    """hidden width of a block's MLP, relative to the width"""
    layer_features: LayerFeatures = "class_token"
    """features of a block: its class token or the mean of its patch tokens; the representation is the class token"""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} cannot be split evenly over num_heads {self.num_heads}")
        if self.mlp_width < 1:
            raise ValueError(f"mlp_ratio {self.mlp_ratio} of width {self.width} leaves the MLP no hidden unit")
        return self

    def check_fits(self, image_size: int) -> None:
        check_patches(self.patch_size, image_size, image_size)

    @property
    def mlp_width(self) -> int:
        """Hidden units of a block's MLP."""
        return round(self.mlp_ratio * self.width)


class ViT(TransformerBackbone):
    """torchvision's `VisionTransformer`; the representation has `width` numbers."""

    def __init__(self, config: Config, image_size: int) -> None:
        from torchvision.models import VisionTransformer

        check_patches(config.patch_size, image_size, image_size)
        arguments: dict[str, Any] = {
            "image_size": image_size,
            "patch_size": config.patch_size,
            "num_layers": config.depth,
            "num_heads": config.num_heads,
            "hidden_dim": config.width,
            "mlp_dim": config.mlp_width,
            "num_classes": 1,
        }
        super().__init__(VisionTransformer(**arguments), config.layer_features)
        self._arguments = ", ".join(f"{name}={value}" for name, value in arguments.items())

    def plain_torch(self) -> PlainTorch:
        name = "torchvision.models.VisionTransformer"
        return PlainTorch(name, f"backbone = {name}({self._arguments}); backbone.heads = torch.nn.Identity()")
