"""The supervised contrastive loss equals equation 2 of arXiv 2004.11362."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.config import PretrainConfig
from ray_ssl.methods.simclr import nt_xent_terms
from ray_ssl.methods.supervised_contrastive import Config, SupervisedContrastive, supcon_terms

SHAPES = [(2, 2), (5, 3), (3, 7), (16, 64)]


def _batch(num_images: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Three classes; with few images some have a single one."""
    generator = torch.Generator().manual_seed(0)
    z0 = torch.randn(num_images, dim, dtype=torch.float64, generator=generator)
    z1 = z0 + 0.5 * torch.randn(num_images, dim, dtype=torch.float64, generator=generator)
    return z0, z1, torch.randint(3, (num_images,), generator=generator)


def _simplex(num_classes: int) -> Tensor:
    """Corners [K, K] of a regular simplex around the origin, of length 1."""
    corners = torch.eye(num_classes, dtype=torch.float64) - 1 / num_classes
    return corners / corners.norm(dim=1, keepdim=True)


def _equation(z: list[list[float]], labels: list[int], tau: float, inside: bool = False) -> float:
    """Mean over i of equation 2 in plain Python; `inside`: of equation 3, with the sum inside the logarithm."""

    def similarity(a: list[float], b: list[float]) -> float:
        return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    loss = 0.0
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        total = sum(math.exp(similarity(z[i], z[a]) / tau) for a in others)
        shares = [math.exp(similarity(z[i], z[p]) / tau) / total for p in positives]
        mean = sum(shares) / len(shares)
        loss -= math.log(mean) if inside else sum(math.log(s) for s in shares) / len(shares)
    return loss / len(z)


def test_published_cifar_values_are_the_defaults() -> None:
    config = Config()
    assert (config.temperature, config.embedding_dim) == (0.1, 128)
    optimiser = PretrainConfig(method=config).optimiser
    assert (optimiser.optimiser, optimiser.momentum, optimiser.weight_decay) == ("sgd", 0.9, 1e-4)
    assert optimiser.learning_rate * 1024 / 128 == 0.5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_equals_the_papers_equation(shape: tuple[int, int], temperature: float) -> None:
    z0, z1, labels = _batch(*shape)
    rows, classes = [*z0.tolist(), *z1.tolist()], labels.tolist() * 2
    terms = supcon_terms(z0, z1, labels, temperature)
    assert terms["loss"].item() == pytest.approx(_equation(rows, classes, temperature))
    assert terms["loss"].item() >= _equation(rows, classes, temperature, inside=True) - 1e-12  # Jensen
    torch.testing.assert_close(terms["loss"], terms["invariance"] + terms["regularisation"])


@pytest.mark.parametrize("shape", SHAPES)
def test_without_shared_labels_it_is_nt_xent(shape: tuple[int, int]) -> None:
    z0, z1, _ = _batch(*shape)
    terms = supcon_terms(z0, z1, torch.arange(len(z0)), 0.5)
    torch.testing.assert_close(terms, nt_xent_terms(z0, z1, 0.5))
    reference = pytest.importorskip("lightly.loss").NTXentLoss(0.5)
    torch.testing.assert_close(terms["loss"], reference(z0, z1))


def test_gradient() -> None:
    *views, labels = _batch(5, 3)
    z0, z1 = (z.requires_grad_() for z in views)
    assert torch.autograd.gradcheck(lambda a, b: supcon_terms(a, b, labels, 0.5)["loss"], (z0, z1))


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 2, 3]])
def test_collapsed_embeddings_guess_among_all_others(labels: list[int]) -> None:
    z = torch.ones(4, 3, dtype=torch.float64)
    assert supcon_terms(z, z, torch.tensor(labels), 0.5)["loss"].item() == pytest.approx(math.log(7))


def test_orthonormal_classes() -> None:
    """Every view at its class's unit vector: 2m - 1 similarities of 1, 2N - 2m of 0, N = 12 images, m = 4 a class."""
    labels = torch.arange(12) % 3
    z = torch.eye(3, dtype=torch.float64)[labels]
    terms = supcon_terms(z, z, labels, 0.5)
    assert terms["invariance"].item() == pytest.approx(-2)
    assert terms["regularisation"].item() == pytest.approx(math.log(7 * math.exp(2) + 16))


def test_classes_at_the_corners_of_a_simplex_are_an_optimum() -> None:
    """With balanced classes: the gradient vanishes, and every small move costs."""
    labels = torch.arange(12) % 4
    z = _simplex(4)[labels].requires_grad_()
    optimum = supcon_terms(z, z, labels, 0.5)["loss"]
    (gradient,) = torch.autograd.grad(optimum, z)
    assert gradient.abs().max() < 1e-12
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        moves = 0.1 * torch.randn(2, 12, 4, dtype=torch.float64, generator=generator)
        assert supcon_terms(z + moves[0], z + moves[1], labels, 0.5)["loss"] > optimum


def test_lengths_order_rotation_and_names_of_classes_change_nothing() -> None:
    z0, z1, labels = _batch(6, 4)
    expected = supcon_terms(z0, z1, labels, 0.5)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(_batch(4, 4)[0]).Q
    torch.testing.assert_close(supcon_terms(3 * z0, z1 / 7, labels, 0.5), expected)
    torch.testing.assert_close(supcon_terms(z0[order], z1[order], labels[order], 0.5), expected)
    torch.testing.assert_close(supcon_terms(z1, z0, labels, 0.5), expected)
    torch.testing.assert_close(supcon_terms(z0 @ rotation, z1 @ rotation, labels, 0.5), expected)
    torch.testing.assert_close(supcon_terms(z0, z1, 90 - 7 * labels, 0.5), expected)


def test_low_temperatures_do_not_overflow() -> None:
    z0, z1, labels = _batch(8, 4)
    assert supcon_terms(z0.float(), z1.float(), labels, 1e-3)["loss"].isfinite()


def test_the_loss_follows_the_labels() -> None:
    method = SupervisedContrastive(Config(), build_backbone(Backbone(depth=1, width=4), 32), 5)
    views = [torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    losses = [method(views, torch.tensor(labels))[0]["loss"] for labels in ([0, 0, 1, 1], [0, 1, 0, 1])]
    assert losses[0] != losses[1]
