"""Seconds of the linear probe against scikit-learn's LogisticRegression on the same objective.

`RAY_SSL_CIFAR100=/path/to/parquet python -m tests.benchmarks.probe [--features FILE] [--threads 2]`

Seven label sets of one 50,000 x 128 layer: CIFAR-100's 100 classes, 20 superclasses and five random sets of
100 classes. The layer is that of a randomly initialised RES-3-128; `--features` keeps it for the next run, or
brings another one: torch.save of {"train": [N, D], "test": [M, D], "ytr": (fine, coarse), "yte": (fine, coarse)}.
scikit-learn runs with its own defaults (lbfgs, tol 1e-4) on the same standardised float32 features; our solver
runs before, between and after its fits. The last line is the ratio of the seconds; where other processes share
the cores, `--threads 1` and the ratio of CPU seconds above it are what to compare.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from analysis.logistic import Fit, Scaling, fit, predict
from analysis.metrics.linear_probe import PENALTY, TOLERANCE
from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config
from ray_ssl.data.load import load_dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.rng import torch_stream
from tests.benchmarks.images import source

NUM_RANDOM_SETS = 5
Result = TypeVar("Result")
Layer = dict[str, Tensor | tuple[Tensor, Tensor]]


def random_layer() -> Layer:
    """Returns the pooled features of CIFAR-100 under a randomly initialised RES-3-128, with both label sets."""
    torch.manual_seed(0)
    backbone = build_backbone(Config(depth=3, width=128), 32).eval()
    dataset = load_dataset(DataConfig(dataset=source()))
    layer: Layer = {}
    for features_key, labels_key, split in (("train", "ytr", dataset.train), ("test", "yte", dataset.test)):
        with torch.no_grad():
            batches = torch.tensor(split.images).split(500)
            layer[features_key] = torch.cat([backbone(b.permute(0, 3, 1, 2) / 127.5 - 1) for b in batches])
        assert split.coarse is not None
        layer[labels_key] = torch.tensor(split.fine), torch.tensor(split.coarse)
    return layer


def timed(call: Callable[[], Result]) -> tuple[np.ndarray, Result]:
    """Returns wall and CPU seconds [2] of one call, and what it returned."""
    start = time.perf_counter(), time.process_time()
    result = call()
    return np.array([time.perf_counter() - start[0], time.process_time() - start[1]]), result


def ours(train: Tensor, label_sets: list[tuple[Tensor, int]]) -> tuple[np.ndarray, tuple[Scaling, list[Fit]]]:
    return timed(lambda: fit(train, label_sets, PENALTY, TOLERANCE))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, help="read features from here; where it is missing, write it")
    parser.add_argument("--threads", type=int, default=2, help="threads of both sides (default: 2)")
    arguments = parser.parse_args()
    path = arguments.features
    torch.set_num_threads(arguments.threads)
    threadpool_limits(arguments.threads)
    if path and path.exists():
        layer = torch.load(path, weights_only=True)
    elif source() == "shapes":
        parser.error("RAY_SSL_CIFAR100 must name the folder of CIFAR-100's Parquet files, or --features a file")
    else:
        layer = random_layer()
        if path:
            torch.save(layer, path)
    train, test = layer["train"], layer["test"]
    assert isinstance(train, Tensor) and isinstance(test, Tensor)

    generator = torch_stream(0, "random labels")
    sets = [("class", layer["ytr"][0], layer["yte"][0], 100), ("superclass", layer["ytr"][1], layer["yte"][1], 20)]
    for i in range(NUM_RANDOM_SETS):
        labels, test_labels = (torch.randint(100, (len(x),), generator=generator) for x in (train, test))
        sets.append((f"random{i}", labels, test_labels, 100))
    label_sets = [(labels, k) for _, labels, _, k in sets]

    before = peak_mb()
    first, (scaling, fits) = ours(train, label_sets)
    print(
        f"{len(train)} x {train.shape[1]}, penalty {PENALTY}, tolerance {TOLERANCE}, {arguments.threads} threads; "
        f"ours: {first[0]:.2f} s, peak memory +{peak_mb() - before:.0f} MB over {before:.0f} MB",
        flush=True,
    )
    our_seconds, their_seconds = [first], np.zeros(2)
    x, x_test = scaling.apply(train).numpy(), scaling.apply(test).numpy()
    print(f"{'label set':11} {'sklearn s':>9} {'iterations':>10} {'loss':>9} {'ours':>9} {'test acc':>8} {'ours':>7}")
    for i, ((name, labels, test_labels, _), one, guess) in enumerate(
        zip(sets, fits, predict(test, scaling, fits), strict=True)
    ):
        model = LogisticRegression(C=1 / (PENALTY * len(x)), max_iter=5000)
        seconds, theirs = timed(partial(model.fit, x, labels.numpy()))
        their_seconds += seconds
        log_p = theirs.predict_log_proba(x)[np.arange(len(x)), labels.numpy()]
        loss = -log_p.mean(dtype=np.float64) + PENALTY / 2 * np.square(theirs.coef_, dtype=np.float64).sum()
        accuracy = theirs.score(x_test, test_labels.numpy())
        our_accuracy = (guess == test_labels).double().mean().item()
        print(
            f"{name:11} {seconds[0]:9.2f} {theirs.n_iter_[0]:10d} {loss:9.5f} {one.loss:9.5f} "
            f"{accuracy:8.4f} {our_accuracy:7.4f}",
            flush=True,
        )
        assert one.converged and one.loss <= loss * (1 + 1e-3) and abs(accuracy - our_accuracy) <= 0.005
        if i in (0, 1, len(sets) - 1):
            our_seconds.append(ours(train, label_sets)[0])
    median = np.median(our_seconds, axis=0)
    print("ours, interleaved:", ", ".join(f"{s[0]:.2f}" for s in our_seconds), f"s; sklearn: {their_seconds[0]:.2f} s")
    print(f"CPU seconds: ours {median[1]:.2f}, sklearn {their_seconds[1]:.2f}: {their_seconds[1] / median[1]:.1f} x")
    print(f"ratio {their_seconds[0] / median[0]:.1f} x")


if __name__ == "__main__":
    main()
