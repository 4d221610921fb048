"""A process that trains on request, each time in a child of its own, which is there at once: all is imported.

A line "METHOD FOLDER NUM_STEPS" on the standard input begins to train a trial, or goes on with it. It answers with the
child's process id, with a line at the beginning of every step, and when the child has ended with its exit code. After
NUM_STEPS steps the child waits to be killed; 0: it trains to the end. With "OPERATION MOMENT" behind it the child kills
itself at that operation on its files, counted from 1, before it, in the middle of it or after it.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from ray_ssl.data.base import Dataset
from ray_ssl.storage import Storage
from ray_ssl.trainer import Trainer
from tests.ray_ssl.test_pretrain import BATCH_SIZE, config, images, train

NUM_EPOCHS = 4
NUM_STEPS = 2 * NUM_EPOCHS
STEP = "step"


MOMENTS = ("before", "half", "after")


def _die_at(operation: int, moment: str) -> None:
    """Lets this process kill itself at an operation on files."""
    number = itertools.count(1)

    def deadly(original: Callable[..., None]) -> Callable[..., None]:
        def run(storage: Storage, name: str, *content: bytes) -> None:
            is_now = next(number) == operation
            if is_now and moment == "half" and content:
                original(storage, name, content[0][: len(content[0]) // 2])
            elif not is_now or moment == "after":
                original(storage, name, *content)
            if is_now:
                os.kill(os.getpid(), signal.SIGKILL)

        return run

    for name in ("write", "delete", "delete_folder"):
        setattr(Storage, name, deadly(getattr(Storage, name)))


def _train(method: str, folder: str, num_steps: int) -> None:
    dataset = Dataset("tiny", images(2 * BATCH_SIZE, 0), images(20, 1))
    steps, step = itertools.count(), Trainer.step

    def counted(trainer: Trainer, *args: Any) -> Any:
        if next(steps) == num_steps > 0:
            signal.pause()
        print(STEP, flush=True)
        return step(trainer, *args)

    with mock.patch.object(Trainer, "step", counted):
        train(config(method, training__epochs=NUM_EPOCHS), dataset, Path(folder))
    assert "torch._dynamo" not in sys.modules, "a second or two that every trial's process would wait"


def _answer(method: str, folder: str, num_steps: int, *die_at: str) -> None:
    child = os.fork()
    if not child:
        if die_at:
            _die_at(int(die_at[0]), die_at[1])
        print(os.getpid(), flush=True)
        _train(method, folder, num_steps)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    for line in sys.stdin:
        method, folder, num_steps, *die_at = line.split()
        _answer(method, folder, int(num_steps), *die_at)
