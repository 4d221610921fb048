"""Parameter groups, the optimiser, and the learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ray_ssl.config import OptimiserConfig, TrainingConfig

REFERENCE_BATCH_SIZE = 128
"""Learning rates are stated per this many images (arXiv 2305.15614, authors' code)."""


def build_optimiser(module: nn.Module, config: OptimiserConfig) -> torch.optim.SGD:
    """Returns SGD over all trainable parameters; biases and norms (tensors of one dimension) get no decay."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)


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
