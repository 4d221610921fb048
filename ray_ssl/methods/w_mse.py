"""W-MSE: mean squared error between whitened embeddings (arXiv 2007.06346)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ray_ssl.backbones.base import Backbone
from ray_ssl.errors import UserError
from ray_ssl.methods.base import ProjectorConfig, Terms, TwoViewMethod
from ray_ssl.part import Count, Positive
from ray_ssl.rng import torch_stream

VARIANCE_FLOOR: Final = 1e-12
"""Least mean variance that the jitter is relative to: embeddings that are all equal have the loss 2, not NaN."""


class Config(ProjectorConfig):
    """W-MSE (arXiv 2007.06346): pull views together after whitening, which leaves nothing to collapse.

    Defaults are those of the authors' CIFAR command with two views (htdt/self-supervised, README and cfg.py):
    sub-batches of 128, 1024 hidden units, embeddings of length 64, Adam with 0.003 at 512 images (0.00075 per 128)
    and weight decay 1e-6. Here AdamW stands for Adam, the cosine schedule for two steps down at the end.
    """

    RECOMMENDED: ClassVar[dict[str, Any]] = {
        "optimiser.optimiser": "adamw",
        "optimiser.learning_rate": 0.00075,
        "optimiser.weight_decay": 1e-6,
    }

    name: Literal["w_mse"] = "w_mse"  # pyright: ignore[reportIncompatibleVariableOverride]
    projector_width: Count = 1024
    """units of the projector's hidden layer"""
    embedding_dim: Annotated[int, Field(ge=2)] = 64
    """length of the embedding z"""
    whitening_size: Annotated[int, Field(ge=3)] = 128
    """images that are whitened together; divides the global batch and exceeds embedding_dim, better twice it"""
    num_whitenings: Count = 1
    """how often the batch is cut into sub-batches at random; losses are averaged"""
    whitening_jitter: Positive = 1e-6
    """added to every variance before whitening, as a share of the mean variance, epsilon"""

    def check_fits(self, global_batch_size: int, num_images: int) -> None:
        """Refuses sub-batches that do not fill the batch or whose covariance is singular."""
        size, dim = self.whitening_size, self.embedding_dim
        if global_batch_size % size:
            problem = f"--whitening-size {size} does not divide --global-batch-size {global_batch_size}"
        elif size <= dim:
            problem = (
                f"--whitening-size {size} is not more than --embedding-dim {dim}: the covariance of {size} images "
                f"has at most rank {size - 1}"
            )
        else:
            return
        raise UserError(f"{problem}; {_what_fits(global_batch_size, size, dim)} would do")


def _what_fits(global_batch_size: int, size: int, dim: int) -> str:
    """The flags nearest to the given ones that `check_fits` accepts."""
    divisors = [n for n in range(3, global_batch_size + 1) if global_batch_size % n == 0]
    if not divisors:
        return "a larger --global-batch-size"
    nearest = min([n for n in divisors if n > dim] or divisors, key=lambda n: abs(n - size))
    return f"--whitening-size {nearest}" + (f" --embedding-dim {max(2, nearest // 2)}" if nearest <= dim else "")


class WMSE(TwoViewMethod):
    """W-MSE; how a batch is cut into sub-batches is a function of the step's number, which is a buffer."""

    config: Config
    step: Tensor

    def __init__(self, config: Config, backbone: Backbone, num_classes: int) -> None:
        super().__init__(config, backbone, num_classes)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        z0, z1, config = outputs["z"], outputs["z1"], self.config
        rows = sub_batches(len(z0), config.whitening_size, config.num_whitenings, int(self.step))
        return w_mse_terms(z0, z1, rows.to(z0.device), config.whitening_jitter)

    def after_step(self, outputs: dict[str, Tensor], progress: float) -> None:
        self.step += 1


def sub_batches(num_images: int, size: int, num_whitenings: int, step: int) -> Tensor:
    """Returns the rows of each sub-batch, int64 [num_whitenings num_images / size, size].

    Each of the `num_whitenings` parts holds every row once, in an order that depends on nothing but `step`.
    """
    generator = torch_stream(0, "w_mse", step=step)
    return torch.cat([torch.randperm(num_images, generator=generator) for _ in range(num_whitenings)]).view(-1, size)


def w_mse_terms(z0: Tensor, z1: Tensor, rows: Tensor, jitter: float) -> Terms:
    """Computes the normalised mean squared error between the whitened embeddings of two views.

    Args:
        z0: float [N, D]: the global batch's embeddings of view 0.
        z1: float [N, D]: those of view 1, row by row of the same images.
        rows: int64 [M, n], n > D: the rows of each sub-batch; each view of each is whitened by itself.
        jitter: Share of the mean variance that is added to every variance.

    Returns:
        "loss": mean over rows of |w0 / |w0| - w1 / |w1||^2, 0..4, lower is better: 2 - 2 cos(w0, w1). There is no
        regularisation term: whitening is a constraint. "least_variance": the smallest variance that a dimension
        adds to those before it over the mean variance, 0..1, the smallest of all sub-batches; as low as `jitter`,
        the constraint has ceased to hold and the embedding may lose dimensions.

    Source:
        arXiv 2007.06346, section 3: the distance of normalised embeddings, and whitening in sub-batches by the
        Cholesky factor of the covariance, the same rows for both views, as in the authors' public code (which adds
        no jitter by default).
    """
    views = torch.stack([z0, z1])[:, rows]  # [2, M, n, D]
    (w0, w1), least_variance = whiten(views, jitter)
    loss = 2 - 2 * cosine_similarity(w0, w1, dim=-1).mean()
    return {"loss": loss.to(z0.dtype), "least_variance": least_variance.min().to(z0.dtype)}


def whiten(z: Tensor, jitter: float) -> tuple[Tensor, Tensor]:
    """Makes sets of embeddings uncorrelated, with mean 0 and variance 1.

    It computes in float64 with the covariance S + jitter mean(diag S) I. Embeddings in float32 may have covariances
    of a condition far above 1e7, of which float32 has no Cholesky factor; in float64 a jitter of 1e-6 is enough for
    embeddings of any rank, and changes well-conditioned ones by 1e-6. What has no factor (NaN) becomes NaN, which
    the training loop reports, rather than an exception.

    Args:
        z: float [..., n, D].
        jitter: Share of the mean variance.

    Returns:
        float64 [..., n, D], L^-1 (z - mean) with L L^T the covariance; and float64 [...], detached: the smallest
        squared diagonal element of L over the mean variance.
    """
    centred = z.double() - z.double().mean(-2, keepdim=True)
    covariance = centred.mT @ centred / (z.shape[-2] - 1)
    mean_variance = covariance.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(VARIANCE_FLOOR)
    identity = torch.eye(z.shape[-1], dtype=torch.float64, device=z.device)
    factor, failed = torch.linalg.cholesky_ex(covariance + jitter * mean_variance[..., None, None] * identity)
    factor = factor.masked_fill((failed > 0)[..., None, None], torch.nan)
    whitened = torch.linalg.solve_triangular(factor, centred.mT, upper=False).mT
    least = factor.detach().diagonal(dim1=-2, dim2=-1).square().amin(-1)
    return whitened, least / mean_variance.detach()
