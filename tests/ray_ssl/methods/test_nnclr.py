"""NNCLR's loss equals that of arXiv 2104.14548; the support set holds the newest embeddings of view 0."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.errors import UserError
from ray_ssl.methods.nnclr import NNCLR, Config, nearest, nnclr_terms

SHAPES = [(2, 2, 3), (5, 3, 8), (3, 7, 4), (16, 64, 32)]
SMALL = Config(projector_width=16, embedding_dim=8, predictor_width=4, queue_size=6)


def _vectors(num_images: int, dim: int, num_kept: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Embeddings and predictions of both views, and a support set."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4 * num_images, dim, dtype=torch.float64, generator=generator)
    support = torch.randn(num_kept, dim, dtype=torch.float64, generator=generator)
    return *rows.chunk(4), normalize(support, dim=1)  # type: ignore[return-value]


def _unit(row: list[float]) -> list[float]:
    return [x / math.hypot(*row) for x in row]


def _dot(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True))


def _equation(z: Tensor, predictions: Tensor, support: Tensor, tau: float) -> tuple[float, float, float]:
    """One direction, in plain Python: -log(exp(NN(z_i) p_i / tau) / sum over k of exp(NN(z_i) p_k / tau)), split.

    NN(z, Q) is the row of Q at the smallest Euclidean distance from the normalised z.
    """
    invariance = regularisation = similarity = 0.0
    unit = [_unit(p) for p in predictions.tolist()]
    for i, row in enumerate(z.tolist()):
        neighbour = min(support.tolist(), key=lambda q: math.dist(q, _unit(row)))
        similarity += _dot(neighbour, _unit(row))
        invariance -= _dot(neighbour, unit[i]) / tau
        regularisation += math.log(sum(math.exp(_dot(neighbour, p) / tau) for p in unit))
    n = len(z)
    return invariance / n, regularisation / n, similarity / n


def _method() -> NNCLR:
    torch.manual_seed(0)
    return NNCLR(SMALL, build_backbone(Backbone(depth=1, width=8), 32), 5).double()


def _views(num_images: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(num_images, 3, 32, 32, dtype=torch.float64, generator=generator) for _ in range(2)]


def test_published_cifar_values_are_the_defaults() -> None:
    config = Config()
    assert (config.temperature, config.queue_size) == (0.2, 4096)
    assert (config.projector_width, config.embedding_dim, config.predictor_width) == (2048, 256, 4096)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_equals_the_papers_equation_both_ways(shape: tuple[int, int, int], temperature: float) -> None:
    z0, z1, p0, p1, support = _vectors(*shape)
    ways = _equation(z0, p1, support, temperature), _equation(z1, p0, support, temperature)
    invariance, regularisation, similarity = ((a + b) / 2 for a, b in zip(*ways, strict=True))
    terms = {name: x.item() for name, x in nnclr_terms(z0, z1, p0, p1, support, temperature).items()}
    assert terms == pytest.approx(
        {
            "loss": invariance + regularisation,
            "invariance": invariance,
            "regularisation": regularisation,
            "neighbour_similarity": similarity,
        }
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_neighbours_equal_lightlys(shape: tuple[int, int, int]) -> None:
    modules = pytest.importorskip("lightly.models.modules")
    z, _, _, _, support = _vectors(*shape)
    bank = modules.NNMemoryBankModule(size=(shape[2], shape[1]))
    bank.bank = support
    assert torch.equal(nearest(z, support), bank(z, update=False))


def test_gradient_reaches_the_predictions_alone() -> None:
    z0, z1, p0, p1, support = (rows.requires_grad_() for rows in _vectors(4, 3, 6))
    assert torch.autograd.gradcheck(lambda a, b: nnclr_terms(z0, z1, a, b, support.detach(), 0.5)["loss"], (p0, p1))
    terms = nnclr_terms(z0, z1, p0, p1, support, 0.5)
    terms["loss"].backward()
    assert z0.grad is z1.grad is support.grad is None
    assert not terms["neighbour_similarity"].requires_grad


def test_known_values() -> None:
    """All alike: a guess among N. Own support rows and predictions on orthogonal axes: 1 against zeros."""
    ones = normalize(torch.ones(5, 4, dtype=torch.float64), dim=1)
    assert nnclr_terms(ones, ones, ones, ones, ones, 0.2)["loss"].item() == pytest.approx(math.log(5))
    axes = torch.eye(5, dtype=torch.float64)
    terms = nnclr_terms(axes, 3 * axes, axes, axes, axes.flip(0), 0.5)
    assert terms["neighbour_similarity"].item() == pytest.approx(1)
    assert terms["loss"].item() == pytest.approx(math.log(math.exp(2) + 4) - 2)


def test_order_of_images_and_of_the_support_change_nothing() -> None:
    z0, z1, p0, p1, support = _vectors(6, 4, 9)
    expected = nnclr_terms(z0, z1, p0, p1, support, 0.3)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    shuffled = nnclr_terms(z0[order], z1[order], p0[order], p1[order], support.flip(0), 0.3)
    torch.testing.assert_close(shuffled, expected)
    torch.testing.assert_close(nnclr_terms(z1, z0, p1, p0, support, 0.3), expected)


def test_predictions_come_from_the_embeddings() -> None:
    method = _method().eval()
    outputs = method.embed(_views(), torch.zeros(6))
    for view, (z, prediction) in enumerate((("z", "prediction0"), ("z1", "prediction1"))):
        torch.testing.assert_close(outputs[z], method.projector(method.backbone(_views()[view])))
        torch.testing.assert_close(outputs[prediction], method.predictor(outputs[z]))
    assert isinstance(method.projector[-1], nn.BatchNorm1d)


def test_the_support_set_gets_the_normalised_embeddings_of_view_0() -> None:
    method = _method()
    before = method.support.rows.clone()
    z = torch.randn(4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    method.after_step({"z": z, "z1": -z}, 0.5)
    torch.testing.assert_close(method.support.rows[:4], z / z.norm(dim=1, keepdim=True))
    assert torch.equal(method.support.rows[4:], before[4:])


def test_a_support_set_that_cannot_work_is_refused() -> None:
    Config(queue_size=512).check_fits(256, 1000)
    with pytest.raises(UserError, match="--queue-size 600 is not a multiple of --global-batch-size 256"):
        Config(queue_size=600).check_fits(256, 1000)
    with pytest.raises(UserError, match="--queue-size 4096 is more than the 1000 training images"):
        Config().check_fits(256, 1000)
