"""A whole trial on two workers is the trial of one: batches, views, schedule, optimiser and statistics included.

In float64, because training amplifies rounding: in fp32, VICReg's weights on two workers end 1.5 % from one's, which is
also how far one worker's in fp32 end from its own in float64.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from ray_ssl import trainer as room
from ray_ssl.config import PretrainConfig
from ray_ssl.data.base import Dataset
from tests.ray_ssl.test_pretrain import images
from tests.ray_ssl.two_workers import run_on_two_workers

NUM_EPOCHS = 4


def train(method: dict[str, Any], optimiser: dict[str, Any]) -> list[dict[str, Tensor]]:
    """The losses and the state after every epoch of a trial in float64, on this worker."""
    training = {"epochs": NUM_EPOCHS, "global_batch_size": 50}
    backbone = {"name": "res_lh", "depth": 1, "width": 4}
    config = PretrainConfig.from_dict(
        {"backbone": backbone, "method": method, "optimiser": optimiser, "training": training}
    )
    trainer = _in_float64(config, Dataset("tiny", images(200, 0), images(60, 1)))
    history = []
    for epoch in range(1, NUM_EPOCHS + 1):
        metrics = trainer.train_epoch(epoch)
        state = {name: tensor.clone() for name, tensor in trainer.method.state_dict().items()}
        history.append(state | {"loss": torch.tensor(metrics["loss"], dtype=torch.float64)})
    return history


def _in_float64(config: PretrainConfig, dataset: Dataset) -> room.Trainer:
    build = room.build_trial_method
    with mock.patch.object(room, "build_trial_method", lambda *args: build(*args).double()):
        trainer = room.Trainer(config, dataset, torch.device("cpu"))
    step = trainer.step

    def step_in_float64(inputs: room.StepInputs, *at: int) -> tuple[dict[str, Tensor], float]:
        views, labels = inputs
        return step(([view.double() for view in views], labels), *at)

    trainer.step = step_in_float64  # type: ignore[method-assign]
    return trainer


@pytest.mark.parametrize(
    ("method", "optimiser"),
    [
        ({"name": "vicreg", "projector_width": 16, "embedding_dim": 8}, {}),
        ({"name": "simclr", "projector_width": 16, "embedding_dim": 8}, {"optimiser": "lars", "learning_rate": 0.5}),
        ({"name": "supervised"}, {"optimiser": "adamw", "learning_rate": 0.01}),
    ],
    ids=["vicreg, sgd", "simclr, lars", "supervised, adamw"],
)
def test_two_workers_train_as_one(method: dict[str, Any], optimiser: dict[str, Any]) -> None:
    one = train(method, optimiser)
    assert one[-1]["loss"] != one[0]["loss"]
    for worker in run_on_two_workers(train, method, optimiser):
        torch.testing.assert_close(worker, one, rtol=1e-9, atol=1e-11)
