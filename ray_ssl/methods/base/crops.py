"""Multi-crop: besides the two full views several small ones of smaller crops (arXiv 2006.09882, section 3.4)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ray_ssl.config import MethodConfig, Probability, ViewConfig
from ray_ssl.methods.base.contract import ViewPlan

NUM_FULL = 2


class MultiCropConfig(MethodConfig):
    """Options of methods with small views."""

    num_small_crops: Annotated[int, Field(ge=0)] = 0
    """small views of every image, besides the two full ones"""
    small_crop_size: Annotated[int, Field(ge=8)] = 16
    """height and width of the small views in pixels"""
    crop_split: Probability = 0.25
    """area, as a share of the image, up to which crops become small views; full ones start there"""


def multi_crop_views(config: MultiCropConfig, views: ViewConfig, image_size: int) -> list[ViewPlan]:
    """Returns the two full views, then the small ones.

    Without small views the range of crops stays as it is; with them it is cut at `crop_split`.
    """
    if not config.num_small_crops:
        return [ViewPlan(views, image_size)] * NUM_FULL
    low, high = views.crop_scale
    split = min(max(config.crop_split, low), high)
    full = views.model_copy(update={"crop_scale": (split, high)})
    small = views.model_copy(update={"crop_scale": (low, split)})
    return [ViewPlan(full, image_size)] * NUM_FULL + [ViewPlan(small, config.small_crop_size)] * config.num_small_crops


def embed_crops(network: nn.Module, views: list[Tensor]) -> list[Tensor]:
    """One output [B, D] a view, in order; views of one size go through the network together."""
    embedded: list[Tensor] = []
    full, small = views[:NUM_FULL], views[NUM_FULL:]
    for group in (full, small):
        if group:
            embedded.extend(network(torch.cat(group)).chunk(len(group)))
    return embedded
