"""A process that trains on request, each time in a child of its own, which is there at once: all is imported.

A line "METHOD FOLDER NUM_STEPS" on the standard input begins to train a trial, or goes on with it. It answers with the
child's process id, with a line at the beginning of every step, and when the child has ended with its exit code. After
NUM_STEPS steps the child waits to be killed; 0: it trains to the end.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch._dynamo  # noqa: F401  (optimisers import it when they are first used: better once than in every child)

from ray_ssl.data.base import Dataset
from ray_ssl.trainer import Trainer
from tests.ray_ssl.test_pretrain import BATCH_SIZE, config, images, train

NUM_EPOCHS = 4
NUM_STEPS = 2 * NUM_EPOCHS
STEP = "step"


def _train(method: str, folder: str, num_steps: int) -> None:
    dataset = Dataset("tiny", images(2 * BATCH_SIZE, 0), images(20, 1))
    steps, load_views = itertools.count(), Trainer.load_views

    def counted(trainer: Trainer, *args: Any) -> Any:
        if next(steps) == num_steps > 0:
            signal.pause()
        print(STEP, flush=True)
        return load_views(trainer, *args)

    with mock.patch.object(Trainer, "load_views", counted):
        train(config(method, training__epochs=NUM_EPOCHS), dataset, Path(folder))


def _answer(method: str, folder: str, num_steps: int) -> None:
    child = os.fork()
    if not child:
        print(os.getpid(), flush=True)
        _train(method, folder, num_steps)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    for line in sys.stdin:
        method, folder, num_steps = line.split()
        _answer(method, folder, int(num_steps))
