"""Multi-crop: besides the two full views several small ones of smaller crops (arXiv 2006.09882, section 3.4).

Targets come from the full views alone; every view predicts the targets of the full views that it is not.
"""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import Tensor, nn

from ray_ssl.backbones.base import Backbone
from ray_ssl.config import MethodConfig, ViewConfig
from ray_ssl.errors import UserError
from ray_ssl.methods.base.contract import Terms, ViewPlan
from ray_ssl.part import Probability

NUM_FULL: Final = 2


class MultiCropConfig(MethodConfig):
    """Options of methods with small views."""

    num_small_crops: Annotated[int, Field(ge=0)] = 0
    """small views of every image, besides the two full ones"""
    small_crop_size: Annotated[int, Field(ge=8)] = 16
    """height and width of the small views in pixels"""
    crop_split: Probability = 0.25
    """area, as a share of the image, up to which crops become small views; full ones start there"""

    def without_effect(self) -> dict[str, str]:
        if self.num_small_crops:
            return super().without_effect()
        return super().without_effect() | dict.fromkeys(("small_crop_size", "crop_split"), "--num-small-crops above 0")

    def check_views(self, views: ViewConfig, image_size: int) -> None:
        multi_crop_views(self, views, image_size)


def multi_crop_views(config: MultiCropConfig, views: ViewConfig, image_size: int) -> list[ViewPlan]:
    """Returns the two full views, then the small ones.

    Without small views the range of crops stays as it is; with them it is cut at `crop_split`, as in the authors'
    commands for convolutional networks (crops of 0.05-0.14 and of 0.14-1 of the image).

    Raises:
        UserError: Small views larger than full ones, or a split outside the range of crops.
    """
    if not config.num_small_crops:
        return [ViewPlan(views, image_size)] * NUM_FULL
    low, high = views.crop_scale
    if config.small_crop_size > image_size:
        raise UserError(
            f"--small-crop-size {config.small_crop_size} is more than the {image_size} pixels of full views; "
            f"at most {image_size} fits"
        )
    if not low <= config.crop_split <= high:
        raise UserError(
            f"--crop-split {config.crop_split:g} lies outside --crop-scale {low:g} {high:g}: small crops are cut from "
            f"below it, full ones from above"
        )
    full = views.model_copy(update={"crop_scale": (config.crop_split, high)})
    small = views.model_copy(update={"crop_scale": (low, config.crop_split)})
    return [ViewPlan(full, image_size)] * NUM_FULL + [ViewPlan(small, config.small_crop_size)] * config.num_small_crops


@torch.no_grad()
def check_backbone_takes(plans: list[ViewPlan], backbone: Backbone) -> None:
    """Refuses a backbone whose representation of small views is longer or shorter than that of full ones.

    Raises:
        UserError: With both lengths.
    """
    weights, was_training = next(backbone.parameters()), backbone.training
    backbone.eval()  # no statistics change
    for size in sorted({plan.size for plan in plans[NUM_FULL:]}):
        length = backbone(weights.new_zeros(1, 3, size, size)).shape[1]
        if length != backbone.num_features:
            raise UserError(
                f"--num-small-crops needs features of one length, but views of {size} pixels have {length} and full "
                f"ones {backbone.num_features}: use --pool mean"
            )
    backbone.train(was_training)


def embed_crops(network: nn.Module, views: list[Tensor]) -> list[Tensor]:
    """One output [B, D] a view, in order; neighbours of one size go through the network, and its norms, together."""
    embedded: list[Tensor] = []
    for _, neighbours in groupby(views, key=lambda view: view.shape[-1]):
        group = list(neighbours)
        embedded.extend(network(torch.cat(group)).chunk(len(group)))
    return embedded


def stack_crops(embedded: list[Tensor]) -> dict[str, Tensor]:
    """Outputs of a method: {"z": [B, D] of view 0, "others": [B, views - 1, D]}; `crops_of` puts them together."""
    return {"z": embedded[0], "others": torch.stack(embedded[1:], 1)}


def crops_of(outputs: dict[str, Tensor]) -> Tensor:
    """Returns the embeddings of all views, [B, views, D], that `stack_crops` took apart."""
    return torch.cat([outputs["z"][:, None], outputs["others"]], 1)


def swapped_cross_entropy(targets: Tensor, log_predictions: Tensor) -> Terms:
    """Computes the cross entropy of every view's prediction with the targets of the other full views.

    Args:
        targets: float [N, 2, K]: distributions of the full views, views 0 and 1.
        log_predictions: float [N, V, K]: log-probabilities of all V >= 2 views.

    Returns:
        Scalars >= 0 in nats: "loss" = "entropy" + "divergence": the mean over the 2 (V - 1) pairs of different views
        of the cross entropy, of the target's entropy (0..log K) and of KL(target | prediction).
    """
    num_images, num_targets, _ = targets.shape
    num_views = log_predictions.shape[1]
    cross = -torch.einsum("ntk,nvk->tv", targets, log_predictions) / num_images
    other = 1 - torch.eye(num_targets, num_views, dtype=cross.dtype, device=cross.device)
    loss = (cross * other).sum() / (num_targets * (num_views - 1))
    entropy = torch.special.entr(targets).sum(2).mean()
    return {"loss": loss, "entropy": entropy, "divergence": loss - entropy}
