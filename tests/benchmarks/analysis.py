"""Seconds of the analysis of one checkpoint against a plain script that calls scikit-learn per layer and target.

    python -m tests.benchmarks.analysis [--dataset parquet:FOLDER] [--threads N] [--epochs 1] [--bf16]

A RES-5-64 after `--epochs` of VICReg (0: at initialisation), 10,000 training and 2,000 test images, 3 levels (class,
superclass and sample: 500 images, a class each, 100 views of each to learn from and 20 to test on) and
8 targets of graded randomness: noise and the predictions of a teacher (RES-2-16, `--teacher-epochs`).

Ours is what a sweep does with a checkpoint: both forward passes and every default metric at every layer, level and
target. The plain script draws the views with torchvision image by image, takes every layer of one forward
pass of each, standardises with scikit-learn, and fits LogisticRegression (lbfgs, until it converges, the same
objective) and NearestCentroid to each layer and target, nothing else. So that accuracies can be compared, the fits are
of our features. All of them take it long, so of each target it fits `--layers` layers, not the same ones for all; a
target's seconds are the median of those times the number of layers, for which layers with the same features count
once. Ours runs before, between and after. Each side is a process of its own. With `--bf16` our forward passes are in
bf16, those of the plain script in fp32 as ever. Printed are the accuracies' largest difference, the peak memory of both
processes, the ratio to the plain script's fits alone, and the ratios of the CPU seconds and of the seconds; where other
processes share the cores, the former is what to compare.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision.transforms.v2 as T
from threadpoolctl import threadpool_limits
from torch import Tensor

from analysis.features import FORWARD_BATCH_SIZE, extract, load_backbone
from analysis.images import MeasuredImages, measured_images, pictures
from analysis.labels import LabelLevel
from analysis.logistic import Scaling
from analysis.measurable import label_levels
from analysis.measure import measure_checkpoint
from analysis.metrics.linear_probe import PENALTY
from analysis.settings import FP32, AnalysisSettings
from analysis.tasks import DATA, SAMPLE, TARGETS, find_tasks
from analysis.threads import limit_threads
from ray_ssl.checkpoints import Checkpoint, checkpoint_folder, load_checkpoint, save_checkpoint
from ray_ssl.cluster import local_cpus
from ray_ssl.config import PretrainConfig, ViewConfig
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.ledger import DONE, Ledger, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from ray_ssl.targets import attach_targets, read_targets, write_targets
from ray_ssl.teacher_targets import make_targets
from ray_ssl.trainer import Trainer
from tests.benchmarks.views import MEAN, STD, torchvision

SETTINGS = AnalysisSettings(num_train_images=10_000, num_test_images=2000, num_train_views=100, num_test_views=20)
RANDOMNESS = (0.0, 0.33, 0.67, 1.0)
TASKS = find_tasks(None, [DATA, SAMPLE, TARGETS])
METRICS = ("linear_accuracy", "ncc_accuracy")

Accuracies = dict[tuple[int, str, str, str], float]
"""By layer, level, split and metric."""


class Cost(NamedTuple):
    """Of one call.

    Attributes:
        wall: Seconds.
        cpu: CPU seconds.
        peak: Largest memory of the process so far, bytes.
    """

    wall: float
    cpu: float
    peak: int


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[Any, Cost]:
    """Returns what a call returns, and its cost."""
    start = time.perf_counter(), time.process_time()
    result = call(*arguments)
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    return result, Cost(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def configuration(source: str, method: dict[str, Any], depth: int, width: int, epochs: int) -> PretrainConfig:
    return PretrainConfig.from_dict(
        {
            "data": {"dataset": source, "num_images": 10_000, "num_test_images": 2000},
            "backbone": {"name": "res_lh", "depth": depth, "width": width},
            "method": method,
            "training": {"epochs": max(1, epochs), "num_checkpoints": 2 + epochs},
        }
    )


def prepare(folder: Path, source: str, epochs: int, teacher_epochs: int) -> tuple[PretrainConfig, Dataset, Checkpoint]:
    """Makes the checkpoint, and the targets in `folder`."""
    teacher = configuration(source, {"name": "supervised"}, 2, 16, teacher_epochs)
    dataset, ledger = load_dataset(teacher.data), Ledger(Storage.at(folder))
    trial = make_trials([teacher], dataset.fingerprint)[0]
    pretrain(teacher, dataset, ledger.trial(trial.key), lambda metrics: None)
    ledger.end(trial.key, DONE, {"history": []})
    write_targets(ledger.sweep, make_targets(ledger, trial, dataset, RANDOMNESS, None))
    method = {"name": "vicreg", "projector_width": 256, "embedding_dim": 256}
    config = configuration(source, method, 5, 64, epochs)
    network = ledger.sweep.child("network")
    if epochs:
        pretrain(config, dataset, network, lambda metrics: None)
    else:
        trainer = Trainer(config, dataset, torch.device("cpu"))
        save_checkpoint(network, checkpoint_folder(0), Checkpoint(trainer.card(0), trainer.method.state_dict()))
    return config, attach_targets(dataset, read_targets(ledger.sweep)), load_checkpoint(network, at(epochs))


def at(epochs: int) -> str:
    return checkpoint_folder(epochs)


def images_of(folder: Path, source: str, epochs: int) -> MeasuredImages:
    """Returns the images that both sides measure."""
    dataset = load_dataset(configuration(source, {"name": "vicreg"}, 5, 64, epochs).data)
    return measured_images(attach_targets(dataset, read_targets(Storage.at(folder))), SETTINGS, TASKS)


class Ours:
    """The stage, in a process of its own; what an actor holds is made before."""

    images: Any = None

    @classmethod
    def measure(cls, folder: Path, source: str, epochs: int, precision: str) -> tuple[Accuracies, Cost]:
        if cls.images is None:
            cls.images = replace(
                images_of(folder, source, epochs), settings=replace(SETTINGS, feature_precision=precision)
            )
        checkpoint = load_checkpoint(Storage.at(folder).child("network"), at(epochs))
        found, cost = timed(measure_checkpoint, checkpoint, cls.images, TASKS, torch.device("cpu"))
        rows = [row for task in found.values() for row in task if row.measurement.metric in METRICS]
        return {
            (r.layer, r.measurement.level, r.measurement.split, r.measurement.metric): r.measurement.value for r in rows
        }, cost


def plain(path: Path, train: np.ndarray, test: np.ndarray) -> tuple[dict[tuple[str, str], float], Cost]:
    """What the plain script does with one layer and target; features and standardised ones are in a file.

    Args:
        path: Of the layer.
        train: int64 [N] labels.
        test: int64 [M] labels.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import NearestCentroid

    with np.load(path) as file:
        layer = dict(file)

    def fit() -> dict[tuple[str, str], float]:
        linear = LogisticRegression(C=1 / (PENALTY * len(train)), max_iter=20_000)
        linear.fit(layer["standardised_train"], train)
        centroids = NearestCentroid().fit(layer["train"], train)
        return {
            ("train", METRICS[0]): linear.score(layer["standardised_train"], train),
            ("test", METRICS[0]): linear.score(layer["standardised_test"], test),
            ("train", METRICS[1]): centroids.score(layer["train"], train),
            ("test", METRICS[1]): centroids.score(layer["test"], test),
        }  # fmt: skip

    return timed(fit)


def plain_features(folder: Path, source: str, epochs: int) -> tuple[None, Cost]:
    """What the plain script does before it fits: views, forward passes, standardised features of every layer."""
    from sklearn.preprocessing import StandardScaler

    images, card = images_of(folder, source, epochs), load_checkpoint(Storage.at(folder).child("network"), at(epochs))
    backbone = load_backbone(card).to(memory_format=torch.contiguous_format)

    @torch.no_grad()
    def layers(batches: Iterator[Tensor]) -> list[Tensor]:
        return [torch.cat(layer) for layer in zip(*map(backbone.layers, batches), strict=True)]

    def prepare_all() -> None:
        data, samples = images.dataset, images.samples
        for train, test in (
            (unaugmented(data.train.images), unaugmented(data.test.images)),
            (views(samples, SETTINGS.num_train_views), views(samples, SETTINGS.num_test_views)),
        ):
            for one, other in zip(layers(train), layers(test), strict=True):
                scaler = StandardScaler().fit(one)
                for split in (one, other):
                    scaler.transform(split)

    return timed(prepare_all)


def unaugmented(pixels: np.ndarray) -> Iterator[Tensor]:
    """Yields batches of images uint8 [N, H, W, 3] as torchvision makes them."""
    to_tensor = T.Compose([T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)])
    for batch in torch.from_numpy(pixels).split(FORWARD_BATCH_SIZE):
        yield to_tensor(batch.permute(0, 3, 1, 2))


def views(pixels: np.ndarray, num_views: int) -> Iterator[Tensor]:
    """Yields batches of torchvision's views, so many of each image one after the other."""
    num_images = max(1, FORWARD_BATCH_SIZE // num_views)
    for start in range(0, len(pixels), num_images):
        several = np.repeat(pixels[start : start + num_images], num_views, axis=0)
        yield torchvision(torch.from_numpy(several), ViewConfig())()


def write_layers(folder: Path, checkpoint: Checkpoint, dataset: Dataset) -> dict[str, tuple[list[int], LabelLevel]]:
    """Writes the features of every layer for the plain script; returns each level and its layers, equal ones once."""
    images = measured_images(dataset, SETTINGS, TASKS)
    found = {}
    for groups in (("data", "targets"), ("sample",)):
        backbone = load_backbone(checkpoint)
        train, test = (
            extract(backbone, one, checkpoint.card, torch.device("cpu"))
            for one in pictures(checkpoint.card, images, groups[0])
        )
        different = [i for i, layer in enumerate(train) if all(layer is not other for other in train[:i])]
        levels = [level for group in groups for level in label_levels(images.dataset, SETTINGS, group)]
        found |= {level.name: (different, level) for level in levels}
        for i in different:
            scaling = Scaling.of(train[i])
            np.savez(
                folder / f"{groups[0]}-{i}.npz", train=train[i], test=test[i],
                standardised_train=scaling.apply(train[i]), standardised_test=scaling.apply(test[i]),
            )  # fmt: skip
    return found


def process(limit: Callable[[int], None], threads: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"), limit, (threads,))


def limit_theirs(threads: int) -> None:
    """Lets torch and scikit-learn's BLAS have as many threads each."""
    torch.set_num_threads(threads)
    threadpool_limits(threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="shapes", help="such as cifar100 or parquet:FOLDER (default: shapes)")
    parser.add_argument("--threads", type=int, default=local_cpus(), help="of each side (default: this machine's CPUs)")
    parser.add_argument("--epochs", type=int, default=1, help="of the measured network (default: 1)")
    parser.add_argument("--teacher-epochs", type=int, default=3, help="(default: 3)")
    parser.add_argument("--bf16", action="store_true", help="our forward passes in bf16 (default: fp32)")
    parser.add_argument("--layers", type=int, default=1, help="that the plain script fits of each target (default: 1)")
    flags = parser.parse_args()
    precision = "bf16" if flags.bf16 else FP32
    limit_threads(flags.threads)
    with (
        tempfile.TemporaryDirectory() as name,
        process(limit_threads, flags.threads) as our_process,
        process(limit_theirs, flags.threads) as theirs,
    ):
        folder = Path(name)
        _, dataset, checkpoint = prepare(folder, flags.dataset, flags.epochs, flags.teacher_epochs)
        levels = write_layers(folder, checkpoint, dataset)
        ours = [our_process.submit(Ours.measure, folder, flags.dataset, flags.epochs, precision).result()]
        accuracies = ours[0][0]
        _, before = theirs.submit(plain_features, folder, flags.dataset, flags.epochs).result()
        print(f"{flags.dataset}, RES-5-64 after {flags.epochs} epoch(s), {flags.threads} thread(s), {precision}; "
              f"ours: {ours[0][1].wall:.1f} s, CPU {ours[0][1].cpu:.1f} s", flush=True)  # fmt: skip
        print(f"{'target':12} {'layer':>5} {'s':>7} {'CPU s':>7} {'linear':>7} {'ours':>7} {'NCC':>7} {'ours':>7}")
        whole, largest, peak, num_pairs = np.zeros(2), 0.0, 0, 0
        for number, (level_name, (layers, level)) in enumerate(levels.items()):
            costs = []
            for step in range(flags.layers):
                layer = layers[(number + step * len(layers) // flags.layers) % len(layers)]
                path = folder / f"{'sample' if level_name == 'sample' else 'data'}-{layer}.npz"
                found, cost = theirs.submit(plain, path, level.train.numpy(), level.test.numpy()).result()
                costs.append(cost[:2])
                peak = max(peak, cost.peak)
                mine = {key: accuracies[layer, level_name, *key] for key in found}
                largest = max(largest, *(abs(found[key] - mine[key]) for key in found))
                shown = [side["test", metric] for metric in METRICS for side in (found, mine)]
                print(f"{level_name:12} {layer:5d} {cost.wall:7.1f} {cost.cpu:7.1f} "
                      + " ".join(f"{100 * value:7.2f}" for value in shown), flush=True)  # fmt: skip
            num_pairs += len(layers)
            whole += np.median(costs, axis=0) * len(layers)
            if number in (len(levels) // 2, len(levels) - 1):
                ours.append(our_process.submit(Ours.measure, folder, flags.dataset, flags.epochs, precision).result())
        assert all(found == accuracies for found, _ in ours)
    mine = np.median([cost[:2] for _, cost in ours], axis=0)
    print(f"ours, interleaved: {', '.join(f'{cost.wall:.1f}' for _, cost in ours)} s; plain script: features "
          f"{before.wall:.0f} s, fits {whole[0]:.0f} s, extrapolated from {len(levels) * flags.layers} of {num_pairs} "
          "pairs of layer and target")  # fmt: skip
    print(f"accuracies differ by {100 * largest:.2f} points at most")
    print(f"peak memory: ours {ours[-1][1].peak / 2**20:.0f} MiB, plain script {peak / 2**20:.0f} MiB")
    print(f"fits alone, CPU seconds: {whole[1]:.0f}: {whole[1] / mine[1]:.1f} x all of ours")
    whole += before[:2]
    print(f"CPU seconds: ours {mine[1]:.1f}, plain script {whole[1]:.0f}: {whole[1] / mine[1]:.1f} x")
    print(f"ratio {whole[0] / mine[0]:.1f} x")
    assert largest <= 0.005


if __name__ == "__main__":
    main()
