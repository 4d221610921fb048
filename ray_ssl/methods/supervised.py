"""Supervised training, by default on the classes: the reference that self-supervised methods are compared with.

From the weights of a stored checkpoint it is fine-tuning, see `ray_ssl.finetune`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from ray_ssl.backbones.base import Backbone
from ray_ssl.config import MethodConfig, ViewConfig
from ray_ssl.methods.base import Method, Terms, ViewPlan


class Config(MethodConfig):
    """Cross entropy of a linear head on the representation.

    The optimiser is this project's default, the SGD of the authors' code of arXiv 2305.15614 (0.06 per 128 images,
    momentum 0.9, weight decay 5e-4, cosine): that of VICReg, which it is the reference for.
    """

    ADDED_LATER: ClassVar[tuple[str, ...]] = ("target", "start", "head", "batch_norm")
    LEARNS_FROM: ClassVar[Literal["images", "labels", "domains"]] = "labels"

    name: Literal["supervised"] = "supervised"  # pyright: ignore[reportIncompatibleVariableOverride]
    augment: bool = True
    """train on augmented images; --no-augment trains on the images as they are"""
    target: Annotated[str, Field(pattern=r"^(class|superclass|[\w.-]+@[0-9a-f]{16})$")] = "class"
    """labels to learn: class, superclass, or NAME@HASH, one of the targets that sweeps/randomness.py makes, with the
    hash of its training labels"""
    start: Annotated[str, Field(pattern=r"^(|[\w.-]+@[0-9a-f]{16})$")] = ""
    """weights to begin with: NAME@HASH, one of the starts that sweeps/finetune.py makes; empty: random ones"""
    head: Literal["fresh", "probe"] = "fresh"
    """of a start: fresh (fine-tuning) or that of the linear probe (LP-FT, arXiv 2202.10054)"""
    batch_norm: Literal["train", "frozen"] = "train"
    """of a start: normalise by the batch's statistics, or by the pretrained ones, which then stay as they are"""

    def without_effect(self) -> dict[str, str]:
        return {} if self.start else {"head": "--start", "batch_norm": "--start"}


class Supervised(Method):
    """One view per image, one linear head; the representation takes the embedding's place."""

    config: Config

    def __init__(self, config: Config, backbone: Backbone, num_classes: int) -> None:
        super().__init__(config, backbone, num_classes)
        self.head = nn.Linear(backbone.num_features, num_classes)

    def views(self, views: ViewConfig, image_size: int) -> list[ViewPlan]:
        return [ViewPlan(views if self.config.augment else None, image_size)]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.config.start and self.config.batch_norm == "frozen":
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def embed(self, views: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        h = self.backbone(views[0])
        return {"z": h, "logits": self.head(h), "labels": labels}

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        return supervised_terms(outputs["logits"], outputs["labels"])


def supervised_terms(logits: Tensor, labels: Tensor) -> Terms:
    """Computes cross entropy and accuracy.

    Args:
        logits: float [N, num_classes].
        labels: int64 [N], 0..num_classes - 1.

    Returns:
        "loss": mean cross entropy in nats, lower is better; "train_accuracy": share of images whose largest
        logit is their label's, 0..1, on the batch as it was trained on (augmented, before the step).
    """
    return {
        "loss": cross_entropy(logits, labels),
        "train_accuracy": (logits.argmax(1) == labels).float().mean(),
    }
