"""NT-Xent equals equation 1 of arXiv 2002.05709."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ray_ssl.methods.simclr import Config, nt_xent_terms

SHAPES = [(2, 2), (5, 3), (3, 7), (16, 64)]


def _embeddings(num_images: int, dim: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z0 = torch.randn(num_images, dim, dtype=torch.float64, generator=generator)
    return z0, z0 + 0.5 * torch.randn(num_images, dim, dtype=torch.float64, generator=generator)


def _equation(z0: list[list[float]], z1: list[list[float]], tau: float) -> tuple[float, float]:
    """Mean over all views of equation 1, as (-similarity part, log-sum part), in plain Python."""

    def similarity(a: list[float], b: list[float]) -> float:
        return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    n, views = len(z0), z0 + z1
    invariance = regularisation = 0.0
    for i in range(2 * n):
        invariance -= similarity(views[i], views[(i + n) % (2 * n)]) / tau
        others = (math.exp(similarity(views[i], views[k]) / tau) for k in range(2 * n) if k != i)
        regularisation += math.log(sum(others))
    return invariance / (2 * n), regularisation / (2 * n)


def test_published_cifar_values_are_the_defaults() -> None:
    assert (Config().temperature, Config().embedding_dim) == (0.5, 128)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_equals_the_papers_equation(shape: tuple[int, int], temperature: float) -> None:
    z0, z1 = _embeddings(*shape)
    invariance, regularisation = _equation(z0.tolist(), z1.tolist(), temperature)
    terms = {name: value.item() for name, value in nt_xent_terms(z0, z1, temperature).items()}
    expected = {"loss": invariance + regularisation, "invariance": invariance, "regularisation": regularisation}
    assert terms == pytest.approx(expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_equals_lightly(shape: tuple[int, int], temperature: float) -> None:
    reference = pytest.importorskip("lightly.loss").NTXentLoss(temperature)
    z0, z1 = _embeddings(*shape)
    torch.testing.assert_close(nt_xent_terms(z0, z1, temperature)["loss"], reference(z0, z1))


def test_gradient() -> None:
    z0, z1 = (z.requires_grad_() for z in _embeddings(4, 3))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent_terms(a, b, 0.5)["loss"], (z0, z1))


@pytest.mark.parametrize("num_images", [2, 5, 32])
def test_collapsed_embeddings_guess_among_all_others(num_images: int) -> None:
    z = torch.ones(num_images, 4, dtype=torch.float64)
    assert nt_xent_terms(z, z, 0.5)["loss"].item() == pytest.approx(math.log(2 * num_images - 1))


def test_orthonormal_embeddings() -> None:
    """Identical views, orthogonal images: one similarity of 1, 2N - 2 of 0."""
    z = torch.eye(5, dtype=torch.float64)
    terms = nt_xent_terms(z, z, 0.5)
    assert terms["invariance"].item() == pytest.approx(-2)
    assert terms["regularisation"].item() == pytest.approx(math.log(math.exp(2) + 8))


def test_lengths_order_and_rotation_change_nothing() -> None:
    z0, z1 = _embeddings(6, 4)
    expected = nt_xent_terms(z0, z1, 0.5)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(_embeddings(4, 4)[0]).Q
    torch.testing.assert_close(nt_xent_terms(3 * z0, z1 / 7, 0.5), expected)
    torch.testing.assert_close(nt_xent_terms(z0[order], z1[order], 0.5), expected)
    torch.testing.assert_close(nt_xent_terms(z1, z0, 0.5), expected)
    torch.testing.assert_close(nt_xent_terms(z0 @ rotation, z1 @ rotation, 0.5), expected)


def test_low_temperatures_do_not_overflow() -> None:
    z0, z1 = (z.float() for z in _embeddings(8, 4))
    assert nt_xent_terms(z0, z1, 1e-3)["loss"].isfinite()
