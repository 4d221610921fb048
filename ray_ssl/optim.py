"""Optimisers, parameter groups, the learning-rate schedule, and the optimiser's state as plain tensors."""
# pyright: reportPrivateImportUsage=false
# (torch._foreach_*: one kernel for all weights of a group; torch.optim itself is written with them.)

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn

from ray_ssl.config import OptimiserConfig, TrainingConfig

REFERENCE_BATCH_SIZE = 128
"""Learning rates are stated per this many images (arXiv 2305.15614, authors' code)."""

ADAMW_BETA2 = 0.999


class _Eager(torch.optim.Optimizer):
    """Without torch's wrappers that exclude an optimiser from `torch.compile`.

    They import the compiler when they are first used: one to two seconds in each process that trains. Nothing here is
    compiled.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


class SGD(_Eager, torch.optim.SGD):
    """torch's."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class AdamW(_Eager, torch.optim.AdamW):
    """torch's."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class LARS(_Eager):
    """Layer-wise adaptive rate scaling (arXiv 1708.03888, algorithm 1).

    The gradient of a tensor w, weight decay included, is scaled by eta |w| / (|g| + decay |w|); then comes SGD with
    momentum as in torch, the learning rate outside the velocity. Groups with `adapt=False` take plain SGD steps.

    Args:
        groups: Parameter groups, each with "adapt".
        lr: Learning rate.
        momentum: 0..1.
        weight_decay: Added to the gradient, in units of w.
        trust_coefficient: eta > 0.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "adapt": True}
        super().__init__(groups, defaults | {"trust_coefficient": trust_coefficient})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates all parameters that have a gradient."""
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if weights:
                self._step(weights, group)

    def _step(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        gradients: list[Tensor] = [p.grad for p in weights if p.grad is not None]
        steps = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
        if group["adapt"]:
            lengths, slopes = torch._foreach_norm(weights), torch._foreach_norm(gradients)
            trusts = [self._trust(*pair, group) for pair in zip(lengths, slopes, strict=True)]
            torch._foreach_mul_(steps, trusts)
        new = [p for p in weights if "momentum_buffer" not in self.state[p]]
        for p in new:
            self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        velocities = [self.state[p]["momentum_buffer"] for p in weights]
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, steps)
        torch._foreach_add_(weights, velocities, alpha=-group["lr"])

    @staticmethod
    def _trust(length: Tensor, slope: Tensor, group: dict[str, Any]) -> Tensor:
        """eta |w| / (|g| + decay |w|), or 1 where either norm is 0."""
        ratio = group["trust_coefficient"] * length / (slope + group["weight_decay"] * length)
        return torch.where((length > 0) & (slope > 0), ratio, torch.ones_like(ratio))


def build_optimiser(module: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """Returns the optimiser of all trainable parameters; biases and norms (tensors of one dimension) get no decay."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimiser == "lars":
        for group, adapt in zip(groups, (True, False), strict=True):
            group["adapt"] = adapt
        return LARS(groups, config.learning_rate, config.momentum, trust_coefficient=config.trust_coefficient)
    if config.optimiser == "adamw":
        return AdamW(groups, lr=config.learning_rate, betas=(config.momentum, ADAMW_BETA2), fused=True)
    return SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)


def learning_rate(step: int, num_steps: int, optimiser: OptimiserConfig, training: TrainingConfig) -> float:
    """Returns the learning rate of one step: linear warm-up, then cosine decay to 0.

    Args:
        step: 0 .. num_steps - 1.
    """
    peak = optimiser.learning_rate * training.global_batch_size / REFERENCE_BATCH_SIZE
    warmup_steps = round(training.warmup_fraction * num_steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, num_steps - warmup_steps)))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Sets the rate of all parameter groups."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def optimiser_tensors(optimiser: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """Returns the optimiser's state as tensors named "PARAMETER/SLOT"."""
    return {
        f"{name}/{slot}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, parameter in module.named_parameters()
        for slot, value in optimiser.state.get(parameter, {}).items()
        if value is not None
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Puts back what `optimiser_tensors` returned."""
    parameters = dict(module.named_parameters())
    for key, value in tensors.items():
        name, _, slot = key.rpartition("/")
        parameter = parameters[name]
        # Same memory layout as the parameter: a momentum buffer in another layout would be slower, and in
        # a fused kernel wrong.
        same_shape = value.shape == parameter.shape
        optimiser.state[parameter][slot] = (
            torch.empty_like(parameter).copy_(value) if same_shape else value.to(parameter.device)
        )
