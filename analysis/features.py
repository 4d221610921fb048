"""Every layer's features of one checkpoint, from one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ray_ssl import views
from ray_ssl.backbones.base import Backbone, build_backbone
from ray_ssl.checkpoints import Checkpoint
from ray_ssl.config import PretrainConfig

Value = TypeVar("Value")


@dataclass
class LayerFeatures:
    """Features of one layer; what several metrics need of them is computed once.

    Attributes:
        train: float32 [N, D].
        test: float32 [M, D].

    Raises:
        ValueError: A feature is NaN or infinite, as those of a diverged run are.
    """

    train: Tensor
    test: Tensor
    _shared: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        require_finite(self.train, "training features")
        require_finite(self.test, "test features")

    def shared(self, name: str, compute: Callable[[LayerFeatures], Value]) -> Value:
        """Returns `compute(self)`, computed once per layer and name."""
        if name not in self._shared:
            self._shared[name] = compute(self)
        value: Value = self._shared[name]
        return value


def require_finite(values: Tensor, what: str) -> None:
    """Raises ValueError where any of `values` [N, D] is NaN or infinite."""
    bad = values.isfinite().logical_not_()
    if bad.any():
        raise ValueError(
            f"{what} must be finite: {int(bad.any(1).sum())} of {len(values)} rows hold NaN or infinity "
            "(did the training diverge?)"
        )


FORWARD_BATCH_SIZE = 256


def load_backbone(checkpoint: Checkpoint) -> Backbone:
    """Returns the backbone of a checkpoint in evaluation mode."""
    config = PretrainConfig.from_dict(checkpoint.card["config"])
    backbone = build_backbone(config.backbone, config.data.image_size)
    prefix = "backbone."
    weights = {k.removeprefix(prefix): v for k, v in checkpoint.model.items() if k.startswith(prefix)}
    backbone.load_state_dict(weights)
    return backbone.eval().to(memory_format=torch.channels_last)


@torch.no_grad()
def extract(backbone: Backbone, images: NDArray[np.uint8], card: dict[str, Any], device: torch.device) -> list[Tensor]:
    """Returns every layer's features of unaugmented images, from one forward pass each, in fp32.

    Args:
        images: uint8 [N, H, W, 3].
        card: The checkpoint's card; says how its images were normalised.

    Returns:
        One float32 [N, D_layer] tensor a layer, on the CPU. Layers with the same features share one tensor.
    """
    size = card["config"]["data"]["image_size"]
    mean, std = card["normalisation"]["mean"], card["normalisation"]["std"]
    features: dict[int, Tensor] = {}
    sources: list[int] = []
    for start in range(0, len(images), FORWARD_BATCH_SIZE):
        chunk = torch.from_numpy(np.array(images[start : start + FORWARD_BATCH_SIZE])).to(device)
        plain = views.draw(None, len(chunk), (chunk.shape[1], chunk.shape[2]), size, torch.Generator())
        layers = backbone.layers(views.apply(chunk, plain, mean, std).contiguous(memory_format=torch.channels_last))
        sources = [next(j for j, other in enumerate(layers) if other is layer) for layer in layers]
        for index in sorted(set(sources)):
            if index not in features:
                features[index] = torch.empty(len(images), layers[index].shape[1])
            features[index][start : start + len(chunk)] = layers[index].float().cpu()
    return [features[index] for index in sources]
