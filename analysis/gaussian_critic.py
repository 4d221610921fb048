"""The critic that would be optimal if the pairs were Gaussian, in closed form: what trained critics start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

MIN_UNEXPLAINED: Final = 1e-4
"""Least 1 - rho^2 of a canonical direction, 4.6 nats: more would cancel in float32."""

_RELATIVE_RANK: Final = 1e-6

Pairs = tuple[Tensor, Tensor]


class GaussianCritics(NamedTuple):
    """S critics f(x, z) = ln p(x, z) / (p(x) p(z)) of Gaussians, as a dot product of embeddings.

    With a_k = u_k . x and b_k = v_k . z of unit variance and correlation rho_k,
    f = sum_k (rho_k a_k b_k - rho_k^2 (a_k^2 + b_k^2) / 2) / (1 - rho_k^2) - ln(1 - rho_k^2) / 2.

    Attributes:
        x_directions: float32 [S, P, K], u_k in columns; those of fewer directions are filled up with 0.
        z_directions: float32 [S, D, K], v_k.
        x_offsets: float32 [S, 1, K], the mean of u_k . x.
        z_offsets: float32 [S, 1, K].
        correlations: float64 [S, K], rho_k, 0 .. 1.
        weights: float32 [S], factor of each critic's score.
    """

    x_directions: Tensor
    z_directions: Tensor
    x_offsets: Tensor
    z_offsets: Tensor
    correlations: Tensor
    weights: Tensor

    def __call__(self, x: Tensor, z: Tensor) -> Pairs:
        """Returns embeddings [S, N, K + 2] of each side; x [N, P] or [S, N, P], z alike."""
        a = x @ self.x_directions - self.x_offsets
        b = z @ self.z_directions - self.z_offsets
        unexplained = 1 - self.correlations.square()
        product = (self.correlations / unexplained * self.weights[:, None]).sqrt().float()[:, None]
        square = (self.correlations.square() / unexplained * self.weights[:, None] / 2).float()[:, :, None]
        constant = (-unexplained.log().sum(1) / 2 * self.weights).float()[:, None, None]
        one = torch.ones_like(a[..., :1])
        of_x = torch.cat([a * product, constant - a.square() @ square, one], dim=-1)
        return of_x, torch.cat([b * product, torch.ones_like(b[..., :1]), -b.square() @ square], dim=-1)


def fit(fitted: Sequence[Pairs], held_out: Sequence[Pairs], most: int) -> GaussianCritics:
    """Returns a critic for each set of pairs, of weight 1.

    Directions are the canonical ones of the fitted pairs. Their correlations and variances are measured on the
    held-out pairs, which did not choose them, and are taken a standard error lower: the fitted ones are too high by
    far where N is not much larger than P and D.

    Args:
        fitted: For each critic x float [N, P] and z float [N, D].
        held_out: The same of other pairs.
        most: Directions K at most, those most correlated.
    """
    each = [_fit_one(a, b, most) for a, b in zip(fitted, held_out, strict=True)]
    num_directions = max(len(one[-1]) for one in each)
    u, v, x_offsets, z_offsets, correlations = (
        torch.stack([torch.nn.functional.pad(part, (0, num_directions - part.shape[-1])) for part in parts])
        for parts in zip(*each, strict=True)
    )
    weights = torch.ones(len(each))
    return GaussianCritics(u.float(), v.float(), x_offsets.float(), z_offsets.float(), correlations, weights)


def _fit_one(fitted: Pairs, held_out: Pairs, most: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    (x, z), (x_new, z_new) = ([side.double() for side in pairs] for pairs in (fitted, held_out))
    x_mean, z_mean = x.mean(0), z.mean(0)
    x, z = x - x_mean, z - z_mean
    x_white, z_white = _whitening(x), _whitening(z)
    left, _, right = torch.linalg.svd(x_white.T @ (x.T @ z / len(x)) @ z_white, full_matrices=False)
    u, v = x_white @ left[:, :most], z_white @ right[:most].T
    a, b = (x_new - x_mean) @ u, (z_new - z_mean) @ v
    a_scale, b_scale = (side.square().mean(0).sqrt().clamp_min(1e-12) for side in (a, b))
    correlations = _a_standard_error_less((a * b).mean(0) / (a_scale * b_scale), len(x_new))
    u, v = u / a_scale, v / b_scale
    return u, v, (x_mean @ u)[None], (z_mean @ v)[None], correlations


def _whitening(centred: Tensor) -> Tensor:
    """Columns W with W^T C W = 1, in the span of the rows."""
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
    kept = variances > _RELATIVE_RANK * variances[-1]
    return directions[:, kept] / variances[kept].sqrt()


def _a_standard_error_less(correlations: Tensor, num_pairs: int) -> Tensor:
    """Of Fisher's z, whose standard error is 1 / sqrt(N - 3) whatever the correlation; 0 for 4 pairs or fewer."""
    if num_pairs <= 4:
        return torch.zeros_like(correlations)
    most = (1 - MIN_UNEXPLAINED) ** 0.5
    return torch.tanh(correlations.clamp(-most, most).atanh() - (num_pairs - 3) ** -0.5).clamp_min(0)
