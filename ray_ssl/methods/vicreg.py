"""VICReg: variance-invariance-covariance regularisation (arXiv 2105.04906)."""

from __future__ import annotations

from typing import Final, Literal

from torch import Tensor
from torch.nn.functional import mse_loss, relu

from ray_ssl.methods.base import ProjectorConfig, Terms, TwoViewMethod
from ray_ssl.part import NonNegative

VARIANCE_EPSILON: Final = 1e-4
"""Added to the variance under the root, epsilon of the paper's equation 2."""


class Config(ProjectorConfig):
    """VICReg (arXiv 2105.04906): keep the variance, pull views together, decorrelate dimensions.

    The optimiser is this project's default, the SGD of the authors' code of arXiv 2305.15614 (0.06 per 128 images,
    momentum 0.9, weight decay 5e-4, cosine), which is about networks trained with VICReg; its projector too.
    solo-learn's CIFAR configuration (scripts/pretrain/cifar/vicreg.yaml) has LARS with 0.3 per 256 images instead.
    """

    name: Literal["vicreg"] = "vicreg"  # pyright: ignore[reportIncompatibleVariableOverride]
    invariance_weight: NonNegative = 25.0
    """weight of the mean squared distance between an image's two embeddings, lambda"""
    variance_weight: NonNegative = 25.0
    """weight of the hinge that keeps every dimension's standard deviation above 1, mu"""
    covariance_weight: NonNegative = 1.0
    """weight of the squared covariances between different dimensions, nu"""


class VICReg(TwoViewMethod):
    """VICReg with the projector of arXiv 2305.15614."""

    config: Config

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        return vicreg_terms(outputs["z"], outputs["z1"], self.config)


def vicreg_terms(z0: Tensor, z1: Tensor, config: Config) -> Terms:
    """Computes the VICReg loss and its parts.

    Args:
        z0: float [N, D], N >= 2: the global batch's embeddings of view 0.
        z1: float [N, D]: those of view 1, row by row of the same images.
        config: The three weights.

    Returns:
        Scalars >= 0, lower is better: "loss" = "invariance" + "regularisation" (both weighted), where
        regularisation = weighted "variance" (0..1) + "covariance" (each reported unweighted).

    Source:
        arXiv 2105.04906, equations 1-6, with the scaling of the authors' public code, for which the weights
        25/25/1 are meant: the squared distance is averaged over dimensions too (equation 5 sums them) and the
        variance hinge is averaged over the views (equation 6 adds them); covariances are added, as in both.
    """
    invariance = mse_loss(z0, z1)
    (variance0, covariance0), (variance1, covariance1) = _variance_and_covariance(z0), _variance_and_covariance(z1)
    variance, covariance = (variance0 + variance1) / 2, covariance0 + covariance1
    weighted_invariance = config.invariance_weight * invariance
    regularisation = config.variance_weight * variance + config.covariance_weight * covariance
    return {
        "loss": weighted_invariance + regularisation,
        "invariance": weighted_invariance,
        "regularisation": regularisation,
        "variance": variance,
        "covariance": covariance,
    }


def _variance_and_covariance(z: Tensor) -> tuple[Tensor, Tensor]:
    """One view's mean hinge on the standard deviation, and its squared off-diagonal covariances over D."""
    num_images, dim = z.shape
    centred = z - z.mean(0)
    hinge = relu(1 - (_variances(centred) + VARIANCE_EPSILON).sqrt()).mean()
    squares = off_diagonal_by_images(centred) if dim > num_images else off_diagonal_by_dimensions(centred)
    return hinge, squares / dim


def off_diagonal_by_dimensions(centred: Tensor) -> Tensor:
    """Sum of squared off-diagonal covariances of [N, D] centred embeddings, by the D x D covariance."""
    covariance = centred.T @ centred / (len(centred) - 1)
    return (covariance - covariance.diagonal().diag()).square().sum()


def off_diagonal_by_images(centred: Tensor) -> Tensor:
    """The same number by the N x N Gram matrix, as |Z^T Z| = |Z Z^T| (Frobenius): cheaper where D > N."""
    gram = centred @ centred.T / (len(centred) - 1)
    return gram.square().sum() - _variances(centred).square().sum()


def _variances(centred: Tensor) -> Tensor:
    """Unbiased variances [D] of [N, D] centred embeddings."""
    return centred.square().sum(0) / (len(centred) - 1)
