"""Threads of this process: what takes long is spread over layers, each computed by one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Found = TypeVar("Found")


def limit_threads(num_threads: int) -> None:
    """Lets torch compute with so many threads in this process, and NumPy's BLAS with one.

    Two pools that take turns wait for each other's spinning threads: with two threads each, on two busy cores, a probe
    took 18 times as long as with one.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, "blas")
    torch.set_num_threads(num_threads)


def in_threads(call: Callable[[Item], Found], items: Sequence[Item], at_once: int | None = None) -> list[Found]:
    """Returns what `call` returns of each item, in their order.

    Each call computes with one thread, whatever torch has, so that no number depends on how many there are.

    Args:
        call: What is computed.
        items: Of which.
        at_once: Calls that run at once at most; None: as many as torch computes with threads.

    Raises:
        Exception: What the first call to fail, in their order, raised; those that had not begun are left out.
    """
    num_threads = torch.get_num_threads()
    num_calls = min(len(items), num_threads if at_once is None else at_once)
    torch.set_num_threads(1)
    try:
        if num_calls < 2:
            return [call(item) for item in items]
        with ThreadPoolExecutor(num_calls) as pool:
            futures = [pool.submit(call, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(num_threads)
