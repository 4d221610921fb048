"""Supervised contrastive learning: views of one class are each other's positives (arXiv 2004.11362)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from ray_ssl.methods.base import ProjectorConfig, Terms, TwoViewMethod
from ray_ssl.part import Positive


class Config(ProjectorConfig):
    """Supervised contrastive learning (arXiv 2004.11362): pull together all views of one class; uses the labels.

    Defaults are those of the public CIFAR command (HobbitLong/SupContrast, README, main_supcon.py and
    networks/resnet_big.py): temperature 0.1, embeddings of length 128, SGD with 0.5 at 1024 images (0.0625 per 128)
    and weight decay 1e-4. That code multiplies the loss by temperature / 0.07; equation 2 and this do not.
    """

    RECOMMENDED: ClassVar[dict[str, Any]] = {"optimiser.learning_rate": 0.0625, "optimiser.weight_decay": 1e-4}
    LEARNS_FROM: ClassVar[Literal["images", "labels", "domains"]] = "labels"

    name: Literal["supervised_contrastive"] = "supervised_contrastive"  # pyright: ignore[reportIncompatibleVariableOverride]
    temperature: Positive = 0.1
    """what cosine similarities are divided by, tau; lower weighs the hardest negatives more"""
    embedding_dim: Annotated[int, Field(ge=2)] = 128
    """length of the embedding z"""


class SupervisedContrastive(TwoViewMethod):
    """SupCon with the project's projector, which has a BatchNorm that the public code's has not."""

    config: Config

    def embed(self, views: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        return super().embed(views, labels) | {"labels": labels}

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        return supcon_terms(outputs["z"], outputs["z1"], outputs["labels"], self.config.temperature)


def supcon_terms(z0: Tensor, z1: Tensor, labels: Tensor, temperature: float) -> Terms:
    """Computes the supervised contrastive loss over 2N views.

    Args:
        z0: float [N, D], N >= 2: the global batch's embeddings of view 0, of any length.
        z1: float [N, D]: those of view 1, row by row of the same images.
        labels: int64 [N]: their classes. A class may have a single image: its other view is the positive.
        temperature: tau > 0.

    Returns:
        Scalars in nats, lower is better: "loss" = "invariance" + "regularisation", where invariance is minus the
        mean over views of the mean similarity to all other views of the class, over tau (-1/tau..1/tau), and
        regularisation the mean logsumexp of each view's similarities to the 2N - 1 others.

    Source:
        arXiv 2004.11362, equation 2 (the sum over positives outside the logarithm), averaged over all 2N views,
        which the equation sums. With labels that are all different it is NT-Xent.
    """
    views, classes = normalize(torch.cat([z0, z1]), dim=1), labels.repeat(2)
    similarities = views @ views.T / temperature
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    positives = (classes[:, None] == classes) & ~itself
    invariance = -((similarities * positives).sum(1) / positives.sum(1)).mean()
    regularisation = similarities.masked_fill(itself, -torch.inf).logsumexp(1).mean()
    return {"loss": invariance + regularisation, "invariance": invariance, "regularisation": regularisation}
