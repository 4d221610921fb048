"""SimCLR: contrastive learning with the NT-Xent loss (arXiv 2002.05709)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from ray_ssl.methods.base import ProjectorConfig, Terms, TwoViewMethod
from ray_ssl.part import Positive


class Config(ProjectorConfig):
    """SimCLR (arXiv 2002.05709): pick an image's other view out of all views of the batch.

    Defaults are those of the authors' CIFAR-10 command (google-research/simclr, README and run.py): temperature
    0.5, embeddings of length 128. The optimiser is this project's default, SGD with 0.06 per 128 images and weight
    decay 5e-4, as in lightly's CIFAR-10 benchmark; the authors' command has LARS with 1.0 per 256 images and 1e-4.
    """

    name: Literal["simclr"] = "simclr"  # pyright: ignore[reportIncompatibleVariableOverride]
    temperature: Positive = 0.5
    """what cosine similarities are divided by, tau; lower weighs the hardest negatives more"""
    embedding_dim: Annotated[int, Field(ge=2)] = 128
    """length of the embedding z"""


class SimCLR(TwoViewMethod):
    """SimCLR with the project's projector: unlike the public code's, no BatchNorm follows the last layer."""

    config: Config

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        return nt_xent_terms(outputs["z"], outputs["z1"], self.config.temperature)


def nt_xent_terms(z0: Tensor, z1: Tensor, temperature: float) -> Terms:
    """Computes NT-Xent, the normalised, temperature-scaled cross entropy, over 2N views.

    Args:
        z0: float [N, D], N >= 2: the global batch's embeddings of view 0, of any length.
        z1: float [N, D]: those of view 1, row by row of the same images.
        temperature: tau > 0.

    Returns:
        Scalars in nats, lower is better: "loss" = "invariance" + "regularisation", where invariance is minus the
        mean similarity of positive pairs over tau (-1/tau..1/tau) and regularisation the mean logsumexp of each
        view's similarities to the 2N - 1 others, its positive included.

    Source:
        arXiv 2002.05709, equation 1, averaged over all 2N views.
    """
    views = normalize(torch.cat([z0, z1]), dim=1)  # [2N, D]
    similarities = views @ views.T / temperature
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    regularisation = similarities.masked_fill(itself, -torch.inf).logsumexp(1).mean()
    invariance = -similarities.diagonal(len(z0)).mean()
    return {"loss": invariance + regularisation, "invariance": invariance, "regularisation": regularisation}
