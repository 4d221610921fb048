"""MoCo v3: predict a momentum teacher's key among those of the whole batch (arXiv 2104.02057)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ray_ssl.backbones.base import Backbone
from ray_ssl.methods.base import (
    Method,
    PredictorConfig,
    TeacherMomentum,
    Terms,
    both_ways,
    cosine_momentum,
    follow,
    info_nce_terms,
    mlp,
    teacher_of,
)
from ray_ssl.part import Count, Positive


class Config(PredictorConfig):
    """MoCo v3 (arXiv 2104.02057): from one view, pick the teacher's key of the other among all keys of the batch.

    Defaults are those of solo-learn's CIFAR configuration.
    """

    RECOMMENDED: ClassVar[dict[str, Any]] = {
        "optimiser.optimiser": "lars",
        "optimiser.learning_rate": 0.15,  # 0.3 per 256 images
        "optimiser.weight_decay": 1e-6,
        "optimiser.trust_coefficient": 0.02,
    }

    name: Literal["moco_v3"] = "moco_v3"  # pyright: ignore[reportIncompatibleVariableOverride]
    temperature: Positive = 0.2
    """what cosine similarities are divided by, tau; lower weighs the hardest negatives more"""
    projector_width: Count = 4096
    """units of the projector's hidden layer"""
    embedding_dim: Annotated[int, Field(ge=2)] = 256
    """length of the embedding z"""
    predictor_width: Count = 4096
    """units of the predictor's hidden layer"""
    teacher_momentum: TeacherMomentum = 0.99
    """share of its own weights that the teacher keeps at a step; rises to 1 along a cosine"""


class MoCoV3(Method):
    """A student (backbone, projector, predictor) whose queries find the keys of a teacher (backbone, projector).

    The projector ends in a BatchNorm without weights, the predictor does not, as in solo-learn. Keys and queries of
    a batch share its BatchNorm statistics, but so do all candidates: unlike with a queue, they tell nothing about
    which key is whose.
    """

    config: Config

    def __init__(self, config: Config, backbone: Backbone, num_classes: int) -> None:
        super().__init__(config, backbone, num_classes)
        dim = config.embedding_dim
        self.projector = nn.Sequential(
            *mlp(backbone.num_features, config.projector_width, dim), nn.BatchNorm1d(dim, affine=False)
        )
        self.predictor = mlp(dim, config.predictor_width, dim)
        self.teacher = teacher_of(self._student())

    def _student(self) -> nn.Sequential:
        return nn.Sequential(self.backbone, self.projector)

    def embed(self, views: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        images = torch.cat(views)
        z = self._student()(images)
        query0, query1 = self.predictor(z).chunk(2)
        with torch.no_grad():
            key0, key1 = self.teacher(images).chunk(2)
        return {"z": z[: len(labels)], "query0": query0, "query1": query1, "key0": key0, "key1": key1}

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        queries_and_keys = (outputs[name] for name in ("query0", "query1", "key0", "key1"))
        return moco_v3_terms(*queries_and_keys, temperature=self.config.temperature)

    def after_step(self, outputs: dict[str, Tensor], progress: float) -> None:
        follow(self.teacher, self._student(), cosine_momentum(self.config.teacher_momentum, progress))


def moco_v3_terms(query0: Tensor, query1: Tensor, key0: Tensor, key1: Tensor, temperature: float) -> Terms:
    """Computes the symmetric contrastive loss of queries and the other view's keys, times 2 tau.

    Args:
        query0: float [N, D], N >= 2: the global batch's predictions from view 0, of any length.
        query1: float [N, D]: those from view 1, row by row of the same images.
        key0: float [N, D]: the teacher's embeddings of view 0.
        key1: float [N, D]: those of view 1.
        temperature: tau > 0.

    Returns:
        Scalars, lower is better, in nats times 2 tau: "loss" = "invariance" + "regularisation", each the sum over
        both directions: invariance is minus twice the mean similarity of positive pairs (-4..4), regularisation
        2 tau times the mean logsumexp of each query's similarities to all N keys.

    Source:
        arXiv 2104.02057, equation 1 and algorithm 1.
    """
    return both_ways(
        info_nce_terms(query0, key1, temperature), info_nce_terms(query1, key0, temperature), weight=2 * temperature
    )
