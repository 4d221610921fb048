"""BYOL's loss equals equation 2 of arXiv 2006.07733 with its symmetric sum; the teacher follows the student."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.config import PretrainConfig
from ray_ssl.methods.byol import BYOL, Config, byol_terms

SHAPES = [(2, 2), (5, 3), (3, 7), (16, 64)]
SMALL = Config(projector_width=16, embedding_dim=8, predictor_width=4, teacher_momentum=0.9)


def _four(num_images: int, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, num_images, dim, dtype=torch.float64, generator=generator).unbind()  # type: ignore[return-value]


def _method() -> BYOL:
    torch.manual_seed(0)
    return BYOL(SMALL, build_backbone(Backbone(depth=1, width=8), 32), 5).double()


def _views() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(6, 3, 32, 32, dtype=torch.float64, generator=generator) for _ in range(2)]


def _equation(p: list[list[float]], z: list[list[float]]) -> float:
    """Mean over images of equation 2, in plain Python."""
    total = 0.0
    for prediction, target in zip(p, z, strict=True):
        lengths = math.hypot(*prediction), math.hypot(*target)
        total += sum((a / lengths[0] - b / lengths[1]) ** 2 for a, b in zip(prediction, target, strict=True))
    return total / len(p)


def test_lightlys_cifar_values_are_the_defaults() -> None:
    config = Config()
    assert (config.projector_width, config.embedding_dim, config.predictor_width) == (1024, 256, 1024)
    assert config.teacher_momentum == 0.99


def test_the_optimiser_is_solo_learns() -> None:
    options = PretrainConfig.from_dict({"method": {"name": "byol"}}).optimiser
    assert (options.optimiser, options.weight_decay, options.trust_coefficient) == ("lars", 1e-5, 0.02)
    assert options.learning_rate * 256 / 128 == 1.0


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_papers_equation(shape: tuple[int, int]) -> None:
    p0, p1, t0, t1 = _four(*shape)
    expected = _equation(p0.tolist(), t1.tolist()) + _equation(p1.tolist(), t0.tolist())
    assert byol_terms(p0, p1, t0, t1)["loss"].item() == pytest.approx(expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_four_times_lightlys_up_to_a_constant(shape: tuple[int, int]) -> None:
    reference = pytest.importorskip("lightly.loss").NegativeCosineSimilarity()
    p0, p1, t0, t1 = _four(*shape)
    expected = 4 + 4 * (reference(p0, t1) + reference(p1, t0)) / 2
    torch.testing.assert_close(byol_terms(p0, p1, t0, t1)["loss"], expected)


def test_gradient_reaches_predictions_and_no_target() -> None:
    p0, p1, t0, t1 = (tensor.requires_grad_() for tensor in _four(4, 3))
    assert torch.autograd.gradcheck(lambda a, b: byol_terms(a, b, t0.detach(), t1.detach())["loss"], (p0, p1))
    byol_terms(p0, p1, t0, t1)["loss"].backward()
    assert t0.grad is None
    assert t1.grad is None


def test_closed_forms() -> None:
    """Equal directions cost 0 whatever their length, orthogonal ones 4, opposite ones 8; collapse costs nothing."""
    e = torch.eye(4, dtype=torch.float64)
    assert byol_terms(2 * e, e / 3, e, e)["loss"].item() == pytest.approx(0)
    assert byol_terms(e, e, e.roll(1, 0), e.roll(1, 0))["loss"].item() == pytest.approx(4)
    assert byol_terms(e, e, -e, -e)["loss"].item() == pytest.approx(8)
    same = torch.ones(4, 3, dtype=torch.float64)
    assert byol_terms(same, same, same, same)["loss"].item() == pytest.approx(0)


def test_lengths_order_views_and_rotation_change_nothing() -> None:
    p0, p1, t0, t1 = _four(6, 4)
    expected = byol_terms(p0, p1, t0, t1)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(_four(4, 4)[0]).Q
    torch.testing.assert_close(byol_terms(3 * p0, p1 / 7, 2 * t0, t1), expected)
    torch.testing.assert_close(byol_terms(p0[order], p1[order], t0[order], t1[order]), expected)
    torch.testing.assert_close(byol_terms(p1, p0, t1, t0), expected)
    torch.testing.assert_close(byol_terms(*(tensor @ rotation for tensor in (p0, p1, t0, t1))), expected)


def test_the_student_predicts_and_the_teacher_does_not() -> None:
    method, (x0, x1) = _method().eval(), _views()
    with torch.no_grad():
        method.teacher[0].stem[0].weight.mul_(1.5)  # type: ignore[index]
        method.teacher[1][0].weight.add_(0.1)  # type: ignore[index]
        outputs = method.embed([x0, x1], torch.zeros(6))
        torch.testing.assert_close(outputs["z1"], method.projector(method.backbone(x1)))
        torch.testing.assert_close(outputs["prediction0"], method.predictor(outputs["z"]))
        torch.testing.assert_close(outputs["target1"], method.teacher(x1))
        assert not torch.allclose(outputs["target1"], outputs["z1"])
        terms = method.terms(outputs)
    names = ("prediction0", "prediction1", "target0", "target1")
    torch.testing.assert_close(terms, byol_terms(*(outputs[name] for name in names)))


def test_the_teacher_starts_as_the_student_and_follows_with_rising_momentum() -> None:
    method = _method()
    assert not any(p.requires_grad for p in method.teacher.parameters())
    student = [*method.backbone.parameters(), *method.projector.parameters()]
    teacher = list(method.teacher.parameters())
    for theirs, ours in zip(teacher, student, strict=True):
        assert torch.equal(theirs, ours)
    with torch.no_grad():
        for ours in student:
            ours.add_(torch.rand_like(ours))
    old = [theirs.clone() for theirs in teacher]
    method.after_step({}, 0.5)  # halfway: 1 - (1 - 0.9) / 2
    for theirs, ours, before in zip(teacher, student, old, strict=True):
        torch.testing.assert_close(theirs, 0.95 * before + 0.05 * ours)
    old = [theirs.clone() for theirs in teacher]
    method.after_step({}, 1.0)
    assert all(torch.equal(theirs, before) for theirs, before in zip(teacher, old, strict=True))
