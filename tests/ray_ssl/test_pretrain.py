"""The training loop: interrupted equals uninterrupted, and trouble is seen at once."""

import itertools
import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from dataclasses import replace as change
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ray_ssl import save_clock
from ray_ssl.backbones.base import build_backbone
from ray_ssl.checkpoints import checkpoint_folder, load_checkpoint, saved_epochs
from ray_ssl.config import OptimiserConfig, PretrainConfig, TrainingConfig, replace
from ray_ssl.data.base import Dataset, ImageSet
from ray_ssl.errors import UserError
from ray_ssl.health import embedding_health, is_collapsed, knn_accuracy
from ray_ssl.methods.base import build_method
from ray_ssl.optim import build_optimiser, learning_rate
from ray_ssl.pretrain import PreemptedError, TrainedTrial, checkpoint_epochs, pretrain
from ray_ssl.rng import seed_torch
from ray_ssl.storage import Storage
from ray_ssl.trainer import NonFiniteLossError, Trainer
from tests.ray_ssl.small_methods import small_variants

BATCH_SIZE = 32
METHODS = small_variants(BATCH_SIZE)


def images(num: int, seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    fine = np.arange(num) % 4
    tint = np.eye(4, 3)[fine][:, None, None] * 90
    pixels = rng.integers(0, 160, (num, 32, 32, 3)) + tint
    return ImageSet(pixels.astype(np.uint8), fine.astype(np.int64), ("a", "b", "c", "d"))


def with_domains(plain: ImageSet, cycle: tuple[int, ...]) -> ImageSet:
    """The domains of the cycle in turn, after each round of the 4 classes."""
    row = np.arange(len(plain))
    return change(plain, domain=np.array(cycle)[(row // 4) % len(cycle)], domain_names=("here", "there", "extra"))


def for_method(method: str, dataset: Dataset) -> Dataset:
    """The images, of two domains where the method learns from domains."""
    if config(method).method.LEARNS_FROM != "domains":
        return dataset
    assert isinstance(dataset.train, ImageSet)
    assert isinstance(dataset.test, ImageSet)
    return change(dataset, train=with_domains(dataset.train, (0, 1)), test=with_domains(dataset.test, (0, 1)))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset("tiny", images(96, 0), images(40, 1))


def config(method: str = "vicreg", **changes: object) -> PretrainConfig:
    base = PretrainConfig.from_dict(
        {
            "backbone": {"name": "res_lh", "depth": 1, "width": 8},
            "method": METHODS[method],
            "training": {"epochs": 4, "global_batch_size": BATCH_SIZE, "num_checkpoints": 3},
        }
    )
    return replace(base, {path.replace("__", "."): value for path, value in changes.items()})


class Killed(Exception):
    pass


@dataclass
class KillAfter:
    """A report that ends the process, as it were, after some epochs."""

    num_epochs: int
    seen: list[int] = field(default_factory=list)

    def __call__(self, metrics: dict[str, float]) -> None:
        self.seen.append(int(metrics["epoch"]))
        if len(self.seen) == self.num_epochs:
            raise Killed


def train(
    config: PretrainConfig, dataset: Dataset, folder: Path, kill_after: int = -1, state_seconds: float = 0
) -> TrainedTrial:
    torch.set_num_threads(1)
    return pretrain(config, dataset, Storage.at(folder), KillAfter(kill_after), state_seconds=state_seconds)


def untimed(history: list[dict[str, float]]) -> list[dict[str, float]]:
    timed = ("time", "images_per_second", "epoch_seconds")
    return [{k: v for k, v in metrics.items() if k not in timed} for metrics in history]


def weights(folder: Path, epoch: int) -> dict[str, torch.Tensor]:
    return load_checkpoint(Storage.at(folder), checkpoint_folder(epoch)).model


@pytest.mark.parametrize("method", METHODS)
def test_killed_and_resumed_equals_uninterrupted(method: str, dataset: Dataset, tmp_path: Path) -> None:
    dataset = for_method(method, dataset)
    whole = train(config(method), dataset, tmp_path / "whole")
    for kill_after in (1, 2):  # the second kill comes one epoch after the replay of the first
        with pytest.raises(Killed):
            train(config(method), dataset, tmp_path / "killed", kill_after)
    resumed = train(config(method), dataset, tmp_path / "killed")
    assert untimed(whole.history) == untimed(resumed.history)
    for epoch in saved_epochs(Storage.at(tmp_path / "whole")):
        a, b = weights(tmp_path / "whole", epoch), weights(tmp_path / "killed", epoch)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("method", ["vicreg", "byol", "swav"])
def test_preempted_after_any_step_it_goes_on_from_there(method: str, dataset: Dataset, tmp_path: Path) -> None:
    whole = train(config(method), dataset, tmp_path / "whole")
    storage, num_times, trained = Storage.at(tmp_path / "preempted"), 0, None
    while trained is None:
        answers = itertools.cycle([False, True])  # each process makes two steps, of three an epoch
        try:
            trained = pretrain(config(method), dataset, storage, lambda m: None, preempted=partial(next, answers))
        except PreemptedError:
            num_times += 1
            assert storage.names("state")[-1] == f"step-{2 * num_times:010d}"
    assert num_times == 5  # 12 steps; the last process ends
    assert untimed(trained.history) == untimed(whole.history)
    a, b = weights(tmp_path / "whole", 4), weights(tmp_path / "preempted", 4)
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("method", ["vicreg", "moco_v2", "dino"])
def test_killed_within_an_epoch_goes_on_at_the_step_it_was_saved_after(
    method: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(save_clock, "_SAVE_SHARE", math.inf)  # every save costs little: one after every step
    whole = train(config(method), dataset, tmp_path / "whole", state_seconds=1e-9)
    step, steps = Trainer.step, list[tuple[int, int]]()

    def killed_at(last: int) -> Any:
        def counted(trainer: Trainer, batch: Any, epoch: int, number: int) -> Any:
            if len(steps) == last:
                raise Killed
            steps.append((epoch, number))
            return step(trainer, batch, epoch, number)

        return counted

    for last in (2, 7, 100):  # steps in all: one before the end of an epoch, one after its beginning, never
        monkeypatch.setattr(Trainer, "step", killed_at(last))
        with pytest.raises(Killed) if last < 100 else nullcontext():
            resumed = train(config(method), dataset, tmp_path / "killed", state_seconds=1e-9)
    assert steps == [(epoch, number) for epoch in range(1, 5) for number in range(3)]  # none was done twice
    assert [m["loss"] for m in whole.history] == [m["loss"] for m in resumed.history]
    a, b = weights(tmp_path / "whole", 4), weights(tmp_path / "killed", 4)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_resumed_trial_reports_what_was_done_and_then_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(config(), dataset, tmp_path, kill_after=2)
    report = KillAfter(-1)
    pretrain(config(), dataset, Storage.at(tmp_path), report, state_seconds=0)
    assert report.seen == [1, 2, 3, 4]


def test_seeds_and_only_seeds_make_a_difference(dataset: Dataset, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(config(seed=seed), dataset, tmp_path / name)
    a, b, c = (weights(tmp_path / name, 4) for name in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["backbone.stem.0.weight"], c["backbone.stem.0.weight"])


def test_a_step_is_seeded_as_torch_seeds_it() -> None:
    drawn = []
    for seed in (lambda: torch.manual_seed(2**62 + 3), lambda: seed_torch(2**62 + 3, torch.device("cpu"))):
        seed()
        drawn.append(torch.rand(8))
    assert torch.equal(*drawn)


def test_training_learns_what_separates_the_classes(dataset: Dataset, tmp_path: Path) -> None:
    trained = train(config("supervised", training__epochs=12), dataset, tmp_path)
    assert trained.history[-1]["loss"] < 0.7 * trained.history[0]["loss"]
    assert trained.history[-1]["knn_accuracy"] > 0.6
    assert not trained.collapsed


def test_a_non_finite_loss_stops_the_trial(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match=r"epoch 1, step [01]"):
        train(config(optimiser__learning_rate=1e30, training__warmup_fraction=0.0), dataset, tmp_path)


def test_fewer_images_than_a_batch_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="larger than the training set: tiny has 96 images"):
        train(config(training__global_batch_size=128), dataset, tmp_path)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 20, 100, 1000])
@pytest.mark.parametrize("num", [2, 3, 8, 20])
def test_the_checkpoint_schedule(epochs: int, num: int) -> None:
    schedule = checkpoint_epochs(TrainingConfig(epochs=epochs, num_checkpoints=num))
    assert schedule[0] == 0
    assert schedule[-1] == epochs
    assert schedule == sorted(set(schedule))
    assert len(schedule) == min(num, epochs + 1)


def test_the_checkpoint_schedule_is_log_spaced() -> None:
    schedule = checkpoint_epochs(TrainingConfig(epochs=1000, num_checkpoints=11))
    ratios = [b / a for a, b in pairwise(schedule[4:])]
    assert max(ratios) / min(ratios) < 1.2


def test_the_learning_rate_warms_up_then_follows_a_cosine() -> None:
    optimiser, training = OptimiserConfig(learning_rate=0.1), TrainingConfig(global_batch_size=256, warmup_fraction=0.1)
    rates = [learning_rate(step, 100, optimiser, training) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) / 10 for i in range(10)])
    assert rates[10:] == pytest.approx([0.1 * (1 + math.cos(math.pi * i / 90)) for i in range(90)])


def test_biases_and_norms_are_not_decayed() -> None:
    c = config()
    method = build_method(c.method, build_backbone(c.backbone, 32), 4)
    decayed, spared = build_optimiser(method, c.optimiser).param_groups
    assert all(p.ndim > 1 for p in decayed["params"])
    assert spared["weight_decay"] == 0
    assert len(decayed["params"]) + len(spared["params"]) == len(list(method.parameters()))


def test_knn_accuracy_on_separated_and_on_random_points() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    blobs = torch.eye(3)[labels] * 10 + torch.randn(300, 3, generator=generator)
    assert knn_accuracy(blobs[:200], labels[:200], blobs[200:], labels[200:]) == 1
    noise = torch.randn(300, 8, generator=generator)
    assert knn_accuracy(noise[:200], labels[:200], noise[200:], labels[200:]) < 0.55


def test_collapse_is_told_from_health() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(400, 16, generator=generator)
    health = embedding_health(spread)
    assert health["embedding_std"] == pytest.approx(1, abs=0.05)
    assert health["embedding_rank"] == pytest.approx(16, abs=0.2)
    assert not is_collapsed(health)
    assert is_collapsed(embedding_health(torch.ones(400, 16) + 1e-3 * spread))
    assert is_collapsed(embedding_health(spread[:, :1] * torch.ones(16)))
    assert is_collapsed(embedding_health(torch.zeros(400, 16)))
