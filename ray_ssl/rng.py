"""Named, stateless random streams.

Every random number is a function of (seed, purpose, epoch, step), never of process history: there is
nothing to save and nothing to restore, and an interrupted run draws what an uninterrupted one draws.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream_seed(seed: int, purpose: str, epoch: int = 0, step: int = 0) -> int:
    """Returns a 63-bit seed that is a pure function of its arguments."""
    text = f"{seed}/{purpose}/{epoch}/{step}".encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 1


def torch_stream(
    seed: int, purpose: str, epoch: int = 0, step: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Returns a fresh torch generator for one purpose at one point of training."""
    import torch  # processes that decode images need none: it is most of their memory

    return torch.Generator(device).manual_seed(stream_seed(seed, purpose, epoch, step))


def seed_torch(seed: int, device: torch.device) -> None:
    """Seeds torch's own generators, as `torch.manual_seed` does, of the CPU and of a device.

    That one also seeds every kind of device that a process does not use, for which it writes down where it was called
    from: of a step of a small network it took a hundredth.
    """
    import torch

    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def numpy_stream(seed: int, purpose: str, epoch: int = 0, step: int = 0) -> np.random.Generator:
    """Returns a fresh NumPy generator for one purpose at one point of training."""
    return np.random.default_rng(stream_seed(seed, purpose, epoch, step))
