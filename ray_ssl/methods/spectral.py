"""Spectral contrastive learning: factorise the graph of positive pairs (arXiv 2106.04156)."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ray_ssl.backbones.base import Backbone
from ray_ssl.methods.base import ProjectorConfig, Terms, TwoViewMethod
from ray_ssl.part import Positive


class Config(ProjectorConfig):
    """Spectral contrastive learning (arXiv 2106.04156): embeddings are eigenvectors of the graph of positive pairs.

    Defaults are those of the authors' CIFAR-10 configuration (jhaochenz96/spectral_contrastive_learning): mu 1,
    2048 hidden units, embeddings of length 1000, SGD with 0.03 per 256 images, weight decay 5e-4.
    """

    RECOMMENDED: ClassVar[dict[str, Any]] = {"optimiser.learning_rate": 0.015, "optimiser.weight_decay": 5e-4}

    name: Literal["spectral"] = "spectral"  # pyright: ignore[reportIncompatibleVariableOverride]
    embedding_dim: Annotated[int, Field(ge=2)] = 1000
    """length of the embedding z"""
    max_squared_norm: Positive = 1.0
    """squared norm to which embeddings are clipped, mu; with clipped embeddings, more pushes images further apart"""
    clip_norm: bool = True
    """shorten embeddings to the norm sqrt(mu); --no-clip-norm leaves them, and mu then only divides the loss"""


class Spectral(TwoViewMethod):
    """The spectral contrastive loss on the authors' head, which ends with a BatchNorm."""

    config: Config

    def __init__(self, config: Config, backbone: Backbone, num_classes: int) -> None:
        super().__init__(config, backbone, num_classes)
        self.projector.append(nn.BatchNorm1d(config.embedding_dim))

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        return spectral_terms(outputs["z"], outputs["z1"], self.config.max_squared_norm, self.config.clip_norm)


def spectral_terms(z0: Tensor, z1: Tensor, max_squared_norm: float = 1.0, clip_norm: bool = True) -> Terms:
    """Computes the spectral contrastive loss of a batch.

    Args:
        z0: float [N, D], N >= 2: the global batch's embeddings of view 0.
        z1: float [N, D]: those of view 1, row by row of the same images.
        max_squared_norm: mu > 0.
        clip_norm: Whether embeddings longer than sqrt(mu) are shortened to it.

    Returns:
        Scalars, lower is better: "loss" = "invariance" + "regularisation", where invariance is -2 / mu times the
        mean inner product of positive pairs (-2..2 with clipping) and regularisation 1 / mu times the mean squared
        inner product of views of different images (0..mu with clipping); also "clipped", the share of embeddings
        with at least the norm sqrt(mu), 0..1.

    Source:
        arXiv 2106.04156. Its population loss is L(f) = -2 E[f(x)^T f(x+)] + E[(f(x)^T f(x'))^2]: x and x+ are two
        views of one random image, x and x' views of two images drawn independently of each other. With w(x, x')
        the probability of the positive pair (x, x'), w_x its marginal and F the matrix of rows sqrt(w_x) f(x), L is
        |A - F F^T|^2 - |A|^2 (Frobenius), A = w(x, x') / sqrt(w_x w_x'): a matrix factorisation whose minimum,
        minus the sum of A's D largest squared eigenvalues, is reached by its eigenvectors, up to rotation.

        A batch estimates L as the authors' public code does. The first expectation is the mean over images i of
        z0_i^T z1_i; the second the mean over the N (N - 1) ordered pairs i != j of (z0_i^T z1_j)^2. For images drawn
        independently this is unbiased: pairs i = j are left out because they are positive pairs, not independent
        ones. (Batches without repetition leave out that x and x' may come from one image, of probability 1 over the
        number of training images.) The public code differs from L in two more ways, both here: norms are clipped at
        sqrt(mu), and the loss is divided by mu. For embeddings u sqrt(mu) of the largest norm this is
        -2 E[u^T u+] + mu E[(u^T u')^2], so mu weighs the two terms; without clipping it only divides L.
    """
    norm = math.sqrt(max_squared_norm)
    clipped = (torch.cat([z0, z1]).norm(dim=1) >= norm).to(z0.dtype).mean()
    if clip_norm:
        z0, z1 = (normalize(z, dim=1, eps=norm) * norm for z in (z0, z1))  # divides by max(|z|, eps)
    products = z0 @ z1.T
    positive = products.diagonal()
    num_pairs = len(z0) * (len(z0) - 1)
    invariance = -2 * positive.mean() / max_squared_norm
    regularisation = (products - positive.diag()).square().sum() / num_pairs / max_squared_norm
    return {
        "loss": invariance + regularisation,
        "invariance": invariance,
        "regularisation": regularisation,
        "clipped": clipped,
    }
