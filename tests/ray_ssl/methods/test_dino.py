"""DINO's loss equals equations 1 and 3 of arXiv 2104.14294; centre, temperature and teacher move as they should."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.config import PretrainConfig, ViewConfig
from ray_ssl.methods.dino import DINO, Config, dino_terms, prototype_logits, teacher_temperature

SHAPES = [(2, 2, 2), (5, 2, 3), (3, 4, 7), (8, 6, 16)]  # images, views, prototypes


def _logits(num_images: int, num_views: int, num_prototypes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Student [N, V, K], teacher [N, 2, K], centre [K]."""
    generator = torch.Generator().manual_seed(0)
    shapes = (num_images, num_views, num_prototypes), (num_images, 2, num_prototypes), (num_prototypes,)
    student, teacher, centre = (torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes)
    return student, teacher, centre / 3


def _method(**options: Any) -> DINO:
    torch.manual_seed(0)
    small = {"projector_width": 16, "embedding_dim": 8, "num_prototypes": 6} | options
    return DINO(Config.model_validate(small), build_backbone(Backbone(depth=1, width=8), 32), 5).double()


def _views(sizes: tuple[int, ...] = (32, 32)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(6, 3, size, size, dtype=torch.float64, generator=generator) for size in sizes]


def _softmax(row: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(x / temperature) for x in row]
    return [e / sum(exponentials) for e in exponentials]


def _equation(student: Tensor, teacher: Tensor, centre: Tensor, tau_s: float, tau_t: float) -> float:
    """Mean over pairs of views and images of -sum P_t log P_s, in plain Python."""
    total, num_terms = 0.0, 0
    for image in range(len(student)):
        for t in range(2):
            for s in range(student.shape[1]):
                if s != t:
                    shifted = [x - c for x, c in zip(teacher[image, t].tolist(), centre.tolist(), strict=True)]
                    p_t, p_s = _softmax(shifted, tau_t), _softmax(student[image, s].tolist(), tau_s)
                    total -= sum(a * math.log(b) for a, b in zip(p_t, p_s, strict=True))
                    num_terms += 1
    return total / num_terms


def test_lightlys_cifar_values_are_the_defaults() -> None:
    config = PretrainConfig.from_dict({"method": {"name": "dino"}})
    method = config.method
    assert isinstance(method, Config)
    assert (method.projector_width, method.embedding_dim, method.num_prototypes) == (2048, 256, 2048)
    assert (method.temperature, method.teacher_momentum, method.centre_momentum) == (0.1, 0.99, 0.9)
    assert (config.optimiser.learning_rate, config.optimiser.weight_decay) == (0.06, 5e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperatures", [(0.5, 0.2), (1.0, 1.0)])
def test_equals_the_papers_equations(shape: tuple[int, int, int], temperatures: tuple[float, float]) -> None:
    student, teacher, centre = _logits(*shape)
    terms = dino_terms(student, teacher, centre, *temperatures)
    assert terms["loss"].item() == pytest.approx(_equation(student, teacher, centre, *temperatures))


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_lightly(shape: tuple[int, int, int]) -> None:
    student, teacher, centre = _logits(*shape)
    reference = pytest.importorskip("lightly.loss").DINOLoss(shape[2], teacher_temp=0.04, student_temp=0.1)
    reference.center = centre.view(1, 1, -1)
    expected = reference(list(teacher.unbind(1)), list(student.unbind(1)))
    torch.testing.assert_close(dino_terms(student, teacher, centre, 0.1, 0.04)["loss"], expected)


def test_gradient_reaches_the_student_alone() -> None:
    student, teacher, centre = (tensor.requires_grad_() for tensor in _logits(3, 3, 4))
    assert torch.autograd.gradcheck(
        lambda s: dino_terms(s, teacher.detach(), centre.detach(), 0.5, 0.2)["loss"], (student,)
    )
    dino_terms(student, teacher, centre, 0.5, 0.2)["loss"].backward()
    assert teacher.grad is None
    assert centre.grad is None


def test_uniform_collapse_costs_the_whole_entropy() -> None:
    constant = torch.ones(5, 2, 7, dtype=torch.float64)
    terms = {name: t.item() for name, t in dino_terms(constant, constant, constant[0, 0], 0.1, 0.04).items()}
    expected = {"loss": math.log(7), "entropy": math.log(7), "divergence": 0.0, "mean_entropy": math.log(7)}
    assert terms == pytest.approx(expected, abs=1e-12)


def test_collapse_to_one_prototype_and_one_prototype_an_image_differ_in_the_mean_entropy() -> None:
    own = 9 * torch.eye(4, dtype=torch.float64)[:, None].expand(4, 2, 4)
    one = own[:1].expand(4, 2, 4)
    for logits, mean_entropy in ((own, math.log(4)), (one, 0.0)):
        terms = dino_terms(logits, logits, torch.zeros(4, dtype=torch.float64), 0.1, 0.04)
        assert terms["loss"].item() == pytest.approx(0, abs=1e-9)
        assert terms["mean_entropy"].item() == pytest.approx(mean_entropy, abs=1e-9)


def test_a_lower_teacher_temperature_sharpens() -> None:
    student, teacher, centre = _logits(5, 2, 6)
    entropies = [dino_terms(student, teacher, centre, 0.1, tau)["entropy"].item() for tau in (1.0, 0.1, 0.01)]
    assert entropies == sorted(entropies, reverse=True)


def test_shifts_and_order_change_nothing() -> None:
    student, teacher, centre = _logits(6, 4, 5)
    expected = dino_terms(student, teacher, centre, 0.5, 0.2)
    images, prototypes = torch.tensor([3, 1, 0, 5, 4, 2]), torch.tensor([4, 2, 0, 1, 3])
    for changed in (
        (student + 3, teacher + 2, centre - 7),
        (student, teacher + centre, 2 * centre),
        (student[images], teacher[images], centre),
        (student[..., prototypes], teacher[..., prototypes], centre[prototypes]),
        (student[:, [1, 0, 3, 2]], teacher.flip(1), centre),
    ):
        torch.testing.assert_close(dino_terms(*changed, 0.5, 0.2), expected)


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.04), (0.1, 0.055), (0.2, 0.07), (1.0, 0.07)])
def test_the_teachers_temperature_rises_linearly_and_stays(progress: float, expected: float) -> None:
    config = Config(initial_teacher_temperature=0.04, teacher_temperature=0.07, teacher_warmup=0.2)
    assert teacher_temperature(config, torch.tensor(progress)).item() == pytest.approx(expected)


def test_without_warm_up_the_teachers_temperature_is_final_at_once() -> None:
    config = Config(initial_teacher_temperature=0.04, teacher_temperature=0.07, teacher_warmup=0)
    assert teacher_temperature(config, torch.tensor(0.0)).item() == pytest.approx(0.07)


def test_the_loss_uses_the_temperature_of_the_progress() -> None:
    method = _method(temperature=0.6, initial_teacher_temperature=0.04, teacher_temperature=0.5, teacher_warmup=0.5)
    outputs = method.embed(_views(), torch.zeros(6))
    entropies = []
    for progress in (0.0, 0.25, 0.5):
        method.progress.fill_(progress)
        entropies.append(method.terms(outputs)["entropy"].item())
    assert entropies == sorted(entropies)
    assert entropies[0] < entropies[2]


def test_prototypes_are_a_weight_normalised_layer_of_gain_one() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 6, bias=False).double())
    with torch.no_grad():
        layer.parametrizations.weight.original0.fill_(1)  # type: ignore[union-attr, operator]
    direction: Tensor = layer.parametrizations.weight.original1  # type: ignore[union-attr, assignment]
    ours = direction.detach().clone().requires_grad_()
    z = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected, logits = layer(normalize(z)), prototype_logits(3 * z, ours)
    torch.testing.assert_close(logits, expected)
    expected.square().sum().backward()
    logits.square().sum().backward()
    torch.testing.assert_close(ours.grad, direction.grad)
    torch.testing.assert_close(prototype_logits(z, 5 * ours), expected)


def test_the_teacher_sees_full_views_alone() -> None:
    method, sizes = _method(num_small_crops=2), (32, 32, 16, 16)
    assert [plan.size for plan in method.views(ViewConfig(), 32)] == list(sizes)
    views = _views(sizes)
    outputs = method.embed(views, torch.zeros(6))
    assert outputs["others"].shape == (6, 3, 8)
    assert outputs["teacher"].shape == (6, 2, 8)
    others = method.embed([*views[:2], *(1 - view for view in views[2:])], torch.zeros(6))
    assert torch.equal(outputs["teacher"], others["teacher"])
    assert not torch.allclose(outputs["others"][:, 1:], others["others"][:, 1:])


def test_the_centre_moves_towards_the_mean_of_the_teachers_outputs_before_the_step() -> None:
    method = _method(centre_momentum=0.7)
    outputs = method.embed(_views(), torch.zeros(6))
    old = torch.arange(6, dtype=torch.float64)
    method.centre.copy_(old)
    prototypes = normalize(method.teacher_prototypes.weight)  # type: ignore[arg-type]
    logits = torch.stack([normalize(z) @ prototypes.T for z in outputs["teacher"].unbind(1)])
    with torch.no_grad():
        method.prototypes.weight.add_(1)  # what the teacher follows later does not count yet
        method.after_step(outputs, 0.5)
    torch.testing.assert_close(method.centre, 0.7 * old + 0.3 * logits.mean((0, 1)))
    assert method.progress == 0.5


def test_the_centre_equals_lightlys_after_two_steps() -> None:
    reference = pytest.importorskip("lightly.loss").DINOLoss(6, center_momentum=0.9).double()
    method = _method(teacher_momentum=1.0)
    prototypes: Tensor = method.teacher_prototypes.weight  # type: ignore[assignment]
    for _ in range(2):
        outputs = {name: tensor.detach() for name, tensor in method.embed(_views(), torch.zeros(6)).items()}
        reference.update_center(prototype_logits(outputs["teacher"], prototypes).transpose(0, 1))
        method.after_step(outputs, 0.5)
    torch.testing.assert_close(method.centre, reference.center.view(-1))


def test_the_teacher_and_its_prototypes_follow_with_rising_momentum() -> None:
    method = _method(teacher_momentum=0.9)
    student = [*method.backbone.parameters(), *method.projector.parameters(), *method.prototypes.parameters()]
    teacher = [*method.teacher.parameters(), *method.teacher_prototypes.parameters()]
    assert not any(p.requires_grad for p in teacher)
    outputs = {name: tensor.detach() for name, tensor in method.embed(_views(), torch.zeros(6)).items()}
    with torch.no_grad():
        for theirs, ours in zip(teacher, student, strict=True):
            assert torch.equal(theirs, ours)
            ours.add_(torch.rand_like(ours))
        old = [theirs.clone() for theirs in teacher]
        method.after_step(outputs, 0.5)
    for theirs, ours, before in zip(teacher, student, old, strict=True):
        torch.testing.assert_close(theirs, 0.95 * before + 0.05 * ours)


@pytest.mark.parametrize(("progress", "frozen"), [(0.0, True), (0.09, True), (0.1, False), (0.9, False)])
def test_prototypes_are_frozen_at_the_start(progress: float, frozen: bool) -> None:
    method = _method(freeze_fraction=0.1)
    method.progress.fill_(progress)
    method.terms(method.embed(_views(), torch.zeros(6)))["loss"].backward()
    gradient = method.prototypes.weight.grad
    assert gradient is not None
    assert bool((gradient == 0).all()) == frozen
    assert all(p.grad is not None and p.grad.any() for p in method.projector.parameters())


def test_weight_decay_does_not_move_frozen_prototypes() -> None:
    method = _method(freeze_fraction=0.1)
    before = normalize(method.prototypes.weight.detach())
    optimiser = torch.optim.SGD([method.prototypes.weight], lr=0.1, momentum=0.9, weight_decay=0.5)
    for _ in range(3):
        optimiser.zero_grad()
        method.terms(method.embed(_views(), torch.zeros(6)))["loss"].backward()
        optimiser.step()
    torch.testing.assert_close(normalize(method.prototypes.weight.detach()), before)
