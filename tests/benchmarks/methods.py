"""What every method learns at equal budget, and how fast it trains against its own limit.

Accuracy: the same backbone, images, epochs and seeds for all; each method with its recommended options. Linear and kNN
test accuracy of the representation, beside an untrained network and raw pixels. Speed: images/s of the whole loop
against steps of the same network and loss on one fixed batch.

    RAY_SSL_CIFAR100=FOLDER python -m tests.benchmarks.methods [--methods NAME ...] [--skip accuracy]
"""

import argparse
import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any, cast

import torch
from torch import Tensor

from analysis.labels import LabelLevel
from analysis.logistic import fit, predict
from analysis.metrics.linear_probe import PENALTY, TOLERANCE
from ray_ssl.config import PretrainConfig
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.data.base import ImageSet
from ray_ssl.health import knn_accuracy
from ray_ssl.plugins import plugin_module, plugin_names
from ray_ssl.trainer import Trainer
from tests.benchmarks.images import source
from tests.benchmarks.pretrain import limit, ours

UNTRAINED, PIXELS = "(untrained network)", "(raw pixels)"

SHORT: dict[str, tuple[float, dict[str, Any]]] = {"spectral": (0.15, {"max_squared_norm": 10.0})}
"""Learning rate and options for 20 epochs, of methods whose published ones teach nothing in so few."""


def configuration(name: str, seed: int, flags: argparse.Namespace, depth: int, width: int) -> PretrainConfig:
    """One method's trial; options that a method does not have are left out."""
    known = plugin_module("ray_ssl.methods", name).Config.model_fields
    wished = {"projector_width": flags.projector_width, "queue_size": flags.queue_size}
    if name == "swav":  # a batch without a queue fills no more prototypes than it has images
        wished["num_prototypes"] = min(known["num_prototypes"].default, flags.batch // 2)
    options = {option: value for option, value in wished.items() if option in known and known[option].default}
    short_rate, short_options = SHORT.get(name, (None, {}))
    rate = flags.learning_rate or short_rate
    training = {"epochs": flags.epochs, "global_batch_size": flags.batch, "knn_every": flags.epochs}
    return PretrainConfig.from_dict(
        {
            "data": {"dataset": source(), "num_images": flags.num_images},
            "views": {"crop_scale": flags.crop_scale},
            "backbone": {"name": "res_lh", "depth": depth, "width": width},
            "method": {"name": name, **options, **short_options},
            "training": {**training, "num_checkpoints": 2},
            "optimiser": {"learning_rate": rate} if rate else {},
            "seed": seed,
        }
    )


def is_for_one_domain(name: str) -> bool:
    return plugin_module("ray_ssl.methods", name).Config.LEARNS_FROM != "domains"


@cache
def images(config_json: str) -> Dataset:
    return load_dataset(PretrainConfig.from_json(config_json).data)


def accuracies(train: Tensor, test: Tensor, dataset: Dataset) -> tuple[float, float]:
    """Linear and kNN test accuracy of features [N, D], in per cent."""
    labels = (torch.from_numpy(dataset.train.fine.copy()), torch.from_numpy(dataset.test.fine.copy()))
    level = LabelLevel("class", *labels, len(dataset.train.fine_names))
    scaling, fits = fit(train, [(level.train, level.num_classes)], PENALTY, TOLERANCE)
    linear = (predict(test, scaling, fits)[0] == level.test).double().mean().item()
    return 100 * linear, 100 * knn_accuracy(train, level.train, test, level.test)


def score(name: str, seed: int, flags: argparse.Namespace) -> tuple[float, float]:
    """Trains in this process, on one thread, and measures the end."""
    torch.set_num_threads(1)
    method = "vicreg" if name in (UNTRAINED, PIXELS) else name
    config = configuration(method, seed, flags, flags.depth, flags.width)
    dataset = images(config.to_json())
    if name == PIXELS:
        train, test = (torch.from_numpy(part.images / 255).flatten(1).float() for part in (dataset.train, dataset.test))
        return accuracies(train, test, dataset)
    trainer = Trainer(config, dataset, torch.device("cpu"))
    for epoch in range(1, 0 if name == UNTRAINED else config.training.epochs + 1):
        trainer.train_epoch(epoch)
    train, test = (trainer.features(cast(ImageSet, part)) for part in (dataset.train, dataset.test))
    return accuracies(train, test, dataset)


def print_accuracies(names: list[str], flags: argparse.Namespace) -> None:
    jobs = [(name, seed) for name in [PIXELS, UNTRAINED, *names] for seed in range(flags.seeds)]
    print(f"RES-{flags.depth}-{flags.width}, {flags.num_images} images, {flags.epochs} epochs, batch {flags.batch}, "
          f"{flags.seeds} seed(s); test accuracy in %, mean (spread)")  # fmt: skip
    found: dict[str, list[tuple[float, float]]] = {}
    with ProcessPoolExecutor(flags.threads, get_context("spawn")) as pool:
        for (name, _), result in zip(jobs, pool.map(score, *zip(*jobs, strict=True), [flags] * len(jobs)), strict=True):
            found.setdefault(name, []).append(result)
            if len(found[name]) == flags.seeds:
                columns = [f"{statistics.mean(v):6.1f} ({max(v) - min(v):.1f})" for v in columns_of(found[name])]
                print(f"{name:24} linear {columns[0]}  kNN {columns[1]}", flush=True)
    references = [columns_of(found[name]) for name in (PIXELS, UNTRAINED)]
    bars = [max(statistics.mean(column) for column in pair) for pair in zip(*references, strict=True)]
    short = [n for n in names if any(min(c) <= bar for c, bar in zip(columns_of(found[n]), bars, strict=True))]
    print(f"{len(names) - len(short)} of {len(names)} methods beat both references in both accuracies with every seed"
          + (f"; not {', '.join(short)}" if short else ""))  # fmt: skip


def columns_of(results: list[tuple[float, float]]) -> list[tuple[float, ...]]:
    """Linear accuracies of all seeds, and kNN accuracies."""
    return list(zip(*results, strict=True))


def print_speeds(names: list[str], flags: argparse.Namespace) -> None:
    torch.set_num_threads(flags.threads)
    ratios: dict[str, float] = {}
    for name in names:
        settings: dict[str, Any] = {
            **vars(flags),
            "epochs": 2,
            "learning_rate": 1e-3,  # two epochs are no warm-up for more
            "num_images": flags.speed_images,
            "queue_size": min(flags.queue_size, flags.speed_images),
        }
        config = configuration(name, 0, argparse.Namespace(**settings), 5, 64)
        dataset = images(config.to_json())
        best = [0.0, 0.0]
        for _ in range(flags.rounds):
            now = ours(config, dataset), limit(config, dataset, flags.seconds)
            best = [max(pair) for pair in zip(best, now, strict=True)]
        ratios[name] = best[0] / best[1]
        print(f"{name:24} {best[0]:6.0f} images/s, limit {best[1]:6.0f}: {ratios[name]:.2f}", flush=True)
    slowest = min(ratios, key=lambda name: ratios[name])
    print(f"at least {ratios[slowest]:.2f} of the limit ({slowest}); RES-5-64, batch {flags.batch}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--methods", nargs="+", default=list(filter(is_for_one_domain, plugin_names("ray_ssl.methods")))
    )
    parser.add_argument("--skip", choices=("accuracy", "speed"))
    parser.add_argument("--num-images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--projector-width", type=int, default=512)
    parser.add_argument("--queue-size", type=int, default=4096)
    parser.add_argument("--crop-scale", type=float, nargs=2, default=(0.2, 1.0))
    parser.add_argument("--learning-rate", type=float, help="of all methods (default: each method's own)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each limit")
    parser.add_argument("--speed-images", type=int, default=10_240)
    flags = parser.parse_args()
    if flags.skip != "accuracy":
        print_accuracies(flags.methods, flags)
    if flags.skip != "speed":
        print_speeds(flags.methods, flags)


if __name__ == "__main__":
    main()
