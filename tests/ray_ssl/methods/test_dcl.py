"""DCL and DCLW equal the losses of arXiv 2110.06848."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.methods.dcl import DCL, Config, dcl_terms, pair_weights
from ray_ssl.methods.simclr import nt_xent_terms

SHAPES = [(2, 2), (5, 3), (3, 7), (16, 64)]


def _embeddings(num_images: int, dim: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z0 = torch.randn(num_images, dim, dtype=torch.float64, generator=generator)
    return z0, z0 + 0.5 * torch.randn(num_images, dim, dtype=torch.float64, generator=generator)


def _equation(z: tuple[list[list[float]], ...], tau: float, sigma: float | None) -> tuple[float, float]:
    """Mean over images i and views k of -w z_i^1 z_i^2 / tau and log sum over j != i, l of exp(z_i^k z_j^l / tau)."""

    def similarity(a: list[float], b: list[float]) -> float:
        return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    n = len(z[0])
    pairs = [similarity(a, b) for a, b in zip(*z, strict=True)]
    invariance = regularisation = 0.0
    for i in range(n):
        weight = 1.0
        if sigma is not None:
            weight = 2 - math.exp(pairs[i] / sigma) / (sum(math.exp(s / sigma) for s in pairs) / n)
        for k in range(2):
            invariance -= weight * pairs[i] / tau
            negatives = [z[view][j] for view in range(2) for j in range(n) if j != i]
            regularisation += math.log(sum(math.exp(similarity(z[k][i], other) / tau) for other in negatives))
    return invariance / (2 * n), regularisation / (2 * n)


def test_published_values_are_the_defaults() -> None:
    config = Config()
    assert (config.temperature, config.embedding_dim, config.weight_sigma, config.weighted) == (0.1, 128, 0.5, False)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("sigma", [None, 0.5, 2.0])
def test_equals_the_papers_equations(shape: tuple[int, int], temperature: float, sigma: float | None) -> None:
    z0, z1 = _embeddings(*shape)
    invariance, regularisation = _equation((z0.tolist(), z1.tolist()), temperature, sigma)
    terms = {name: value.item() for name, value in dcl_terms(z0, z1, temperature, sigma).items()}
    expected = {"loss": invariance + regularisation, "invariance": invariance, "regularisation": regularisation}
    assert terms == pytest.approx(expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_equals_lightly(shape: tuple[int, int], temperature: float) -> None:
    reference = pytest.importorskip("lightly.loss").DCLLoss(temperature)
    z0, z1 = _embeddings(*shape)
    torch.testing.assert_close(dcl_terms(z0, z1, temperature)["loss"], reference(z0, z1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.5, 2.0])
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")  # lightly's weights
def test_weighted_loss_and_gradient_equal_lightlys(shape: tuple[int, int], sigma: float) -> None:
    reference = pytest.importorskip("lightly.loss").DCLWLoss(0.1, sigma)
    z0, z1 = (z.requires_grad_() for z in _embeddings(*shape))
    ours, theirs = dcl_terms(z0, z1, 0.1, sigma)["loss"], reference(z0, z1)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, (z0, z1)), torch.autograd.grad(theirs, (z0, z1)))


def test_gradient() -> None:
    z0, z1 = (z.requires_grad_() for z in _embeddings(4, 3))
    assert torch.autograd.gradcheck(lambda a, b: dcl_terms(a, b, 0.5)["loss"], (z0, z1))


@pytest.mark.parametrize("num_images", [2, 5, 32])
def test_the_positive_pair_is_all_that_nt_xent_has_more(num_images: int) -> None:
    """Per view, exp(regularisation of NT-Xent) = exp(that of DCL) + exp(positive), here for equal rows."""
    z = torch.ones(num_images, 4, dtype=torch.float64)
    decoupled, coupled = dcl_terms(z, z, 0.5), nt_xent_terms(z, z, 0.5)
    assert decoupled["invariance"] == coupled["invariance"]
    assert decoupled["loss"].item() == pytest.approx(math.log(2 * num_images - 2))
    difference = coupled["regularisation"].exp() - decoupled["regularisation"].exp()
    assert difference.item() == pytest.approx(math.exp(2))


def test_orthonormal_embeddings() -> None:
    z = torch.eye(5, dtype=torch.float64)
    terms = dcl_terms(z, z, 0.5)
    assert terms["invariance"].item() == pytest.approx(-2)
    assert terms["regularisation"].item() == pytest.approx(math.log(8))


def test_the_pull_on_a_pair_does_not_fade_as_it_gets_close() -> None:
    """What decoupling is for: NT-Xent's gradient vanishes for a pair far easier than its negatives, DCL's does not."""
    pair = torch.tensor([[1.0, 0.1, 0], [-1, 0.1, 0]], dtype=torch.float64)
    z0 = pair.clone().requires_grad_()
    strengths = []
    for terms in (
        dcl_terms(z0, pair * torch.tensor([1, -1, 1]), 0.1),
        nt_xent_terms(z0, pair * torch.tensor([1, -1, 1]), 0.1),
    ):
        gradient = torch.autograd.grad(terms["loss"], z0)[0]
        strengths.append(gradient[:, 1].abs().max().item())
    assert strengths[0] > 1 > 1e-3 > strengths[1]


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_weights_average_to_one_and_fall_with_similarity(sigma: float) -> None:
    similarities = torch.linspace(-1, 1, 9, dtype=torch.float64)
    weights = pair_weights(similarities, sigma)
    assert weights.mean().item() == pytest.approx(1)
    assert weights.max() <= 2
    assert (weights.diff() < 0).all()
    torch.testing.assert_close(pair_weights(torch.full((6,), 0.3), sigma), torch.ones(6))


@pytest.mark.parametrize("sigma", [None, 0.5])
def test_lengths_order_and_rotation_change_nothing(sigma: float | None) -> None:
    z0, z1 = _embeddings(6, 4)
    expected = dcl_terms(z0, z1, 0.5, sigma)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(_embeddings(4, 4)[0]).Q
    for changed in ((3 * z0, z1 / 7), (z0[order], z1[order]), (z1, z0), (z0 @ rotation, z1 @ rotation)):
        torch.testing.assert_close(dcl_terms(*changed, 0.5, sigma), expected)


def test_low_temperatures_do_not_overflow() -> None:
    z0, z1 = (z.float() for z in _embeddings(8, 4))
    assert dcl_terms(z0, z1, 1e-3, 1e-3)["loss"].isfinite()


def test_the_option_turns_the_weights_on() -> None:
    z0, z1 = _embeddings(6, 4)
    backbone = build_backbone(Backbone(depth=1, width=4), 32)
    for weighted, sigma in ((False, None), (True, 0.3)):
        method = DCL(Config(embedding_dim=4, weighted=weighted, weight_sigma=0.3), backbone, 5)
        assert method.terms({"z": z0, "z1": z1}) == dcl_terms(z0, z1, 0.1, sigma)
