"""Optimisers: LARS against its paper's algorithm and lightly, decay on matrices alone, and state that comes back."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ray_ssl.config import OptimiserConfig
from ray_ssl.optim import LARS, build_optimiser, optimiser_tensors, restore_optimiser

NAMES = ["sgd", "lars", "adamw"]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)).double()


def train(module: nn.Module, optimiser: torch.optim.Optimizer, steps: range) -> dict[str, Tensor]:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(6, 3, 4, 4, dtype=torch.float64, generator=generator)
        optimiser.zero_grad()
        module(images).square().sum().backward()
        optimiser.step()
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def test_lars_is_its_papers_algorithm() -> None:
    """One tensor, two steps, numbers by hand: g + decay w, scaled by eta |w| / (|g| + decay |w|), then momentum."""
    w, velocity = [3.0, -4.0], [0.0, 0.0]
    parameter = nn.Parameter(torch.tensor([w], dtype=torch.float64))
    optimiser = LARS([{"params": [parameter]}], lr=0.5, momentum=0.9, weight_decay=0.1, trust_coefficient=0.02)
    for g in ([1.0, 2.0], [-2.0, 0.5]):
        trust = 0.02 * math.hypot(*w) / (math.hypot(*g) + 0.1 * math.hypot(*w))
        velocity = [0.9 * v + trust * (a + 0.1 * b) for v, a, b in zip(velocity, g, w, strict=True)]
        w = [b - 0.5 * v for b, v in zip(w, velocity, strict=True)]
        parameter.grad = torch.tensor([g], dtype=torch.float64)
        optimiser.step()
        assert parameter.tolist()[0] == pytest.approx(w)


def test_lars_equals_lightly() -> None:
    reference = pytest.importorskip("lightly.utils.lars").LARS
    ours, theirs = network(), network()
    lars = LARS([{"params": list(ours.parameters())}], lr=0.1, weight_decay=0.01, trust_coefficient=0.02)
    other = reference(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, trust_coefficient=0.02, eps=0)
    torch.testing.assert_close(train(ours, lars, range(4)), train(theirs, other, range(4)))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_others_are_torchs_bit_by_bit(name: str) -> None:
    config = OptimiserConfig(optimiser=name, learning_rate=0.01, weight_decay=0.1)  # type: ignore[arg-type]
    ours, theirs = network(), network()
    optimiser = build_optimiser(ours, config)
    kind = torch.optim.SGD if name == "sgd" else torch.optim.AdamW
    other = kind(optimiser_groups(theirs, optimiser), lr=1.0)  # the groups have rates of their own
    torch.testing.assert_close(train(ours, optimiser, range(4)), train(theirs, other, range(4)), rtol=0, atol=0)


def optimiser_groups(module: nn.Module, like: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The groups of another optimiser, of this module's parameters."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim == 1]
    return [dict(g, params=params) for g, params in zip(like.param_groups, (matrices, vectors), strict=True)]


def test_tensors_without_length_or_slope_take_plain_steps() -> None:
    zero, flat = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimiser = LARS([{"params": [zero, flat]}], lr=1.0, trust_coefficient=0.001)
    zero.grad, flat.grad = torch.ones(2, 2), torch.zeros(2, 2)
    optimiser.step()
    assert torch.equal(zero, -torch.ones(2, 2))
    assert torch.equal(flat, torch.ones(2, 2))


@pytest.mark.parametrize("name", NAMES)
def test_biases_and_norms_neither_decay_nor_adapt(name: str) -> None:
    module = network()
    optimiser = build_optimiser(module, OptimiserConfig(optimiser=name, weight_decay=0.5))  # type: ignore[arg-type]
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    adapt = {id(p): group.get("adapt") for group in optimiser.param_groups for p in group["params"]}
    for parameter in module.parameters():
        assert decay[id(parameter)] == (0.5 if parameter.ndim > 1 else 0)
        assert adapt[id(parameter)] == ((parameter.ndim > 1) if name == "lars" else None)


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_optimiser_goes_on_bit_by_bit(name: str) -> None:
    config = OptimiserConfig(optimiser=name, learning_rate=0.01)  # type: ignore[arg-type]
    whole = network()
    expected = train(whole, build_optimiser(whole, config), range(5))
    module = network()
    first = build_optimiser(module, config)
    train(module, first, range(2))
    state = {key: tensor.clone() for key, tensor in optimiser_tensors(first, module).items()}
    second = build_optimiser(module, config)
    restore_optimiser(second, module, state)
    torch.testing.assert_close(train(module, second, range(2, 5)), expected, rtol=0, atol=0)
