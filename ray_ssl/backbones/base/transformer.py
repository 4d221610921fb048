"""torchvision's vision transformer (arXiv 2010.11929) without its classifier, every encoder block a named layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ray_ssl.backbones.base.contract import Backbone
from ray_ssl.errors import UserError

if TYPE_CHECKING:  # importing torchvision takes as long as importing torch
    from torchvision.models.vision_transformer import VisionTransformer

LayerFeatures = Literal["class_token", "patch_mean"]


class TransformerBackbone(Backbone):
    """Layers: stem, block1 .. blockN, representation (the class token behind the last norm).

    Features of a block are its class token or the mean of its patch tokens; those of the stem always the mean, since
    the class token has seen no image there. Parameters carry torchvision's names, so its weights load once those of
    the classifier (`heads`) are left out. Images of another size than the network was made for are taken too: its
    position embeddings are resized to their grid of patches (bicubic, as in the code of arXiv 2104.14294).

    Args:
        network: Any VisionTransformer of torchvision; its modules are taken over.
        layer_features: "class_token" or "patch_mean".
    """

    heads = ("heads",)

    def __init__(self, network: VisionTransformer, layer_features: LayerFeatures) -> None:
        super().__init__()
        self.num_features = network.hidden_dim
        self.patch_size = network.patch_size
        self.grid = network.image_size // network.patch_size
        self.layer_features = layer_features
        self.class_token = network.class_token
        self.conv_proj = network.conv_proj
        self.encoder = network.encoder

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("stem", *(f"block{i + 1}" for i in range(len(self.encoder.layers))), "representation")

    def layers(self, images: Tensor) -> list[Tensor]:
        tokens = self._embed(images)
        features = [tokens[:, 1:].mean(1)]
        for block in self.encoder.layers:
            tokens = block(tokens)
            # A copy, not a view, which would keep every layer's tokens in memory.
            features.append(tokens[:, 0].clone() if self.layer_features == "class_token" else tokens[:, 1:].mean(1))
        return [*features, self.encoder.ln(tokens)[:, 0]]

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder.ln(self.encoder.layers(self._embed(images)))[:, 0]

    def _embed(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] to tokens [B, 1 + patches, D], the class token first."""
        check_patches(self.patch_size, *images.shape[2:])
        maps = self.conv_proj(images)  # [B, D, H / patch, W / patch]
        classes = self.class_token.expand(len(images), -1, -1)
        tokens = torch.cat([classes, maps.flatten(2).transpose(1, 2)], 1)
        return self.encoder.dropout(tokens + self._positions(maps.shape[2], maps.shape[3]))

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Position embeddings [1, 1 + rows columns, D]."""
        positions: Tensor = self.encoder.pos_embedding
        if (rows, columns) == (self.grid, self.grid):
            return positions
        maps = positions[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
        resized = interpolate(maps, (rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([positions[:, :1], resized.flatten(2).transpose(1, 2)], 1)


def check_patches(patch_size: int, height: int, width: int) -> None:
    """Refuses images that cannot be cut into patches.

    Raises:
        UserError: The patch does not divide height and width.
    """
    if height % patch_size or width % patch_size:
        raise UserError(
            f"images of {height} x {width} pixels cannot be cut into patches of patch_size {patch_size}: give sizes "
            f"(--image-size, and --small-crop-size where there are small crops) that are multiples of it"
        )
