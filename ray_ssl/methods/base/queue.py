"""A first-in, first-out store of embeddings of earlier batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ray_ssl.errors import UserError


class Queue(nn.Module):
    """The newest `size` embeddings; `rows` and its write position are buffers, so a checkpoint holds them.

    Args:
        size: Rows kept.
        dim: Length of a row.

    Attributes:
        rows: float [size, dim], at first random directions of length 1.
        position: int64 [], the row that is written next.
        filled: int64 [], how many rows hold embeddings of images, 0..size.
    """

    rows: Tensor
    position: Tensor
    filled: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("rows", normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, rows: Tensor) -> None:
        """Replaces the oldest rows by `rows` [N, dim] in their order; of more than `size` the last are kept."""
        size = len(self.rows)
        rows = rows[-size:]
        target = (self.position + torch.arange(len(rows), device=rows.device)) % size
        self.rows[target] = rows.to(self.rows.dtype)
        self.position.copy_((self.position + len(rows)) % size)
        self.filled.copy_((self.filled + len(rows)).clamp_max(size))


def check_queue(queue_size: int, global_batch_size: int, num_images: int) -> None:
    """Refuses a queue that batches do not fill evenly, or that would hold an image twice.

    Raises:
        UserError: With the flag and the arithmetic.
    """
    if queue_size % global_batch_size:
        near = max(global_batch_size, queue_size // global_batch_size * global_batch_size)
        raise UserError(
            f"--queue-size {queue_size} is not a multiple of --global-batch-size {global_batch_size}; {near} would be"
        )
    if queue_size > num_images:
        raise UserError(
            f"--queue-size {queue_size} is more than the {num_images} training images; at most "
            f"{num_images // global_batch_size * global_batch_size} fits"
        )
