"""BYOL: bootstrap your own latent (arXiv 2006.07733)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ray_ssl.backbones.base import Backbone
from ray_ssl.methods.base import (
    Method,
    PredictorConfig,
    TeacherMomentum,
    Terms,
    cosine_momentum,
    follow,
    mlp,
    teacher_of,
)
from ray_ssl.part import Count


class Config(PredictorConfig):
    """BYOL (arXiv 2006.07733): predict a momentum teacher's embedding of an image's other view.

    Widths are those of lightly's CIFAR-10 benchmark (cifar10_benchmark.py). Optimiser and momentum are those of
    solo-learn's CIFAR configuration (scripts/pretrain/cifar/byol.yaml), except that LARS does not clip its rate.
    lightly's SGD learned less in short runs: 16.7 against 17.9 % on CIFAR-100 after 20 epochs of 10,000 images.
    """

    RECOMMENDED: ClassVar[dict[str, Any]] = {
        "optimiser.optimiser": "lars",
        "optimiser.learning_rate": 0.5,  # 1.0 per 256 images
        "optimiser.weight_decay": 1e-5,
        "optimiser.trust_coefficient": 0.02,
    }

    name: Literal["byol"] = "byol"  # pyright: ignore[reportIncompatibleVariableOverride]
    projector_width: Count = 1024
    """units of the projector's hidden layer"""
    embedding_dim: Annotated[int, Field(ge=2)] = 256
    """length of the embedding z"""
    predictor_width: Count = 1024
    """units of the predictor's hidden layer"""
    teacher_momentum: TeacherMomentum = 0.99
    """share of its own weights that the teacher keeps at a step; rises to 1 along a cosine"""


class BYOL(Method):
    """The student predicts; the teacher, backbone and projector without predictor, gives the targets."""

    config: Config

    def __init__(self, config: Config, backbone: Backbone, num_classes: int) -> None:
        super().__init__(config, backbone, num_classes)
        self.projector = mlp(backbone.num_features, config.projector_width, config.embedding_dim)
        self.predictor = mlp(config.embedding_dim, config.predictor_width, config.embedding_dim)
        self.teacher = teacher_of(self._student())

    def _student(self) -> nn.Sequential:
        """The part of the student that the teacher is an average of."""
        return nn.Sequential(self.backbone, self.projector)

    def embed(self, views: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        both = torch.cat(views)
        z = self._student()(both)
        names = ("z", "z1", "prediction0", "prediction1", "target0", "target1")
        with torch.no_grad():
            targets = self.teacher(both)
        return dict(zip(names, (*z.chunk(2), *self.predictor(z).chunk(2), *targets.chunk(2)), strict=True))

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        predictions, targets = ([outputs[f"{name}{view}"] for view in (0, 1)] for name in ("prediction", "target"))
        return byol_terms(*predictions, *targets)

    def after_step(self, outputs: dict[str, Tensor], progress: float) -> None:
        follow(self.teacher, self._student(), cosine_momentum(self.config.teacher_momentum, progress))


def byol_terms(prediction0: Tensor, prediction1: Tensor, target0: Tensor, target1: Tensor) -> Terms:
    """Computes BYOL's loss.

    Args:
        prediction0: float [N, D]: the student's predictions from view 0 of the global batch, of any length.
        prediction1: float [N, D]: those from view 1, row by row of the same images.
        target0: float [N, D]: the teacher's embeddings of view 0, of any length.
        target1: float [N, D]: those of view 1.

    Returns:
        "loss", 0..8: squared distance of normalised predictions from view 0 and targets of view 1, plus that of the
        views swapped. No gradient reaches the targets.

    Source:
        arXiv 2006.07733, equation 2 and its symmetric sum (section 3.1).
    """
    return {"loss": _normalised_distance(prediction0, target1) + _normalised_distance(prediction1, target0)}


def _normalised_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared Euclidean distance of rows brought to length 1, 0..4."""
    return (normalize(prediction) - normalize(target.detach())).square().sum(1).mean()
