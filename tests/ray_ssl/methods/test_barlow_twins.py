"""The Barlow Twins loss equals equations 1 and 2 of arXiv 2103.03230."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm

from ray_ssl.config import OptimiserConfig, PretrainConfig
from ray_ssl.methods.barlow_twins import (
    Config,
    barlow_twins_terms,
    off_diagonal_by_dimensions,
    off_diagonal_by_images,
)

SHAPES = [(2, 2), (5, 3), (4, 4), (3, 7), (16, 64)]
EPSILON = 1e-5


def _embeddings(num_images: int, dim: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z0 = torch.randn(num_images, dim, dtype=torch.float64, generator=generator)
    return z0 + 3, 0.7 * z0 + 0.5 * torch.randn(num_images, dim, dtype=torch.float64, generator=generator)


def _hadamard() -> Tensor:
    """Seven centred, uncorrelated dimensions of variance 1 over eight images."""
    h = torch.tensor([[1.0, 1], [1, -1]], dtype=torch.float64)
    return torch.kron(torch.kron(h, h), h)[:, 1:]


def _equations(z: list[list[float]], zp: list[list[float]]) -> tuple[float, float]:
    """Both sums of equation 1 in plain Python; the public code's 1e-5 is in the norms of equation 2."""
    n, d = len(z), len(z[0])

    def column(rows: list[list[float]], i: int) -> list[float]:
        mean = sum(row[i] for row in rows) / n
        return [row[i] - mean for row in rows]

    def norm(values: list[float]) -> float:
        return math.sqrt(sum(v * v for v in values) + n * EPSILON)

    a, b = [column(z, i) for i in range(d)], [column(zp, i) for i in range(d)]
    c = [[sum(p * q for p, q in zip(u, v, strict=True)) / (norm(u) * norm(v)) for v in b] for u in a]
    invariance = sum((1 - c[i][i]) ** 2 for i in range(d))
    return invariance, sum(c[i][j] ** 2 for i in range(d) for j in range(d) if i != j)


def test_published_cifar_values_are_the_defaults() -> None:
    config = Config()
    assert (config.redundancy_weight, config.loss_scale) == (0.0051, 0.1)
    assert (config.projector_width, config.embedding_dim) == (2048, 2048)
    published = OptimiserConfig(
        optimiser="lars", learning_rate=0.3 * 128 / 256, weight_decay=1e-4, trust_coefficient=0.02
    )
    assert PretrainConfig(method=config).optimiser == published


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("weight", "scale"), [(0.005, 1.0), (1.0, 0.1)])
def test_equals_the_papers_equations(shape: tuple[int, int], weight: float, scale: float) -> None:
    z0, z1 = _embeddings(*shape)
    invariance, redundancy = _equations(z0.tolist(), z1.tolist())
    terms = {name: value.item() for name, value in barlow_twins_terms(z0, z1, weight, scale).items()}
    assert terms == pytest.approx(
        {
            "loss": scale * (invariance + weight * redundancy),
            "invariance": scale * invariance,
            "regularisation": scale * weight * redundancy,
            "redundancy": redundancy,
        }
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_lightly(shape: tuple[int, int]) -> None:
    reference = pytest.importorskip("lightly.loss").BarlowTwinsLoss(lambda_param=0.005)
    z0, z1 = _embeddings(*shape)
    torch.testing.assert_close(barlow_twins_terms(z0, z1, 0.005)["loss"], reference(z0, z1))


@pytest.mark.parametrize("shape", [(5, 3), (3, 7)])
def test_gradient(shape: tuple[int, int]) -> None:
    z0, z1 = (z.requires_grad_() for z in _embeddings(*shape))
    assert torch.autograd.gradcheck(lambda a, b: barlow_twins_terms(a, b, 0.5, 0.1)["loss"], (z0, z1))


@pytest.mark.parametrize("shape", SHAPES)
def test_both_ways_to_the_redundancy_agree(shape: tuple[int, int]) -> None:
    n0, n1 = _embeddings(*shape)
    n0.requires_grad_()
    ways = off_diagonal_by_dimensions(n0, n1), off_diagonal_by_images(n0, n1)
    torch.testing.assert_close(*ways)
    torch.testing.assert_close(*(torch.autograd.grad(way, n0)[0] for way in ways))


def test_both_ways_agree_in_fp32_at_the_sizes_of_training() -> None:
    n0, n1 = (batch_norm(z, None, None, training=True) for z in _embeddings(256, 2048))
    exact = off_diagonal_by_dimensions(n0, n1)
    torch.testing.assert_close(off_diagonal_by_images(n0.float(), n1.float()).double(), exact, rtol=1e-4, atol=0)


def test_identical_views_of_uncorrelated_dimensions_cost_nothing() -> None:
    z = _hadamard()
    terms = barlow_twins_terms(z, z.clone(), 1.0)
    assert all(term.item() == pytest.approx(0, abs=1e-8) for term in terms.values())


def test_opposite_views_are_the_worst() -> None:
    """C = -1: each dimension pays (1 + 1)^2."""
    z = _hadamard()
    assert barlow_twins_terms(z, -z, 1.0)["loss"].item() == pytest.approx(4 * 7, rel=1e-4)


@pytest.mark.parametrize("dim", [3, 9])
def test_collapsed_embeddings_agree_on_nothing(dim: int) -> None:
    z = torch.full((5, dim), 3.0, dtype=torch.float64, requires_grad=True)
    terms = barlow_twins_terms(z, z, 1.0)
    terms["loss"].backward()
    assert terms["invariance"].item() == pytest.approx(dim)
    assert terms["redundancy"].item() == pytest.approx(0, abs=1e-12)
    assert z.grad is not None and z.grad.isfinite().all()


def test_equal_dimensions_are_redundant() -> None:
    """Two equal dimensions and identical views: C is all ones, so 2 of 4 elements are redundant."""
    z = _hadamard()[:, :1].expand(8, 2)
    terms = barlow_twins_terms(z, z, 0.5)
    assert terms["redundancy"].item() == pytest.approx(2, rel=1e-4)
    assert terms["regularisation"].item() == pytest.approx(1, rel=1e-4)
    assert terms["invariance"].item() == pytest.approx(0, abs=1e-8)


def test_order_shifts_and_scales_change_nothing() -> None:
    z0, z1 = _embeddings(6, 9)
    expected = barlow_twins_terms(z0, z1, 0.005)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(barlow_twins_terms(z0[order], z1[order], 0.005), expected)
    torch.testing.assert_close(barlow_twins_terms(z1, z0, 0.005), expected)
    torch.testing.assert_close(barlow_twins_terms(z0 + 5, z1 - 2, 0.005), expected)
    scales = torch.arange(1, 10, dtype=torch.float64)
    torch.testing.assert_close(barlow_twins_terms(scales * z0, 7 * z1, 0.005), expected, rtol=1e-3, atol=1e-4)
