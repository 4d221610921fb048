"""SimSiam: a Siamese network with a predictor and a stopped gradient (arXiv 2011.10566)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from ray_ssl.backbones.base import Backbone
from ray_ssl.methods.base import Method, PredictorConfig, Terms, mlp


class Config(PredictorConfig):
    """SimSiam (arXiv 2011.10566): predict the embedding of an image's other view, the gradient stopped there.

    Widths are those of the paper's CIFAR-10 experiments (appendix D): two-layer projector, embeddings of length 2048;
    the predictor is that of the authors' code. The optimiser is that of solo-learn's CIFAR configuration
    (scripts/pretrain/cifar/simsiam.yaml); with the paper's rate, 0.03 per 256 images, 20 epochs of 10,000 images
    taught a small network nothing.
    """

    RECOMMENDED: ClassVar[dict[str, Any]] = {
        "optimiser.learning_rate": 0.25,  # 0.5 per 256 images
        "optimiser.weight_decay": 1e-5,
    }

    name: Literal["simsiam"] = "simsiam"  # pyright: ignore[reportIncompatibleVariableOverride]


class SimSiam(Method):
    """The projector ends in a BatchNorm without scale and shift, as in the authors' code (simsiam/builder.py)."""

    config: Config

    def __init__(self, config: Config, backbone: Backbone, num_classes: int) -> None:
        super().__init__(config, backbone, num_classes)
        self.projector = nn.Sequential(
            nn.Linear(backbone.num_features, config.projector_width, bias=False),
            nn.BatchNorm1d(config.projector_width),
            nn.ReLU(inplace=True),
            nn.Linear(config.projector_width, config.embedding_dim, bias=False),
            nn.BatchNorm1d(config.embedding_dim, affine=False),
        )
        self.predictor = mlp(config.embedding_dim, config.predictor_width, config.embedding_dim)

    def embed(self, views: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        z = self.projector(self.backbone(torch.cat(views)))
        names = ("z", "z1", "prediction0", "prediction1")
        return dict(zip(names, (*z.chunk(2), *self.predictor(z).chunk(2)), strict=True))

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        return simsiam_terms(outputs["prediction0"], outputs["prediction1"], outputs["z"], outputs["z1"])


def simsiam_terms(prediction0: Tensor, prediction1: Tensor, z0: Tensor, z1: Tensor) -> Terms:
    """Computes SimSiam's loss.

    Args:
        prediction0: float [N, D]: predictions from view 0 of the global batch, of any length.
        prediction1: float [N, D]: those from view 1, row by row of the same images.
        z0: float [N, D]: embeddings of view 0, of any length.
        z1: float [N, D]: those of view 1.

    Returns:
        "loss", -1..1, lower is better: minus the mean cosine similarity of each view's prediction and the other
        view's embedding. No gradient reaches the embeddings this way.

    Source:
        arXiv 2011.10566, equations 1 and 4.
    """
    similarities = cosine_similarity(prediction0, z1.detach()), cosine_similarity(prediction1, z0.detach())
    return {"loss": -torch.stack(similarities).mean()}
