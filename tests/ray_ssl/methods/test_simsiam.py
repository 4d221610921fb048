"""SimSiam's loss equals equations 1-4 of arXiv 2011.10566; the gradient stops at the embeddings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.config import PretrainConfig
from ray_ssl.methods.simsiam import Config, SimSiam, simsiam_terms

SHAPES = [(2, 2), (5, 3), (3, 7), (16, 64)]


def _four(num_images: int, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, num_images, dim, dtype=torch.float64, generator=generator).unbind()  # type: ignore[return-value]


def _method() -> SimSiam:
    torch.manual_seed(0)
    config = Config(projector_width=16, embedding_dim=8, predictor_width=4)
    return SimSiam(config, build_backbone(Backbone(depth=1, width=8), 32), 5).double()


def _views() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(6, 3, 32, 32, dtype=torch.float64, generator=generator) for _ in range(2)]


def _similarity(p: list[list[float]], z: list[list[float]]) -> float:
    """Mean cosine of rows, in plain Python."""
    rows = zip(p, z, strict=True)
    return sum(sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b) for a, b in rows) / len(
        p
    )


def test_widths_are_the_papers_and_the_optimiser_is_solo_learns() -> None:
    config = PretrainConfig.from_dict({"method": {"name": "simsiam"}})
    method = config.method
    assert isinstance(method, Config)
    assert (method.projector_width, method.embedding_dim, method.predictor_width) == (2048, 2048, 512)
    assert (config.optimiser.optimiser, config.optimiser.weight_decay) == ("sgd", 1e-5)
    assert config.optimiser.learning_rate * 256 / 128 == 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_papers_equations(shape: tuple[int, int]) -> None:
    p0, p1, z0, z1 = _four(*shape)
    expected = -_similarity(p0.tolist(), z1.tolist()) / 2 - _similarity(p1.tolist(), z0.tolist()) / 2
    assert simsiam_terms(p0, p1, z0, z1)["loss"].item() == pytest.approx(expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_lightly(shape: tuple[int, int]) -> None:
    reference = pytest.importorskip("lightly.loss").NegativeCosineSimilarity()
    p0, p1, z0, z1 = _four(*shape)
    torch.testing.assert_close(simsiam_terms(p0, p1, z0, z1)["loss"], (reference(p0, z1) + reference(p1, z0)) / 2)


def test_gradient_reaches_predictions_and_stops_at_embeddings() -> None:
    p0, p1, z0, z1 = (tensor.requires_grad_() for tensor in _four(4, 3))
    assert torch.autograd.gradcheck(lambda a, b: simsiam_terms(a, b, z0.detach(), z1.detach())["loss"], (p0, p1))
    simsiam_terms(p0, p1, z0, z1)["loss"].backward()
    assert z0.grad is None
    assert z1.grad is None


def test_the_network_learns_through_its_predictions_alone() -> None:
    """Its gradients are those of the loss with the embeddings taken as constants."""
    method, views = _method(), _views()
    outputs = method.embed(views, torch.zeros(6))
    weights = list(method.parameters())
    ours = torch.autograd.grad(method.terms(outputs)["loss"], weights, retain_graph=True)
    constants = [outputs[name].detach().clone() for name in ("z", "z1")]
    expected = torch.autograd.grad(
        simsiam_terms(outputs["prediction0"], outputs["prediction1"], *constants)["loss"], weights
    )
    torch.testing.assert_close(ours, expected)
    assert all(g.any() for g in ours)


def test_closed_forms() -> None:
    """Equal directions are the minimum, -1, whatever their length; orthogonal ones give 0; collapse is a minimum."""
    e = torch.eye(4, dtype=torch.float64)
    assert simsiam_terms(2 * e, e / 3, e, 5 * e)["loss"].item() == pytest.approx(-1)
    assert simsiam_terms(e, e, e.roll(1, 0), e.roll(1, 0))["loss"].item() == pytest.approx(0)
    assert simsiam_terms(e, e, -e, -e)["loss"].item() == pytest.approx(1)
    same = torch.ones(4, 3, dtype=torch.float64)
    assert simsiam_terms(same, same, same, same)["loss"].item() == pytest.approx(-1)


def test_lengths_order_views_and_rotation_change_nothing() -> None:
    p0, p1, z0, z1 = _four(6, 4)
    expected = simsiam_terms(p0, p1, z0, z1)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(_four(4, 4)[0]).Q
    torch.testing.assert_close(simsiam_terms(3 * p0, p1 / 7, 2 * z0, z1), expected)
    torch.testing.assert_close(simsiam_terms(p0[order], p1[order], z0[order], z1[order]), expected)
    torch.testing.assert_close(simsiam_terms(p1, p0, z1, z0), expected)
    torch.testing.assert_close(simsiam_terms(*(tensor @ rotation for tensor in (p0, p1, z0, z1))), expected)


def test_two_layer_projector_ends_in_a_plain_batch_norm_and_the_predictor_in_a_linear_layer() -> None:
    method = _method()
    assert sum(isinstance(layer, nn.Linear) for layer in method.projector) == 2
    assert isinstance(method.predictor[-1], nn.Linear)
    outputs = method.embed(_views(), torch.zeros(6))
    z = torch.cat([outputs["z"], outputs["z1"]])
    torch.testing.assert_close(z.mean(0), torch.zeros(8, dtype=torch.float64))
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(8, dtype=torch.float64), rtol=1e-2, atol=0)


def test_predictions_come_from_the_view_of_their_number() -> None:
    method, (x0, x1) = _method().eval(), _views()
    outputs = method.embed([x0, x1], torch.zeros(6))
    for view, (x, z) in enumerate(((x0, "z"), (x1, "z1"))):
        torch.testing.assert_close(outputs[z], method.projector(method.backbone(x)))
        torch.testing.assert_close(outputs[f"prediction{view}"], method.predictor(outputs[z]))
