"""Seconds of the linear probe against scikit-learn's LogisticRegression on the same objective.

`RAY_SSL_CIFAR100=/path/to/parquet python -m tests.benchmarks.probe [--features FILE]`

Seven label sets of one 50,000 x 128 layer: CIFAR-100's 100 classes, 20 superclasses and five random sets of
100 classes. The layer is that of a randomly initialised RES-3-128; `--features` keeps it for the next run, or
brings another one: torch.save of {"train": [N, D], "test": [M, D], "ytr": (fine, coarse), "yte": (fine, coarse)}.
scikit-learn runs with its own defaults (lbfgs, tol 1e-4) on the same standardised float32 features; our solver
runs before, between and after its fits. The last line is the ratio of the seconds.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from analysis.logistic import Fit, Scaling, fit, predict
from analysis.metrics.linear_probe import PENALTY, TOLERANCE
from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config
from ray_ssl.rng import torch_stream

NUM_RANDOM_SETS = 5
Layer = dict[str, Tensor | tuple[Tensor, Tensor]]


def random_layer(folder: Path) -> Layer:
    """Returns the pooled features of CIFAR-100 under a randomly initialised RES-3-128, with both label sets."""
    torch.manual_seed(0)
    backbone = build_backbone(Config(depth=3, width=128), 32).eval()
    layer: Layer = {}
    for split, labels_key in (("train", "ytr"), ("test", "yte")):
        table = pq.read_table(next(folder.glob(f"{split}-*.parquet")))
        blobs = [row["bytes"] for row in table.column("img").to_pylist()]
        images = torch.tensor(np.stack([np.asarray(Image.open(io.BytesIO(b)).convert("RGB")) for b in blobs]))
        with torch.no_grad():
            batches = (backbone(b.permute(0, 3, 1, 2) / 127.5 - 1) for b in images.split(500))
            layer[split] = torch.cat(list(batches))
        fine, coarse = (torch.tensor(table.column(f"{n}_label").to_numpy()) for n in ("fine", "coarse"))
        layer[labels_key] = fine, coarse
    return layer


def ours(train: Tensor, label_sets: list[tuple[Tensor, int]]) -> tuple[float, tuple[Scaling, list[Fit]]]:
    start = time.perf_counter()
    fitted = fit(train, label_sets, PENALTY, TOLERANCE)
    return time.perf_counter() - start, fitted


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, help="read features from here; where it is missing, write it")
    path = parser.parse_args().features
    torch.set_num_threads(2)
    if path and path.exists():
        layer = torch.load(path)
    else:
        layer = random_layer(Path(os.environ["RAY_SSL_CIFAR100"]))
        if path:
            torch.save(layer, path)
    train, test = layer["train"], layer["test"]
    assert isinstance(train, Tensor) and isinstance(test, Tensor)

    generator = torch_stream(0, "random labels")
    sets = [("class", layer["ytr"][0], layer["yte"][0], 100), ("superclass", layer["ytr"][1], layer["yte"][1], 20)]
    for i in range(NUM_RANDOM_SETS):
        labels = [torch.randint(100, (len(x),), generator=generator) for x in (train, test)]
        sets.append((f"random{i}", *labels, 100))
    label_sets = [(labels, k) for _, labels, _, k in sets]

    before = peak_mb()
    first, (scaling, fits) = ours(train, label_sets)
    print(f"{len(train)} x {train.shape[1]}, penalty {PENALTY}, tolerance {TOLERANCE}; ours: {first:.2f} s, "
          f"peak memory +{peak_mb() - before:.0f} MB over {before:.0f} MB")
    our_seconds, their_seconds = [first], []
    x, x_test = scaling.apply(train).numpy(), scaling.apply(test).numpy()
    print(f"{'label set':11} {'sklearn s':>9} {'iterations':>10} {'loss':>9} {'ours':>9} {'test acc':>8} {'ours':>7}")
    for i, ((name, labels, test_labels, _), one, guess) in enumerate(zip(sets, fits, predict(test, scaling, fits))):
        start = time.perf_counter()
        theirs = LogisticRegression(C=1 / (PENALTY * len(x)), max_iter=5000).fit(x, labels.numpy())
        their_seconds.append(time.perf_counter() - start)
        log_p = theirs.predict_log_proba(x)[np.arange(len(x)), labels.numpy()]
        loss = -log_p.mean(dtype=np.float64) + PENALTY / 2 * np.square(theirs.coef_, dtype=np.float64).sum()
        accuracy = theirs.score(x_test, test_labels.numpy())
        our_accuracy = (guess == test_labels).double().mean().item()
        print(f"{name:11} {their_seconds[-1]:9.2f} {theirs.n_iter_[0]:10d} {loss:9.5f} {one.loss:9.5f} "
              f"{accuracy:8.4f} {our_accuracy:7.4f}", flush=True)
        assert one.converged and one.loss <= loss * (1 + 1e-3) and abs(accuracy - our_accuracy) <= 0.005
        if i in (0, 1, len(sets) - 1):
            our_seconds.append(ours(train, label_sets)[0])
    print("ours, interleaved:", ", ".join(f"{s:.2f}" for s in our_seconds), "s; sklearn:", f"{sum(their_seconds):.2f} s")
    print(f"ratio {sum(their_seconds) / statistics.median(our_seconds):.1f} x")


if __name__ == "__main__":
    main()
