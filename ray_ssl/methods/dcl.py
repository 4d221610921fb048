"""DCL: decoupled contrastive learning, SimCLR without the positive pair in the denominator (arXiv 2110.06848)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from ray_ssl.methods.base import ProjectorConfig, Terms, TwoViewMethod
from ray_ssl.part import Positive


class Config(ProjectorConfig):
    """DCL (arXiv 2110.06848): pull an image's views together, push all other images' views away, independently.

    Defaults are those of lightly's CIFAR-10 benchmark: temperature 0.1, embeddings of length 128, sigma 0.5; its
    SGD (0.06 per 128 images, weight decay 5e-4) is this project's default.
    """

    name: Literal["dcl"] = "dcl"  # pyright: ignore[reportIncompatibleVariableOverride]
    temperature: Positive = 0.1
    """what cosine similarities are divided by, tau; lower weighs the hardest negatives more"""
    embedding_dim: Annotated[int, Field(ge=2)] = 128
    """length of the embedding z"""
    weighted: bool = False
    """weigh pairs less the more alike they are already (DCLW)"""
    weight_sigma: Positive = 0.5
    """with --weighted: what similarities are divided by in the weights, sigma; lower tells pairs apart more"""

    def without_effect(self) -> dict[str, str]:
        return super().without_effect() | ({} if self.weighted else {"weight_sigma": "--weighted"})


class DCL(TwoViewMethod):
    """DCL or DCLW with the project's projector."""

    config: Config

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        sigma = self.config.weight_sigma if self.config.weighted else None
        return dcl_terms(outputs["z"], outputs["z1"], self.config.temperature, sigma)


def dcl_terms(z0: Tensor, z1: Tensor, temperature: float, weight_sigma: float | None = None) -> Terms:
    """Computes the decoupled contrastive loss over 2N views.

    Args:
        z0: float [N, D], N >= 2: the global batch's embeddings of view 0, of any length.
        z1: float [N, D]: those of view 1, row by row of the same images.
        temperature: tau > 0.
        weight_sigma: sigma > 0 of the weighted loss DCLW; None: all pairs weigh 1.

    Returns:
        Scalars in nats, lower is better, without a lower bound of 0: "loss" = "invariance" + "regularisation", where
        invariance is minus the mean (weighted) similarity of positive pairs over tau and regularisation the mean
        logsumexp of each view's similarities to the 2N - 2 views of other images.

    Source:
        arXiv 2110.06848, the losses L_DC and L_DCW, averaged over all 2N views. The weights get no gradient, as in
        lightly.
    """
    num_images = len(z0)
    views = normalize(torch.cat([z0, z1]), dim=1)  # [2N, D]
    similarities = views @ views.T
    same_image = torch.eye(num_images, dtype=torch.bool, device=views.device).repeat(2, 2)
    regularisation = (similarities / temperature).masked_fill(same_image, -torch.inf).logsumexp(1).mean()
    positives = similarities.diagonal(num_images)  # [N]
    weights = torch.ones_like(positives) if weight_sigma is None else pair_weights(positives, weight_sigma)
    invariance = -(weights * positives).mean() / temperature
    return {"loss": invariance + regularisation, "invariance": invariance, "regularisation": regularisation}


def pair_weights(similarities: Tensor, sigma: float) -> Tensor:
    """Returns DCLW's weights 2 - exp(s_i / sigma) / mean_j exp(s_j / sigma): [N], mean 1, at most 2, no gradient.

    Args:
        similarities: [N] cosine similarities s of positive pairs.
        sigma: > 0.
    """
    return 2 - len(similarities) * (similarities.detach() / sigma).softmax(0)
