"""A trial whose process was killed by SIGKILL at any moment, and which was begun again, is the uninterrupted one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ray_ssl.checkpoints import checkpoint_folder, load_checkpoint, saved_epochs
from ray_ssl.storage import Storage
from tests.ray_ssl.killed_process import NUM_EPOCHS, NUM_STEPS, STEP

METHODS = ("moco_v2", "swav", "dino", "byol")
"""A queue of keys; prototypes and a queue a view; prototypes, a teacher and a centre; a teacher and LARS."""

Process = subprocess.Popen[str]


@contextmanager
def helper() -> Iterator[Process]:
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "tests.ray_ssl.killed_process"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield process
        assert process.stdin
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def train(process: Process, method: str, folder: Path, kill_after: int = 0) -> int:
    """The exit code of a child that trains; it is killed somewhere in its step number `kill_after`, or behind it."""
    assert process.stdin and process.stdout
    process.stdin.write(f"{method} {folder} {kill_after}\n")
    process.stdin.flush()
    child = int(process.stdout.readline())
    for num_begun in range(1, NUM_STEPS + 2):
        line = process.stdout.readline().strip()
        if line != STEP:
            return int(line)
        if num_begun == kill_after:
            time.sleep(random.uniform(0, 0.02))
            os.kill(child, signal.SIGKILL)
    raise AssertionError("more steps than there are")


def equal(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def untimed(card: dict[str, Any]) -> dict[str, Any]:
    timed = ("time", "images_per_second", "epoch_seconds")
    return card | {"history": [{k: v for k, v in m.items() if k not in timed} for m in card.get("history", [])]}


def same(whole: Storage, killed: Storage, folder: str) -> bool:
    """Whether two checkpoints or training states hold the same bits, but for times."""
    a, b = load_checkpoint(whole, folder), load_checkpoint(killed, folder)
    return equal(a.model, b.model) and equal(a.optimiser, b.optimiser) and untimed(a.card) == untimed(b.card)


def test_killed_and_resumed_is_bit_identical(tmp_path: Path) -> None:
    with helper() as process:
        for method in METHODS:
            whole, killed = tmp_path / f"{method}-whole", tmp_path / f"{method}-killed"
            assert train(process, method, whole) == 0
            kill_after = random.randrange(2, NUM_STEPS - 1)
            assert train(process, method, killed, kill_after) == -signal.SIGKILL
            assert NUM_EPOCHS not in saved_epochs(Storage.at(killed)), "it was done before it was killed"
            assert train(process, method, killed) == 0
            a, b = Storage.at(whole), Storage.at(killed)
            assert saved_epochs(a) == saved_epochs(b) and NUM_EPOCHS in saved_epochs(a)
            assert a.names("state") == b.names("state") and len(a.names("state")) == 2
            for folder in [*map(checkpoint_folder, saved_epochs(a)), *(f"state/{name}" for name in a.names("state"))]:
                assert same(a, b, folder), f"{method}, killed in step {kill_after}: {folder} differs"
