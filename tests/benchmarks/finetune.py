"""Images/s of a fine-tuning trial against its own limit.

The limit is the bare forward pass, backward pass and step of the same network, precision and optimiser, on batches
whose views and labels lie ready in memory: no augmentation, no gathering of images, no checks, no checkpoints. The
trial keeps every epoch's weights and evaluates kNN once in five epochs, as the sweep does; its first epoch is not
counted. The limit is measured after every epoch of the trial, so that both see the machine as it is at the time; the
median trial's ratio counts.

    RAY_SSL_CIFAR100=FOLDER python -m tests.benchmarks.finetune
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ray_ssl.checkpoints import Checkpoint
from ray_ssl.config import PretrainConfig
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.finetune import make_start, start_option, write_start
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from ray_ssl.trainer import EpochMetrics, Trainer
from sweeps.finetuning import PROTOCOL

NETWORKS = ((2, 16), (2, 32), (5, 32), (5, 64))
"""The first, whose steps are so short that views are a sixth of a trial, is measured only where it is asked for."""
NUM_READY = 32
"""Batches that lie ready."""


def configuration(depth: int, width: int, batch_norm: str, num_images: int, epochs: int) -> PretrainConfig:
    source = os.environ.get("RAY_SSL_CIFAR100")
    values: dict[str, dict[str, object]] = {
        "data": {"dataset": f"parquet:{source}" if source else "shapes", "num_images": num_images},
        "backbone": {"name": "res_lh", "depth": depth, "width": width},
    }
    for path, value in PROTOCOL.items():
        part, _, name = path.partition(".")
        values.setdefault(part, {})[name] = value
    values["method"]["batch_norm"] = batch_norm
    values["training"]["epochs"] = epochs
    values["optimiser"]["learning_rate"] = 0.006
    return PretrainConfig.from_dict(values)


def started(config: PretrainConfig, dataset: Dataset) -> tuple[PretrainConfig, Checkpoint]:
    """Returns the trial that begins from a network whose batch norms know their inputs, and that start."""
    trainer = Trainer(config, dataset, torch.device("cpu"))
    with torch.no_grad():
        for images, _ in ready_batches(trainer):
            trainer.method.backbone(images)
    k, d = len(dataset.train.fine_names), trainer.method.backbone.num_features
    pretrained = Checkpoint(trainer.card(0), trainer.method.state_dict())
    start = make_start(pretrained, (torch.zeros(k, d), torch.zeros(k)), {})
    method = config.method.model_copy(update={"start": start_option(start)})
    return config.model_copy(update={"method": method}), start


def ready_batches(trainer: Trainer) -> list[tuple[Tensor, Tensor]]:
    """Returns views and labels of the first steps."""
    return [(views[0].clone(), labels) for views, labels in islice(trainer.inputs(1), NUM_READY)]


class Limit:
    """Bare steps of a trial."""

    def __init__(self, config: PretrainConfig, start: Checkpoint, dataset: Dataset) -> None:
        self.trainer = Trainer(config, dataset, torch.device("cpu"), start=start)
        self.ready, self.count, self.seconds = ready_batches(self.trainer), 0, 0.0
        self.trainer.method.train()
        self._step(0)

    def run(self, seconds: float) -> None:
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds or count < 3:
            self._step(count)
            count += 1
        self.count += count
        self.seconds += time.perf_counter() - began

    def _step(self, number: int) -> None:
        images, labels = self.ready[number % len(self.ready)]
        method, optimiser = self.trainer.method, self.trainer.optimiser
        with torch.autocast("cpu", torch.bfloat16, enabled=self.trainer.precision == "bf16"):
            logits = method.head(method.backbone(images))  # type: ignore[operator]
        loss = cross_entropy(logits.float(), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def speeds(config: PretrainConfig, start: Checkpoint, dataset: Dataset, seconds: float) -> tuple[float, float]:
    """Returns images/s of a trial, all that it does included, and of its limit."""
    bare, spent, last = Limit(config, start, dataset), 0.0, 0.0

    def after_epoch(metrics: EpochMetrics) -> None:
        nonlocal spent, last
        spent += time.perf_counter() - last if last else 0.0
        bare.run(seconds)
        last = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        sweep = Storage.at(folder)
        write_start(sweep, start)
        pretrain(config, dataset, sweep.child("trial"), after_epoch)
    batch_size = config.training.global_batch_size
    num_steps = (config.training.epochs - 1) * (len(dataset.train) // batch_size)
    return num_steps * batch_size / spent, bare.count * batch_size / bare.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="trials of each network")
    parser.add_argument("--threads", type=int, default=1, help="of a trial; a sweep gives it one")
    parser.add_argument("--num-images", type=int, default=10_240)
    parser.add_argument("--epochs", type=int, default=PROTOCOL["training.knn_every"])
    parser.add_argument("--networks", type=int, nargs="+", default=[1, 2, 3], help="of 0 1 2 3")
    parser.add_argument("--seconds", type=float, default=2.0, help="of the limit after each epoch")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    ratios = []
    for depth, width in (NETWORKS[number] for number in flags.networks):
        for batch_norm in ("train", "frozen"):
            config = configuration(depth, width, batch_norm, flags.num_images, flags.epochs)
            dataset = load_dataset(config.data)
            dataset = replace(dataset, test=dataset.test.balanced_subset(min(1000, len(dataset.test)), 0))
            config, start = started(config, dataset)
            pairs = [speeds(config, start, dataset, flags.seconds) for _ in range(flags.rounds)]
            trial, bare = sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
            ratios.append(trial / bare)
            print(f"RES-{depth}-{width}, BatchNorm {batch_norm}: {ratios[-1]:.2f} of the limit "
                  f"({trial:.0f} of {bare:.0f} images/s)", flush=True)  # fmt: skip
    print(f"batch {PROTOCOL['training.global_batch_size']}, {flags.threads} thread(s), median of {flags.rounds} trials")
    print(f"at least {min(ratios):.2f} of the limit")


if __name__ == "__main__":
    main()
