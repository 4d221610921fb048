"""CPU seconds of the probes' matrix products by torch against those by NumPy's BLAS, which `analysis.blas` takes.

    python -m tests.benchmarks.matmul

Scores of 4096 images with 64 features and 500 or 100 classes, and the gradient from them; one thread, interleaved.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from threadpoolctl import threadpool_limits

from analysis.blas import matmul

NUM_ROUNDS = 15


def seconds(calls: list[Callable[[], object]]) -> list[float]:
    """Returns the least CPU seconds of each call, all of them taking turns."""
    best = [float("inf")] * len(calls)
    for _ in range(NUM_ROUNDS):
        for number, call in enumerate(calls):
            start = time.process_time()
            call()
            best[number] = min(best[number], time.process_time() - start)
    return best


def main() -> None:
    torch.set_num_threads(1)
    ratios = []
    with threadpool_limits(1):
        for dtype in (torch.float32, torch.float64):
            for num_classes in (500, 100):
                rows, weights = torch.randn(4096, 65, dtype=dtype), torch.randn(65, num_classes, dtype=dtype)
                for name, left, right in (("scores", rows, weights), ("gradient", rows.T, rows @ weights)):
                    theirs, ours = seconds([lambda a=left, b=right: a @ b, lambda a=left, b=right: matmul(a, b)])
                    ratios.append(theirs / ours)
                    print(f"{dtype} {name:8} {num_classes} classes: torch {1e3 * theirs:.2f} ms, NumPy "
                          f"{1e3 * ours:.2f} ms, {ratios[-1]:.1f} x")  # fmt: skip
    print(f"ratio {min(ratios):.1f} x to {max(ratios):.1f} x")


if __name__ == "__main__":
    main()
