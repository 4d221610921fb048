"""DANN: learn the source's labels on features that do not tell the domain (arXiv 1505.07818)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ray_ssl.backbones.base import Backbone
from ray_ssl.config import MethodConfig, ViewConfig
from ray_ssl.methods.base import Method, Terms, ViewPlan, labelled_terms
from ray_ssl.part import Count, NonNegative, Positive


class Config(MethodConfig):
    """Domain-adversarial training (arXiv 1505.07818): labels of the source, no label of the target; needs a shift.

    The optimiser is that of `supervised`, which it is compared with. The domain classifier has the two hidden layers
    of 1024 units that the paper's larger networks have. Batches are drawn from all images, not half from each domain.
    """

    LEARNS_FROM: ClassVar[Literal["images", "labels", "domains"]] = "domains"
    TELLS_DOMAINS: ClassVar[bool] = True

    name: Literal["dann"] = "dann"  # pyright: ignore[reportIncompatibleVariableOverride]
    domain_width: Count = 1024
    """units of each of the domain classifier's two hidden layers"""
    reversal_weight: NonNegative = 1.0
    """what the reversed gradient is multiplied by at the end of training; 0: the domain does not matter"""
    reversal_steepness: Positive = 10.0
    """how fast the weight of the reversed gradient rises from 0, gamma: 2 / (1 + exp(-gamma p)) - 1 after a share p"""


class DANN(Method):
    """One augmented view; a linear label classifier and, behind a gradient reversal, a domain classifier.

    What has a label is the source, all else the target. The representation takes the embedding's place.
    """

    config: Config
    progress: Tensor

    def __init__(self, config: Config, backbone: Backbone, num_classes: int) -> None:
        super().__init__(config, backbone, num_classes)
        width = config.domain_width
        self.head = nn.Linear(backbone.num_features, num_classes)
        self.domain_head = nn.Sequential(
            nn.Linear(backbone.num_features, width), nn.ReLU(inplace=True),
            nn.Linear(width, width), nn.ReLU(inplace=True),
            nn.Linear(width, 1),
        )  # fmt: skip
        self.register_buffer("progress", torch.zeros(()))

    def views(self, views: ViewConfig, image_size: int) -> list[ViewPlan]:
        return [ViewPlan(views, image_size)]

    def embed(self, views: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        h = self.backbone(views[0])
        domain_logits = self.domain_head(reverse_gradient(h, self._reversal()))[:, 0]
        return {"z": h, "logits": self.head(h), "domain_logits": domain_logits, "labels": labels}

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        terms = dann_terms(outputs["logits"], outputs["domain_logits"], outputs["labels"])
        return terms | {"reversal": self._reversal()}

    def after_step(self, outputs: dict[str, Tensor], progress: float) -> None:
        self.progress.fill_(progress)

    def _reversal(self) -> Tensor:
        schedule = reversal_schedule(self.progress, self.config.reversal_steepness)
        return self.config.reversal_weight * schedule


def reversal_schedule(progress: Tensor, steepness: float) -> Tensor:
    """Returns the weight of the reversed gradient, 0 at first and almost 1 at last.

    Args:
        progress: Share of training done, 0..1.
        steepness: gamma, 10 in the paper.

    Source:
        arXiv 1505.07818, section 5.2.2, lambda_p.
    """
    return 2 / (1 + torch.exp(-steepness * progress)) - 1


def reverse_gradient(features: Tensor, weight: Tensor) -> Tensor:
    """Returns the features; their gradient is multiplied by minus `weight`, a scalar.

    Source:
        arXiv 1505.07818, the gradient reversal layer of section 4.2.
    """
    return _Reversal.apply(features, weight)  # type: ignore[return-value]


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (weight,) = ctx.saved_tensors
        return -weight.to(gradient.dtype) * gradient, None


def dann_terms(logits: Tensor, domain_logits: Tensor, labels: Tensor) -> Terms:
    """Computes the losses of both classifiers.

    Args:
        logits: float [N, num_classes].
        domain_logits: float [N]: of not being of the source.
        labels: int64 [N] of the source's images, `UNLABELLED` of all others.

    Returns:
        "loss" = "label_loss" (mean cross entropy over the source) + "domain_loss" (mean binary cross entropy over all),
        in nats, lower is better for the classifiers; "train_accuracy" on the source and "domain_accuracy" on all, 0..1.
        The features' part of the game is the reversal's, see `reverse_gradient`.

    Source:
        arXiv 1505.07818, section 4.2.
    """
    is_other = (labels < 0).to(domain_logits.dtype)
    terms = labelled_terms(logits, labels)
    domain_loss = binary_cross_entropy_with_logits(domain_logits, is_other)
    domain_accuracy = ((domain_logits > 0) == (labels < 0)).to(domain_logits.dtype).mean()
    return {
        "loss": terms["label_loss"] + domain_loss, **terms,
        "domain_loss": domain_loss, "domain_accuracy": domain_accuracy,
    }  # fmt: skip
