"""MoCo v3's loss equals algorithm 1 of arXiv 2104.02057; the teacher follows with a rising momentum."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.methods.moco_v3 import Config, MoCoV3, moco_v3_terms

SHAPES = [(2, 2), (5, 3), (3, 7), (16, 64)]
SMALL = Config(projector_width=16, embedding_dim=8, predictor_width=4, teacher_momentum=0.9)


def _four(num_images: int, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, num_images, dim, dtype=torch.float64, generator=generator).unbind()  # type: ignore[return-value]


def _method() -> MoCoV3:
    torch.manual_seed(0)
    return MoCoV3(SMALL, build_backbone(Backbone(depth=1, width=8), 32), 5).double()


def _views(num_images: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(num_images, 3, 32, 32, dtype=torch.float64, generator=generator) for _ in range(2)]


def _contrast(queries: list[list[float]], keys: list[list[float]], tau: float) -> tuple[float, float]:
    """2 tau times the mean cross entropy of algorithm 1's ctr(q, k), split, in plain Python."""

    def similarity(a: list[float], b: list[float]) -> float:
        return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    invariance = regularisation = 0.0
    for i, query in enumerate(queries):
        invariance -= similarity(query, keys[i]) / tau
        regularisation += math.log(sum(math.exp(similarity(query, key) / tau) for key in keys))
    return 2 * tau * invariance / len(queries), 2 * tau * regularisation / len(queries)


def test_solo_learns_cifar_values_are_the_defaults() -> None:
    config = Config()
    assert (config.temperature, config.teacher_momentum) == (0.2, 0.99)
    assert (config.projector_width, config.embedding_dim, config.predictor_width) == (4096, 256, 4096)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_equals_the_papers_algorithm(shape: tuple[int, int], temperature: float) -> None:
    q0, q1, k0, k1 = _four(*shape)
    ways = _contrast(q0.tolist(), k1.tolist(), temperature), _contrast(q1.tolist(), k0.tolist(), temperature)
    invariance, regularisation = (a + b for a, b in zip(*ways, strict=True))
    terms = {name: value.item() for name, value in moco_v3_terms(q0, q1, k0, k1, temperature).items()}
    expected = {"loss": invariance + regularisation, "invariance": invariance, "regularisation": regularisation}
    assert terms == pytest.approx(expected)


def test_gradient() -> None:
    four = tuple(rows.requires_grad_() for rows in _four(4, 3))
    assert torch.autograd.gradcheck(lambda *rows: moco_v3_terms(*rows, temperature=0.5)["loss"], four)


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_known_values(temperature: float) -> None:
    """All alike: a guess among N. Queries on their keys, keys orthogonal: 1 against zeros. Invariance: -4 at best."""
    ones, axes = torch.ones(5, 4, dtype=torch.float64), torch.eye(5, dtype=torch.float64)
    guess = moco_v3_terms(ones, ones, ones, ones, temperature)
    assert guess["loss"].item() == pytest.approx(4 * temperature * math.log(5))
    terms = moco_v3_terms(axes, axes, axes, axes, temperature)
    assert terms["invariance"].item() == pytest.approx(-4)
    assert terms["regularisation"].item() == pytest.approx(4 * temperature * math.log(math.exp(1 / temperature) + 4))


def test_the_scale_keeps_the_pull_on_a_pair_independent_of_temperature() -> None:
    q0, q1, k0, k1 = _four(5, 3)
    warm, cold = (moco_v3_terms(q0, q1, k0, k1, tau)["invariance"] for tau in (1.0, 0.1))
    torch.testing.assert_close(warm, cold)


def test_order_of_images_and_lengths_change_nothing() -> None:
    q0, q1, k0, k1 = _four(6, 4)
    expected = moco_v3_terms(q0, q1, k0, k1, 0.2)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(moco_v3_terms(q0[order], q1[order], k0[order], k1[order], 0.2), expected)
    torch.testing.assert_close(moco_v3_terms(3 * q0, q1 / 2, k0, 5 * k1, 0.2), expected)
    torch.testing.assert_close(moco_v3_terms(q1, q0, k1, k0, 0.2), expected)


def test_queries_come_from_the_student_and_keys_from_the_teacher() -> None:
    method = _method().eval()
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.mul_(1.5)
    outputs = method.embed(_views(), torch.zeros(6))
    for view, images in enumerate(_views()):
        z = method.projector(method.backbone(images))
        torch.testing.assert_close(outputs[f"query{view}"], method.predictor(z))
        torch.testing.assert_close(outputs[f"key{view}"], method.teacher(images))
        assert not outputs[f"key{view}"].requires_grad
    torch.testing.assert_close(outputs["z"], method.projector(method.backbone(_views()[0])))
    expected = moco_v3_terms(*(outputs[name] for name in ("query0", "query1", "key0", "key1")), temperature=0.2)
    assert method.terms(outputs) == expected


def test_before_the_first_step_keys_are_the_students_embeddings() -> None:
    method = _method()
    outputs = method.embed(_views(), torch.zeros(6))
    torch.testing.assert_close(outputs["key0"], outputs["z"])


@pytest.mark.parametrize(("progress", "momentum"), [(0.0, 0.9), (0.5, 0.95), (1.0, 1.0)])
def test_the_teacher_follows_backbone_and_projector(progress: float, momentum: float) -> None:
    method = _method()
    old = [p.clone() for p in method.teacher.parameters()]
    student = [*method.backbone.parameters(), *method.projector.parameters()]
    with torch.no_grad():
        for p in student:
            p.add_(1)
    method.after_step({}, progress)
    for p, before, after in zip(method.teacher.parameters(), old, student, strict=True):
        torch.testing.assert_close(p.data, momentum * before + (1 - momentum) * after)
