"""A loss that is not finite is seen within a step, collapse within two evaluations; healthy training raises no alarm.

Every method and each of its variants, as the tests of methods have them; healthy training is the demonstration's.
"""

from __future__ import annotations

import functools
import random
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock
from unittest.mock import MagicMock

import torch

from ray_ssl.checkpoints import load_newest_state, saved_epochs
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.follower import Follower
from ray_ssl.ledger import Ledger, Trial
from ray_ssl.plugins import plugin_names
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from ray_ssl.trainer import NonFiniteLossError, StepInputs, Trainer
from sweeps.cli import parse
from sweeps.method import SWEEP
from tests.faults.counts import Counts
from tests.ray_ssl.test_pretrain import BATCH_SIZE, METHODS, config, for_method, images

LETTER = "i"
NUM_SEEDS = {False: 1, True: 3}
NUM_EPOCHS = 4
STEPS_PER_EPOCH = 3
HEALTHY = "--depth 1 --width 8 --num-images 1280 --num-test-images 100 --epochs 3 --global-batch-size 128"


def run(full: bool, seed: int) -> Counts:
    """Makes losses infinite, embeddings collapse, and trains healthily."""
    counts, rng = Counts(), random.Random(seed)
    torch.set_num_threads(1)
    tiny = Dataset("tiny", images(STEPS_PER_EPOCH * BATCH_SIZE, 0), images(40, 1))
    names = list(METHODS) if full else rng.sample(list(METHODS), 3)
    for method in names:
        dataset = for_method(method, tiny)
        for value in (float("nan"), float("inf"), -float("inf")) if full else (float("nan"),):
            step = rng.randrange(NUM_EPOCHS * STEPS_PER_EPOCH)
            counts.case(f"{method}: {value} at step {step}", _non_finite(method, dataset, step, value))
        for kind in ("complete", "dimensional") if full else ("complete",):
            epoch, every = rng.randrange(1, NUM_EPOCHS - 1), rng.choice((1, 2))
            what = f"{method}: {kind} collapse in epoch {epoch}, looked at every {every}"
            counts.case(what, _collapse(method, dataset, epoch, every, kind))
    for method in plugin_names("ray_ssl.methods") if full else rng.sample(plugin_names("ray_ssl.methods"), 2):
        for number in range(NUM_SEEDS[full]):
            counts.case(f"{method}, seed {number}: healthy", _false_alarm(method, number))
    return counts


def _non_finite(method: str, dataset: Dataset, bad: int, value: float) -> str | None:
    """What is wrong with how a loss that is not finite at the step `bad` of all is seen."""
    num_steps, step = 0, Trainer.step

    def counted(trainer: Trainer, *args: Any) -> Any:
        nonlocal num_steps
        terms, rate = step(trainer, *args)
        num_steps += 1
        return ({**terms, "loss": torch.tensor(value)} if num_steps == bad + 1 else terms), rate

    epoch, place = bad // STEPS_PER_EPOCH + 1, bad % STEPS_PER_EPOCH
    with tempfile.TemporaryDirectory() as name, mock.patch.object(Trainer, "step", counted):
        trial = Storage.at(name)
        try:
            pretrain(config(method), dataset, trial, lambda metrics: None, state_seconds=0)
        except NonFiniteLossError as error:
            said = str(error)
        else:
            return "it was not seen"
        state = load_newest_state(trial, lambda text: None)
        kept = state.card["epoch"] if state else 0
        if max(saved_epochs(trial)) >= epoch or kept != epoch - 1:
            return f"saved: checkpoints of {saved_epochs(trial)}, the state of {kept}"
    if num_steps > bad + 2:
        return f"seen after {num_steps - bad - 1} more steps"
    return None if f"at epoch {epoch}, step {place}" in said else f"said {said!r}"


def _collapse(method: str, dataset: Dataset, first: int, every: int, kind: str) -> str | None:
    """What is wrong with how embeddings that collapse from the epoch `first` on are seen."""
    step = Trainer.step

    def collapsing(trainer: Trainer, inputs: StepInputs, epoch: int, number: int) -> Any:
        result = step(trainer, inputs, epoch, number)
        if epoch >= first:
            noise = torch.randn(BATCH_SIZE, 8, generator=torch.Generator().manual_seed(number))
            trainer.last_embedding = 1 + 1e-3 * noise if kind == "complete" else noise[:, :1] * torch.ones(8)
        return result

    wanted = config(method, training__knn_every=every, training__epochs=2 * NUM_EPOCHS)
    with mock.patch.object(Trainer, "step", collapsing):
        warned, seen = _train(wanted, dataset)
    evaluations = [epoch for epoch in range(1, 2 * NUM_EPOCHS + 1) if epoch % every == 0 and epoch >= first]
    if warned != evaluations[1:2] or not seen:
        return f"warned at {warned}, not at {evaluations[1]}; in the trial's record: {seen}"
    return None


def _false_alarm(method: str, seed: int) -> str | None:
    shift = ["--shift", "domains"] if config(method).method.LEARNS_FROM == "domains" else []
    wanted = replace(parse(SWEEP, ["--methods", method, *shift, *HEALTHY.split()]).base, {"seed": seed})
    try:
        warned, seen = _train(wanted, _shapes(wanted.data.model_dump_json()))
    except NonFiniteLossError as error:
        return str(error)
    return f"warned at {warned}; in the trial's record: {seen}" if warned or seen else None


@functools.cache
def _shapes(data: str) -> Dataset:
    return load_dataset(PretrainConfig.from_json(f'{{"data": {data}}}').data)


def _train(wanted: PretrainConfig, dataset: Dataset) -> tuple[list[int], bool]:
    """The epochs at which the driver warns of collapse, and whether the trial's own record will say so."""
    with tempfile.TemporaryDirectory() as name:
        trial, ledger = Trial("0" * 16, wanted), Ledger(Storage.at(Path(name)))
        follower, warned = Follower(MagicMock(), ledger), list[int]()
        follower.board = board = MagicMock()

        def report(metrics: dict[str, float]) -> None:
            follower.epoch(trial, metrics)
            warned.extend([int(metrics["epoch"])] * board.warn.call_count)
            board.warn.reset_mock()

        trained = pretrain(wanted, dataset, ledger.trial(trial.key), report)
    return warned, trained.collapsed
