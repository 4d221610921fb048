"""Self-training: the source's labels, and the network's own confident guesses on all else (arXiv 2001.07685)."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ray_ssl.backbones.base import Backbone
from ray_ssl.config import MethodConfig, ViewConfig
from ray_ssl.methods.base import Method, Terms, ViewPlan, labelled_terms, mean_where
from ray_ssl.part import NonNegative, Probability

WEAK_CROP: Final = (0.875**2, 1.0)
"""Area of weak crops: up to an eighth of either side is cut off."""


class Config(MethodConfig):
    """FixMatch (arXiv 2001.07685) from source to target: labels of the source, no label of the target; needs a shift.

    Threshold and weight are the paper's. The weak view is a flip and a square crop of at least 7/8 of either side,
    where the paper moves the image by up to 1/8; the strong view is that of all methods here, where the paper has
    RandAugment and Cutout. The optimiser is that of `supervised`, which it is compared with. Batches are drawn from
    all images, so labelled and unlabelled ones come as there are (the paper: 1 to 7), and the last weights count, not
    their moving average.
    """

    LEARNS_FROM: ClassVar[Literal["images", "labels", "domains"]] = "domains"

    name: Literal["self_training"] = "self_training"  # pyright: ignore[reportIncompatibleVariableOverride]
    confidence: Probability = 0.95
    """probability from which the network's guess on a weak view is taken for the label, tau"""
    guess_weight: NonNegative = 1.0
    """weight of the loss on guessed labels, lambda_u"""


class SelfTraining(Method):
    """View 0 is weak: labels are learned, and guessed, on it. On view 1, strong, the guesses are learned.

    Both go through the network, and its norms, together. The representation of view 0 takes the embedding's place.
    """

    config: Config

    def __init__(self, config: Config, backbone: Backbone, num_classes: int) -> None:
        super().__init__(config, backbone, num_classes)
        self.head = nn.Linear(backbone.num_features, num_classes)

    def views(self, views: ViewConfig, image_size: int) -> list[ViewPlan]:
        return [ViewPlan(weak(views), image_size), ViewPlan(views, image_size)]

    def embed(self, views: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        h = self.backbone(torch.cat(views))
        logits, strong_logits = self.head(h).chunk(2)
        return {"z": h.chunk(2)[0], "logits": logits, "strong_logits": strong_logits, "labels": labels}

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        return self_training_terms(
            outputs["logits"], outputs["strong_logits"], outputs["labels"],
            self.config.confidence, self.config.guess_weight,
        )  # fmt: skip


def weak(views: ViewConfig) -> ViewConfig:
    """Returns the weak augmentation: flips as they are, crops that move, no change of colour or sharpness."""
    never = ("jitter_probability", "grey_probability", "blur_probability", "solarise_probability")
    return views.model_copy(update={"crop_scale": WEAK_CROP, "crop_ratio": (1.0, 1.0), **dict.fromkeys(never, 0.0)})


def self_training_terms(
    logits: Tensor, strong_logits: Tensor, labels: Tensor, confidence: float, guess_weight: float
) -> Terms:
    """Computes FixMatch's loss.

    Args:
        logits: float [N, num_classes] of the weak views.
        strong_logits: float [N, num_classes] of the strong views, row by row of the same images.
        labels: int64 [N] of the source's images, `UNLABELLED` of all others.
        confidence: tau.
        guess_weight: lambda_u.

    Returns:
        "loss" = "label_loss" + lambda_u "guess_loss", in nats, lower is better: the mean cross entropy of the source's
        weak views; the mean over all other images of the cross entropy of the strong view with the label guessed on the
        weak one, 0 for an image on which no guess reaches tau. "train_accuracy" on the source; "guessed": share of the
        other images with a guess, 0..1. No gradient reaches the guesses.

    Source:
        arXiv 2001.07685, equations 3 and 4.
    """
    terms, is_other = labelled_terms(logits, labels), labels < 0
    probability, guess = logits.detach().softmax(1).max(1)
    is_sure = (probability >= confidence).to(logits.dtype)
    guess_loss = mean_where(is_sure * cross_entropy(strong_logits, guess, reduction="none"), is_other)
    return {
        "loss": terms["label_loss"] + guess_weight * guess_loss, **terms,
        "guess_loss": guess_loss, "guessed": mean_where(is_sure, is_other),
    }  # fmt: skip
