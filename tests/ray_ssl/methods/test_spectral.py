"""The spectral contrastive loss: the public code's form, the population form, and the matrix it factorises."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.config import PretrainConfig
from ray_ssl.methods.spectral import Config, Spectral, spectral_terms

Array = NDArray[np.float64]
SHAPES = [(2, 2), (5, 3), (3, 7), (16, 64)]


def _embeddings(num_images: int, dim: int) -> tuple[Tensor, Tensor]:
    """Some shorter, some longer than 1."""
    generator = torch.Generator().manual_seed(0)
    z0 = torch.randn(num_images, dim, dtype=torch.float64, generator=generator)
    z1 = z0 + 0.5 * torch.randn(num_images, dim, dtype=torch.float64, generator=generator)
    lengths = torch.rand(num_images, 1, dtype=torch.float64, generator=generator) * 2
    return z0 * lengths / dim**0.5, z1 * lengths / dim**0.5


def _public_form(z0: list[list[float]], z1: list[list[float]], mu: float, clip: bool) -> tuple[float, float]:
    """Both terms as the public code has them, in plain Python."""

    def clipped(z: list[float]) -> list[float]:
        return [x * min(1, math.sqrt(mu) / math.hypot(*z)) for x in z] if clip else z

    n = len(z0)
    z0, z1 = [clipped(z) for z in z0], [clipped(z) for z in z1]
    inner = [[sum(p * q for p, q in zip(a, b, strict=True)) for b in z1] for a in z0]
    positive = sum(inner[i][i] for i in range(n)) / n
    square = sum(inner[i][j] ** 2 for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return -2 * positive / mu, square / mu


def test_published_cifar_values_are_the_defaults() -> None:
    config = Config()
    assert (config.max_squared_norm, config.clip_norm) == (1, True)
    assert (config.projector_width, config.embedding_dim) == (2048, 1000)
    optimiser = PretrainConfig(method=config).optimiser
    assert (optimiser.optimiser, optimiser.momentum, optimiser.weight_decay) == ("sgd", 0.9, 5e-4)
    assert optimiser.learning_rate * 256 / 128 == 0.03


def test_the_head_is_the_published_one() -> None:
    method = Spectral(Config(), build_backbone(Backbone(depth=1, width=4), 32), 5)
    assert [type(layer) for layer in method.projector] == [
        nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d
    ]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mu", [0.5, 1.0, 10.0])
@pytest.mark.parametrize("clip", [True, False])
def test_equals_the_public_form(shape: tuple[int, int], mu: float, clip: bool) -> None:
    z0, z1 = _embeddings(*shape)
    invariance, regularisation = _public_form(z0.tolist(), z1.tolist(), mu, clip)
    terms = {name: value.item() for name, value in spectral_terms(z0, z1, mu, clip).items()}
    assert terms["invariance"] == pytest.approx(invariance)
    assert terms["regularisation"] == pytest.approx(regularisation)
    assert terms["loss"] == pytest.approx(invariance + regularisation)
    long = sum(math.hypot(*z) >= math.sqrt(mu) for z in (*z0.tolist(), *z1.tolist()))
    assert terms["clipped"] == pytest.approx(long / (2 * shape[0]))


class _Graph:
    """A finite augmentation graph: `num_images` equally likely images, views x with probabilities A(x | image)."""

    def __init__(self, num_images: int, num_views: int) -> None:
        self.augment = np.random.default_rng(0).dirichlet(np.full(num_views, 0.5), num_images)  # [images, views]
        self.pairs: Array = self.augment.T @ self.augment / num_images  # w(x, x')
        self.views: Array = self.pairs.sum(1)  # w_x
        self.adjacency: Array = self.pairs / np.sqrt(np.outer(self.views, self.views))

    def population_loss(self, f: Array) -> float:
        """-2 E[f(x)^T f(x+)] + E[(f(x)^T f(x'))^2] of a table f [views, D]."""
        inner = f @ f.T
        return float(-2 * (self.pairs * inner).sum() + (np.outer(self.views, self.views) * inner**2).sum())

    def gradient(self, f: Array) -> Array:
        """Of the population loss."""
        return -4 * self.pairs @ f + 4 * (np.outer(self.views, self.views) * (f @ f.T)) @ f


def test_the_batch_loss_is_an_unbiased_estimate_of_the_population_loss() -> None:
    """The expectation over all batches of two independent images, term by term; with i = j it would be another."""
    graph, f = _Graph(2, 3), np.random.default_rng(1).normal(size=(3, 2))
    table, expected, biased = torch.from_numpy(f), 0.0, 0.0
    for a, b in product(range(2), repeat=2):
        for x0, x1, y0, y1 in product(range(3), repeat=4):
            p = graph.augment[a, x0] * graph.augment[a, x1] * graph.augment[b, y0] * graph.augment[b, y1] / 4
            z0, z1 = table[[x0, y0]], table[[x1, y1]]
            expected += p * spectral_terms(z0, z1, clip_norm=False)["loss"].item()
            biased += p * (-2 * (z0 * z1).sum(1).mean() + (z0 @ z1.T).square().mean()).item()
    assert expected == pytest.approx(graph.population_loss(f))
    assert biased != pytest.approx(graph.population_loss(f), rel=0.01)


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_minimising_the_population_loss_factorises_the_adjacency(dim: int) -> None:
    """The minimum is minus the sum of the largest squared eigenvalues, reached at the eigenvectors."""
    graph = _Graph(6, 9)
    rows = np.sqrt(graph.views)[:, None]
    values, vectors = np.linalg.eigh(graph.adjacency)
    largest = values[::-1][:dim]
    minimum = -float((largest**2).sum())

    f = np.random.default_rng(2).normal(size=(9, dim))
    distance = ((graph.adjacency - (rows * f) @ (rows * f).T) ** 2).sum()
    assert graph.population_loss(f) == pytest.approx(distance - (graph.adjacency**2).sum())

    eigenvectors = vectors[:, ::-1][:, :dim] * np.sqrt(largest) / rows
    assert graph.population_loss(eigenvectors) == pytest.approx(minimum)

    found = minimize(
        lambda flat: graph.population_loss(flat.reshape(f.shape)), f.ravel(), method="L-BFGS-B",
        jac=lambda flat: graph.gradient(flat.reshape(f.shape)).ravel(), options={"ftol": 1e-15, "gtol": 1e-10},
    )  # fmt: skip
    assert found.fun == pytest.approx(minimum, rel=1e-8)
    fitted = rows * found.x.reshape(f.shape)
    np.testing.assert_allclose(fitted @ fitted.T, (rows * eigenvectors) @ (rows * eigenvectors).T, atol=1e-5)


@pytest.mark.parametrize("clip", [True, False])
def test_gradient(clip: bool) -> None:
    z0, z1 = (z.requires_grad_() for z in _embeddings(5, 3))
    assert 0 < spectral_terms(z0, z1, 0.5)["clipped"] < 1
    assert torch.autograd.gradcheck(lambda a, b: spectral_terms(a, b, 0.5, clip)["loss"], (z0, z1))


@pytest.mark.parametrize("mu", [0.5, 1.0, 4.0])
def test_orthogonal_images_of_the_largest_norm_are_the_optimum(mu: float) -> None:
    z = 3 * torch.eye(5, dtype=torch.float64)
    terms = spectral_terms(z, z, mu)
    assert terms["loss"].item() == pytest.approx(-2)
    assert terms["regularisation"] == 0
    assert terms["clipped"] == 1


@pytest.mark.parametrize("mu", [0.5, 1.0, 4.0])
def test_collapsed_embeddings_pay_mu(mu: float) -> None:
    z = torch.full((6, 4), 9.0, dtype=torch.float64)
    terms = spectral_terms(z, z, mu)
    assert terms["regularisation"].item() == pytest.approx(mu)
    assert terms["loss"].item() == pytest.approx(mu - 2)


def test_mu_weighs_the_terms_of_clipped_embeddings_and_scales_those_of_unclipped_ones() -> None:
    z0, z1 = (100 * z for z in _embeddings(6, 4))
    one, four = spectral_terms(z0, z1, 1.0), spectral_terms(z0, z1, 4.0)
    assert one["clipped"] == four["clipped"] == 1
    torch.testing.assert_close(four["invariance"], one["invariance"])
    torch.testing.assert_close(four["regularisation"], 4 * one["regularisation"])
    unclipped = [spectral_terms(z0, z1, mu, clip_norm=False)["loss"] for mu in (1.0, 4.0)]
    torch.testing.assert_close(unclipped[1], unclipped[0] / 4)


def test_embeddings_of_zero_have_a_finite_gradient() -> None:
    z = torch.zeros(4, 3, requires_grad=True)
    terms = spectral_terms(z, z)
    terms["loss"].backward()
    assert terms["loss"] == 0
    assert z.grad is not None and not z.grad.any()


def test_order_rotation_and_lengths_above_the_largest_norm_change_nothing() -> None:
    z0, z1 = _embeddings(6, 4)
    expected = spectral_terms(z0, z1)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(_embeddings(4, 4)[0]).Q
    torch.testing.assert_close(spectral_terms(z0[order], z1[order]), expected)
    torch.testing.assert_close(spectral_terms(z1, z0), expected)
    torch.testing.assert_close(spectral_terms(z0 @ rotation, z1 @ rotation), expected)
    torch.testing.assert_close(spectral_terms(100 * z0, 100 * z1), spectral_terms(7e3 * z0, 9e4 * z1))
