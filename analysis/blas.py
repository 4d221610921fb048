"""Products of matrices on a CPU, by NumPy's BLAS.

torch's is MKL, which on AMD's processors does without their widest instructions: NumPy's OpenBLAS took half the time
there (Zen 5, one thread, float32 and float64; `python -m tests.benchmarks.matmul`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """Returns left [N, D] times right [D, K], of one dtype, on their device; nothing is differentiated."""
    if left.device.type != "cpu":
        return left @ right
    return torch.from_numpy(left.numpy() @ right.numpy())
