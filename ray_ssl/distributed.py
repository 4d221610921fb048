"""The only collectives of the project.

The contract: every worker derives the same loss from gathered tensors, and DDP averages the gradients of the
parameters over the workers. With `gather` and `synchronise_batch_norm` below, N workers then compute the loss,
gradients and running statistics of one worker that holds the whole batch. Outside `torch.distributed`
everything here is the identity.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel


class World(NamedTuple):
    """This worker's place among the `size` workers of a trial."""

    rank: int
    size: int


def world() -> World:
    """Returns this worker's rank and the number of workers; (0, 1) outside `torch.distributed`."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World(0, 1)


def barrier() -> None:
    """Waits until every worker is here."""
    if world().size > 1:
        dist.barrier()


class AnyWorker:
    """Whether any worker says yes; every worker must ask equally often.

    With several workers the answer is that to the question before, so that no GPU waits for it.

    Args:
        device: This worker's device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._answer: Tensor | None = None

    def __call__(self, mine: bool) -> bool:
        """Returns whether any worker says yes; this one says `mine`."""
        if world().size == 1:
            return mine
        before, self._answer = self._answer, torch.tensor(float(mine), device=self._device)
        dist.all_reduce(self._answer, dist.ReduceOp.MAX)
        return before is not None and bool(before.item())


def gather(tensor: Tensor) -> Tensor:
    """Returns the rows of all workers in rank order, with gradient.

    Args:
        tensor: [B, ...], any dtype, of the same shape on every worker.

    Returns:
        [workers B, ...], equal on every worker. Its gradient is that of one process under the module's
        contract: this worker's rows of it, times the number of workers to undo DDP's average.
    """
    return tensor if world().size == 1 else _Gather.apply(tensor)  # type: ignore[return-value]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return torch.cat(_all_gather(tensor))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        rank, size = world()
        return gradient.chunk(size)[rank] * size


def _all_gather(tensor: Tensor) -> list[Tensor]:
    tensor = tensor.contiguous()
    received = [torch.empty_like(tensor) for _ in range(world().size)]
    dist.all_gather(received, tensor)
    return received


def wrap_ddp(method: nn.Module, device: torch.device) -> nn.Module:
    """Returns `method` in DistributedDataParallel, or `method` itself for one process.

    Buffers are not broadcast before every forward pass: as functions of gathered tensors and global statistics
    they are equal everywhere.

    Args:
        method: Already on `device`, its batch norms synchronised.
        device: This worker's device.
    """
    if world().size == 1:
        return method
    device_ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(method, device_ids=device_ids, forward_sync_buffers=False)


def synchronise_batch_norm(module: nn.Module) -> nn.Module:
    """Returns `module` with every BatchNorm replaced by one that sees the global batch.

    Call it when the module is on its device: on CUDA these are torch's SyncBatchNorm, elsewhere our own. Names,
    parameters and buffers stay the same objects, so state dicts are interchangeable. No-op for one process.
    """
    if world().size == 1:
        return module
    if any(t.is_cuda for t in (*module.parameters(), *module.buffers())):
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    return _replace_batch_norm(module)


def _replace_batch_norm(module: nn.Module) -> nn.Module:
    if isinstance(module, _BatchNorm):
        synchronised = _SynchronisedBatchNorm(module.num_features)
        synchronised.__dict__.update(module.__dict__)
        return synchronised
    for name, child in module.named_children():
        setattr(module, name, _replace_batch_norm(child))
    return module


class _SynchronisedBatchNorm(_BatchNorm):
    """BatchNorm over the rows of all workers, [B, C, ...]; statistics in fp32 whatever the input's precision.

    Evaluation uses no collective, so that one worker can evaluate alone.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            stored = self.running_mean, self.running_var
            return batch_norm(input, *stored, self.weight, self.bias, training=stored[0] is None, eps=self.eps)
        mean, variance, count = _global_statistics(input)
        if self.running_mean is not None:
            self._update_running_statistics(mean, variance * (count / (count - 1)))
        weight = self.weight if self.affine else torch.ones_like(mean)
        bias = self.bias if self.affine else torch.zeros_like(mean)
        return _Normalise.apply(input, weight, bias, mean, variance, count, self.eps)  # type: ignore[return-value]

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(unbiased_variance.to(self.running_var.dtype), momentum)


@torch.no_grad()
def _global_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [C], biased variance [C] and count [C] over all workers, at least in fp32.

    Workers exchange (mean, variance, count), combined as by Chan et al. 1979: unlike sums of squares, this does
    not cancel where the mean is large. Workers may differ in rows.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean, variance = torch.batch_norm_update_stats(wide, None, None, 0.0)  # torch's fast kernel; variance is biased
    local = torch.stack([mean, variance, torch.full_like(mean, x.numel() / x.shape[1])])
    means, variances, counts = torch.stack(_all_gather(local), dim=1)  # each [workers, C]
    count = counts.sum(0)
    mean = (counts * means).sum(0) / count
    return mean, (counts * (variances + (means - mean).square())).sum(0) / count, count


class _Normalise(torch.autograd.Function):
    """weight (x - mean) / sqrt(variance + eps) + bias; the gradient goes through the global statistics too.

    With xhat the normalised input and n the global count,
    dx = weight / sqrt(variance + eps) (dy - sum(dy) / n - xhat sum(dy xhat) / n), where the sums, which are also
    the gradients of bias and weight, run over all workers. The first summand is batch norm's gradient with
    constant statistics.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        return batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, mean, variance, count = ctx.saved_tensors
        dx, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([dweight, dbias])
        dist.all_reduce(sums)
        inverse_std = (variance + ctx.eps).rsqrt()
        scale = weight * inverse_std / count
        shape = (1, -1) + (1,) * (x.ndim - 2)
        slope, offset = (scale * inverse_std * sums[0]).view(shape), (scale * sums[1]).view(shape)
        dx -= (x - mean.view(shape)) * slope + offset
        return dx, dweight, dbias, None, None, None, None
