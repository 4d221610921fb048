"""Two gloo processes, started once and shared by all tests that compare two workers with one."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from ray_ssl.distributed import world

Result = TypeVar("Result")


def run_on_two_workers(task: Callable[..., Result], *args: Any) -> list[Result]:
    """Calls `task(*args)` (a module-level function) on both workers; returns their results in rank order."""
    futures = [worker.submit(_pickled, task, args) for worker in _workers()]
    return [pickle.loads(future.result(timeout=120)) for future in futures]


def shard(rows: Any) -> Any:
    """Returns this worker's consecutive share of the rows: all of them for one process."""
    rank, size = world()
    return rows.chunk(size)[rank]


@cache
def _workers() -> list[ProcessPoolExecutor]:
    meeting = Path(tempfile.mkdtemp()) / "meeting"
    spawn = multiprocessing.get_context("spawn")
    return [ProcessPoolExecutor(1, spawn, initializer=_join, initargs=(rank, str(meeting))) for rank in range(2)]


def _join(rank: int, meeting: str) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )


def _pickled(task: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    return pickle.dumps(task(*args))  # by value: torch would share each tensor through a file descriptor
