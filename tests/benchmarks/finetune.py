"""Images/s of a fine-tuning trial against its own limit.

The limit is the bare forward pass, backward pass and step of the same network, precision and optimiser, on batches
whose views and labels lie ready in memory: no augmentation, no gathering of images, no checks, no checkpoints. The
trial keeps every epoch's weights and evaluates kNN once in five epochs, as the sweep does; its first epoch is not
counted. Both run interleaved, and the best round of each counts.

    RAY_SSL_CIFAR100=FOLDER python -m tests.benchmarks.finetune
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace

import torch
from torch.nn.functional import cross_entropy

from ray_ssl.checkpoints import Checkpoint
from ray_ssl.config import PretrainConfig
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.finetune import make_start, start_option, write_start
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from ray_ssl.trainer import Trainer
from sweeps.finetuning import PROTOCOL

NETWORKS = ((2, 16), (5, 32), (5, 64))
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
    """Returns the trial that begins from a network at initialisation, and that start."""
    trainer = Trainer(config, dataset, torch.device("cpu"))
    k, d = len(dataset.train.fine_names), trainer.method.backbone.num_features
    pretrained = Checkpoint(trainer.card(0), trainer.method.state_dict())
    start = make_start(pretrained, (torch.zeros(k, d), torch.zeros(k)), {})
    method = config.method.model_copy(update={"start": start_option(start)})
    return config.model_copy(update={"method": method}), start


def ours(config: PretrainConfig, start: Checkpoint, dataset: Dataset) -> float:
    """Images/s from the end of the first epoch to the end of the last, all that a trial does included."""
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        sweep = Storage.at(folder)
        write_start(sweep, start)
        pretrain(config, dataset, sweep.child("trial"), lambda metrics: ends.append(time.perf_counter()))
    steps = len(dataset.train) // config.training.global_batch_size
    return (len(ends) - 1) * steps * config.training.global_batch_size / (ends[-1] - ends[0])


def limit(config: PretrainConfig, start: Checkpoint, dataset: Dataset, seconds: float) -> float:
    """Images/s of bare steps."""
    trainer = Trainer(config, dataset, torch.device("cpu"), start=start)
    made = [trainer.load_views(batch, 1, n) for n, batch in zip(range(NUM_READY), trainer.source.batches(1))]  # noqa: B905
    ready = [(views[0], labels) for views, labels in made]
    method, optimiser, bf16 = trainer.method.train(), trainer.optimiser, trainer.precision == "bf16"

    def step(number: int) -> None:
        images, labels = ready[number % len(ready)]
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = method.head(method.backbone(images))  # type: ignore[operator]
        loss = cross_entropy(logits.float(), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    step(0)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or count < 3:
        step(count)
        count += 1
    return count * config.training.global_batch_size / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--num-images", type=int, default=10_240)
    parser.add_argument("--epochs", type=int, default=PROTOCOL["training.knn_every"])
    parser.add_argument("--networks", type=int, nargs="+", default=range(len(NETWORKS)), help="of 0 1 2")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each limit")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    lines, ratios = [], []
    for depth, width in (NETWORKS[number] for number in flags.networks):
        for batch_norm in ("train", "frozen"):
            config = configuration(depth, width, batch_norm, flags.num_images, flags.epochs)
            dataset = load_dataset(config.data)
            dataset = replace(dataset, test=dataset.test.balanced_subset(min(1000, len(dataset.test)), 0))
            config, start = started(config, dataset)
            best = [0.0, 0.0]
            for _ in range(flags.rounds):
                now = ours(config, start, dataset), limit(config, start, dataset, flags.seconds)
                best = [max(pair) for pair in zip(best, now, strict=True)]
            ratios.append(best[0] / best[1])
            lines.append(f"RES-{depth}-{width}, BatchNorm {batch_norm}: {ratios[-1]:.2f} of the limit "
                         f"({best[0]:.0f} of {best[1]:.0f} images/s)")  # fmt: skip
            print(lines[-1], flush=True)
    print(f"batch {PROTOCOL['training.global_batch_size']}, {flags.threads} thread(s), best of {flags.rounds} rounds")
    print(f"at least {min(ratios):.2f} of the limit")


if __name__ == "__main__":
    main()
