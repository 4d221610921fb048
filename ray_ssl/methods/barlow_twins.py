"""Barlow Twins: redundancy reduction between two views (arXiv 2103.03230)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor
from torch.nn.functional import batch_norm

from ray_ssl.methods.base import ProjectorConfig, Terms, TwoViewMethod
from ray_ssl.part import NonNegative, Positive


class Config(ProjectorConfig):
    """Barlow Twins (arXiv 2103.03230): make the cross-correlation of the views' embeddings the identity.

    Defaults are those of solo-learn's CIFAR configuration (scripts/pretrain/cifar/barlow.yaml): lambda 0.0051, the
    loss times 0.1, a projector of width 2048, LARS with 0.3 per 256 images, trust coefficient 0.02, weight decay
    1e-4. Unlike there, LARS does not clip its rate and the projector has two layers instead of three.
    """

    RECOMMENDED: ClassVar[dict[str, Any]] = {
        "optimiser.optimiser": "lars",
        "optimiser.learning_rate": 0.15,
        "optimiser.weight_decay": 1e-4,
        "optimiser.trust_coefficient": 0.02,
    }

    name: Literal["barlow_twins"] = "barlow_twins"  # pyright: ignore[reportIncompatibleVariableOverride]
    redundancy_weight: NonNegative = 0.0051
    """weight of the squared correlations between different dimensions, lambda"""
    loss_scale: Positive = 0.1
    """factor of the whole loss, which is a sum over dimensions; with lars only biases and norms feel it"""


class BarlowTwins(TwoViewMethod):
    """Barlow Twins with a two-layer projector; the paper's has three layers."""

    config: Config

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        return barlow_twins_terms(outputs["z"], outputs["z1"], self.config.redundancy_weight, self.config.loss_scale)


def barlow_twins_terms(z0: Tensor, z1: Tensor, redundancy_weight: float, loss_scale: float = 1.0) -> Terms:
    """Computes the Barlow Twins loss from the cross-correlation C [D, D] of the two views.

    Args:
        z0: float [N, D], N >= 2: the global batch's embeddings of view 0.
        z1: float [N, D]: those of view 1, row by row of the same images.
        redundancy_weight: lambda >= 0.
        loss_scale: Factor of the loss and its two parts; the paper has none.

    Returns:
        Scalars >= 0, lower is better, summed over dimensions as in the paper: "loss" = "invariance" +
        "regularisation" (both scaled), where invariance is the sum of (1 - C_ii)^2 (D for collapsed embeddings) and
        regularisation lambda times "redundancy", the sum of C_ij^2 over i != j (reported unscaled).

    Source:
        arXiv 2103.03230, equations 1 and 2. As in the authors' public code, which normalises by BatchNorm, 1e-5 is
        added to every variance, so a constant dimension has correlation 0 instead of 0 / 0.
    """
    n0, n1 = (batch_norm(z, None, None, training=True) for z in (z0, z1))
    num_images, dim = n0.shape
    invariance = loss_scale * (1 - _agreement(n0, n1)).square().sum()
    redundancy = off_diagonal_by_images(n0, n1) if dim > num_images else off_diagonal_by_dimensions(n0, n1)
    regularisation = loss_scale * redundancy_weight * redundancy
    return {
        "loss": invariance + regularisation,
        "invariance": invariance,
        "regularisation": regularisation,
        "redundancy": redundancy,
    }


def off_diagonal_by_dimensions(n0: Tensor, n1: Tensor) -> Tensor:
    """Sum of C_ij^2 over i != j of [N, D] normalised embeddings, by the D x D matrix C = n0^T n1 / N."""
    correlation = n0.T @ n1 / len(n0)
    return (correlation - correlation.diagonal().diag()).square().sum()


def off_diagonal_by_images(n0: Tensor, n1: Tensor) -> Tensor:
    """The same number by two N x N Gram matrices, as |n0^T n1|^2 = <n0 n0^T, n1 n1^T>: cheaper where D > N."""
    total = ((n0 @ n0.T) * (n1 @ n1.T)).sum() / len(n0) ** 2
    return total - _agreement(n0, n1).square().sum()


def _agreement(n0: Tensor, n1: Tensor) -> Tensor:
    """The diagonal of C, [D]."""
    return (n0 * n1).mean(0)
