"""NNCLR: contrastive learning with nearest neighbours as positives (arXiv 2104.14548)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ray_ssl.backbones.base import Backbone
from ray_ssl.methods.base import Method, PredictorConfig, Queue, Terms, both_ways, check_queue, info_nce_terms, mlp
from ray_ssl.part import Count, Positive


class Config(PredictorConfig):
    """NNCLR (arXiv 2104.14548): find the view whose image another image, the nearest neighbour, resembles.

    Defaults are those of solo-learn's CIFAR configuration, except the support set and the optimiser, which are those
    of lightly's CIFAR-10 benchmark: 4096 embeddings (solo-learn's 65536 are more than CIFAR has images), and SGD, 0.06
    per 128 images, weight decay 5e-4, this project's default.
    """

    name: Literal["nnclr"] = "nnclr"  # pyright: ignore[reportIncompatibleVariableOverride]
    temperature: Positive = 0.2
    """what cosine similarities are divided by, tau; lower weighs the hardest negatives more"""
    embedding_dim: Annotated[int, Field(ge=2)] = 256
    """length of the embedding z"""
    predictor_width: Count = 4096
    """units of the predictor's hidden layer"""
    queue_size: Count = 4096
    """embeddings of earlier images that are kept; a multiple of the global batch size, at most all training images"""

    def check_fits(self, global_batch_size: int, num_images: int) -> None:
        check_queue(self.queue_size, global_batch_size, num_images)


class NNCLR(Method):
    """NNCLR with a two-layer projector, as lightly has for CIFAR; a BatchNorm ends it, as in both public codes.

    The support set is a queue of view 0's embeddings. It starts with random directions, which the embeddings of the
    first steps replace.
    """

    config: Config

    def __init__(self, config: Config, backbone: Backbone, num_classes: int) -> None:
        super().__init__(config, backbone, num_classes)
        dim = config.embedding_dim
        self.projector = nn.Sequential(*mlp(backbone.num_features, config.projector_width, dim), nn.BatchNorm1d(dim))
        self.predictor = mlp(dim, config.predictor_width, dim)
        self.support = Queue(config.queue_size, dim)

    def embed(self, views: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        z = self.projector(self.backbone(torch.cat(views)))
        (z0, z1), (p0, p1) = z.chunk(2), self.predictor(z).chunk(2)
        return {"z": z0, "z1": z1, "prediction0": p0, "prediction1": p1}

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        embedded = (outputs[name] for name in ("z", "z1", "prediction0", "prediction1"))
        return nnclr_terms(*embedded, support=self.support.rows, temperature=self.config.temperature)

    def after_step(self, outputs: dict[str, Tensor], progress: float) -> None:
        self.support.push(normalize(outputs["z"].to(self.support.rows.dtype), dim=1))


def nnclr_terms(
    z0: Tensor, z1: Tensor, prediction0: Tensor, prediction1: Tensor, support: Tensor, temperature: float
) -> Terms:
    """Computes the symmetric contrastive loss of nearest neighbours and the other view's predictions.

    Args:
        z0: float [N, D], N >= 2: the global batch's embeddings of view 0, of any length; they get no gradient.
        z1: float [N, D]: those of view 1, row by row of the same images.
        prediction0: float [N, D]: predictions from z0.
        prediction1: float [N, D]: predictions from z1.
        support: float [Q, D]: rows of length 1 among which neighbours are looked for.
        temperature: tau > 0.

    Returns:
        Scalars in nats, lower is better: "loss" = "invariance" + "regularisation", means over both directions, where
        invariance is minus the mean similarity of a neighbour and its prediction over tau (-1/tau..1/tau) and
        regularisation the mean logsumexp of each neighbour's similarities to all N predictions; and
        "neighbour_similarity", the mean cosine similarity of embeddings and their neighbours (-1..1).

    Source:
        arXiv 2104.14548, the loss L^NNCLR with predictions in place of the other view's embeddings, made symmetric.
    """
    neighbours0, neighbours1 = nearest(z0, support), nearest(z1, support)
    terms = both_ways(
        info_nce_terms(neighbours0, prediction1, temperature), info_nce_terms(neighbours1, prediction0, temperature)
    )
    neighbours, embeddings = torch.cat([neighbours0, neighbours1]), torch.cat([z0, z1]).detach()
    return {**terms, "neighbour_similarity": (normalize(embeddings, dim=1) * neighbours).sum(1).mean()}


@torch.no_grad()
def nearest(z: Tensor, support: Tensor) -> Tensor:
    """Returns for each row of z [N, D] the row of `support` [Q, D], all of length 1, at the smallest angle: [N, D]."""
    return support[(z @ support.T).argmax(1)]
