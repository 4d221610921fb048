"""The VICReg loss equals the paper's equations with the public code's scaling."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ray_ssl.methods.vicreg import (
    VARIANCE_EPSILON,
    Config,
    off_diagonal_by_dimensions,
    off_diagonal_by_images,
    vicreg_terms,
)

SHAPES = [(2, 2), (5, 3), (4, 4), (3, 7), (16, 64)]


def _embeddings(num_images: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z0 = torch.randn(num_images, dim, dtype=torch.float64, generator=generator)
    return z0, 0.7 * z0 + 0.5 * torch.randn(num_images, dim, dtype=torch.float64, generator=generator)


def _equations(z: list[list[float]], zp: list[list[float]]) -> tuple[float, float, float]:
    """s, v(Z) + v(Z'), c(Z) + c(Z') of arXiv 2105.04906, equations 1-5, in plain Python, unscaled."""
    n, d = len(z), len(z[0])
    v = c = 0.0
    for rows in (z, zp):
        mean = [sum(row[j] for row in rows) / n for j in range(d)]
        cov = [[sum((r[i] - mean[i]) * (r[j] - mean[j]) for r in rows) / (n - 1) for j in range(d)] for i in range(d)]
        v += sum(max(0.0, 1 - math.sqrt(cov[j][j] + 1e-4)) for j in range(d)) / d
        c += sum(cov[i][j] ** 2 for i in range(d) for j in range(d) if i != j) / d
    s = sum((a - b) ** 2 for row, other in zip(z, zp, strict=True) for a, b in zip(row, other, strict=True)) / n
    return s, v, c


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_papers_equations(shape: tuple[int, int]) -> None:
    z0, z1 = _embeddings(*shape)
    s, v, c = _equations(z0.tolist(), z1.tolist())
    terms = {name: value.item() for name, value in vicreg_terms(z0, z1, Config()).items()}
    assert terms["invariance"] == pytest.approx(25 * s / shape[1])
    assert terms["variance"] == pytest.approx(v / 2)
    assert terms["covariance"] == pytest.approx(c)
    assert terms["regularisation"] == pytest.approx(25 * v / 2 + c)
    assert terms["loss"] == pytest.approx(25 * s / shape[1] + 25 * v / 2 + c)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (3.0, 0.5, 2.0)])
def test_equals_lightly(shape: tuple[int, int], weights: tuple[float, float, float]) -> None:
    reference = pytest.importorskip("lightly.loss").VICRegLoss(*weights)
    z0, z1 = _embeddings(*shape)
    config = Config(invariance_weight=weights[0], variance_weight=weights[1], covariance_weight=weights[2])
    torch.testing.assert_close(vicreg_terms(z0, z1, config)["loss"], reference(z0, z1))


@pytest.mark.parametrize("shape", [(5, 3), (3, 7)])
def test_gradient(shape: tuple[int, int]) -> None:
    z0, z1 = (z.requires_grad_() for z in _embeddings(*shape))
    assert torch.autograd.gradcheck(lambda a, b: vicreg_terms(a, b, Config())["loss"], (z0, z1))


@pytest.mark.parametrize("shape", SHAPES)
def test_both_ways_to_the_covariances_agree(shape: tuple[int, int]) -> None:
    z = _embeddings(*shape)[0].requires_grad_()
    by_dimensions, by_images = off_diagonal_by_dimensions(z - z.mean(0)), off_diagonal_by_images(z - z.mean(0))
    torch.testing.assert_close(by_images, by_dimensions)
    gradients = [torch.autograd.grad(loss, z)[0] for loss in (by_images, by_dimensions)]
    torch.testing.assert_close(*gradients)


def test_both_ways_agree_in_fp32_at_the_sizes_of_training() -> None:
    z = _embeddings(256, 2048)[0]
    exact = off_diagonal_by_dimensions(z - z.mean(0))
    torch.testing.assert_close(off_diagonal_by_images((z - z.mean(0)).float()).double(), exact, rtol=1e-4, atol=0)


def test_identical_views_have_no_invariance_term() -> None:
    z, _ = _embeddings(6, 4)
    assert vicreg_terms(z, z.clone(), Config())["invariance"] == 0


@pytest.mark.parametrize("dim", [3, 9])
def test_collapsed_embeddings_pay_the_whole_hinge(dim: int) -> None:
    z = torch.full((5, dim), 3.0, dtype=torch.float64)
    terms = vicreg_terms(z, z, Config())
    assert terms["variance"].item() == pytest.approx(1 - math.sqrt(VARIANCE_EPSILON)) == pytest.approx(0.99)
    assert terms["covariance"].item() == pytest.approx(0, abs=1e-12)
    assert terms["loss"].item() == pytest.approx(25 * 0.99)


def test_white_embeddings_cost_nothing() -> None:
    """Orthogonal centred dimensions of standard deviation 1 (a Hadamard matrix without its constant column)."""
    h = torch.tensor([[1.0, 1], [1, -1]], dtype=torch.float64)
    z = torch.kron(torch.kron(h, h), h)[:, 1:] * math.sqrt(7 / 8)
    terms = vicreg_terms(z, z.clone(), Config())
    assert all(term.item() == pytest.approx(0, abs=1e-12) for term in terms.values())


def test_redundant_dimensions_cost_their_covariance() -> None:
    """Two equal dimensions of variance s: c = (s^2 + s^2) / 2 in each view."""
    z = torch.tensor([-1.0, 1, -1, 1], dtype=torch.float64).view(4, 1).expand(4, 2)
    assert vicreg_terms(z, z, Config())["covariance"].item() == pytest.approx(2 * (4 / 3) ** 2)


def test_order_of_images_and_shifts_change_nothing_where_they_should_not() -> None:
    z0, z1 = _embeddings(6, 9)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    expected = vicreg_terms(z0, z1, Config())
    torch.testing.assert_close(vicreg_terms(z0[order], z1[order], Config()), expected)
    torch.testing.assert_close(vicreg_terms(z1, z0, Config()), expected)
    torch.testing.assert_close(vicreg_terms(z0 + 5, z1 + 5, Config()), expected)
    shifted = vicreg_terms(z0, z1[order] + 5, Config())
    torch.testing.assert_close(shifted["regularisation"], expected["regularisation"])
