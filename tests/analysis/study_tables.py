"""Tables as a whole study leaves them: levels, targets, curves of pretraining, supervised trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from analysis.figures.base.numbers import Frame
from analysis.table import SCHEMA
from tests.analysis.pair_tables import pair_rows
from tests.analysis.purity_tables import purity_rows

NO_AUGMENTATION = "supervised (no augmentation)"
RANDOMNESS = ("0.00", "0.25", "0.50", "0.75", "1.00")
EPOCHS = (0, 1, 3, 10, 30, 100)
CLASSES = {"sample": 500, "class": 100, "superclass": 20}

# Of the representation at initialisation and at the end, and how fast it gets there.
LINEAR = {"sample": (0.86, 0.97, 4.0), "class": (0.20, 0.42, 1.0), "superclass": (0.22, 0.60, 1.0)}
NCC = {"sample": (0.70, 0.96, 4.0), "class": (0.06, 0.33, 1.0), "superclass": (0.12, 0.40, 1.0)}


def study(
    depths: tuple[int, ...] = (3,),
    widths: tuple[int, ...] = (64,),
    seeds: tuple[int, ...] = (0, 1, 2),
    methods: tuple[str, ...] = ("vicreg", "supervised", NO_AUGMENTATION),
    epochs: tuple[int, ...] = EPOCHS,
    noise: float = 0.002,
) -> Frame:
    """A table in which every published trend holds."""
    rng = np.random.default_rng(0)
    rows = []
    for method, depth, width, seed in [(m, d, w, s) for m in methods for d in depths for w in widths for s in seeds]:
        trial = ("sweep", f"{method[:6]}{len(method)}_{depth}_{width}_{seed}", method, depth, width, seed, "cifar100")
        offset = 0.004 * depth + 0.02 * np.log2(width) / 6 + noise * rng.normal()
        for epoch in epochs:
            part = np.log1p(epoch) / np.log1p(max(epochs))
            for layer, name in enumerate(["stem", *[f"block{i + 1}" for i in range(depth)], "representation"]):
                depth_part = (layer + 1) / (depth + 2)
                for level, split, metric, value in _layer(method, part, depth_part):
                    if metric.endswith("accuracy"):
                        value = float(np.clip(value + offset + noise * rng.normal(), 0, 1))
                    rows.append((*trial, epoch, layer, name, level, split, metric, value))
            for metric, value in _information(method, part).items():
                rows.append((*trial, epoch, depth + 1, "representation", "none", "test", metric, value))
        if not method.startswith("supervised"):
            rows += pair_rows(trial, np.random.default_rng(seed), epochs, depth + 1)
            rows += purity_rows(trial, np.random.default_rng(seed), epochs, depth + 1, ("class",))
            for epoch in range(1, max(epochs) + 1):
                part = np.log1p(epoch) / np.log1p(max(epochs))
                curve = {"invariance": 2.3 - 0.05 * part, "regularisation": 19 - 3 * part}
                curve["loss"] = sum(curve.values())
                for metric, value in curve.items():
                    value += 0.02 * rng.normal()
                    rows.append((*trial, epoch, -1, "training", "none", "train", metric, value))
    return pd.DataFrame(rows, columns=SCHEMA.names)


def _layer(method: str, part: float, depth_part: float) -> Iterator[tuple[str, str, str, float]]:
    """What is measured of a layer, without noise: part of the training and of the depth, 0 .. 1."""
    for level in CLASSES:
        yield level, "test", "num_classes", float(CLASSES[level])
        linear, ncc = _between(LINEAR[level], part, depth_part), _between(NCC[level], part, depth_part)
        if depth_part == 1:
            linear -= 0.06 * part * (level == "class")
        train = {"supervised": 0.45, NO_AUGMENTATION: 0.92}.get(method, 0.05) * part * (level != "sample")
        test = {"supervised": 0.06, NO_AUGMENTATION: -0.08}.get(method, 0.0) * part * (level != "sample")
        yield level, "train", "linear_accuracy", linear + 0.02
        yield level, "test", "linear_accuracy", linear + test
        yield level, "train", "ncc_accuracy", min(ncc + train, 1)
        yield level, "test", "ncc_accuracy", ncc + test
        for split in ("train", "test"):
            yield from _separation(level, split, part)
    for text in RANDOMNESS:
        yield from _target(f"teacher-{text}", float(text), part, depth_part)


def _target(level: str, randomness: float, part: float, depth_part: float) -> Iterator[tuple[str, str, str, float]]:
    gain = 0.35 * (1 - randomness) ** 2
    yield level, "test", "num_classes", 100.0
    for split in ("train", "test"):
        yield level, split, "linear_accuracy", 0.20 + 0.3 * randomness + gain * part * depth_part
        yield level, split, "ncc_accuracy", 0.10 + 0.3 * randomness + 0.8 * gain * part * depth_part
        yield from _separation(level, split, part * (1 - randomness))


def _separation(level: str, split: str, part: float) -> Iterator[tuple[str, str, str, float]]:
    variance, distance = 1.0 + 0.05 * part, 0.1 * np.exp(2 * part)
    yield level, split, "class_variance", variance
    yield level, split, "class_mean_distance", distance
    yield level, split, "cdnv", variance / distance


def _information(method: str, part: float) -> Mapping[str, float]:
    if method.startswith("supervised"):
        return {"effective_rank": 20.0}
    bounds = {"mi_dv": 5.5 - 2 * part, "mi_infonce": 5.9 - 2.1 * part, "mi_nwj": 5.4 - 1.9 * part}
    return bounds | {
        **{f"{name}_std": 0.05 * len(name) for name in bounds},
        **{f"{name}_ceiling": float(np.log(512)) for name in bounds},
        "effective_rank": 20.0, "spectral_alignment_top20": 0.3 + 0.2 * part,
    }  # fmt: skip


def _between(ends: tuple[float, float, float], part: float, depth_part: float) -> float:
    start, end, speed = ends
    return start + (end - start) * min(speed * part, 1) * (0.4 + 0.6 * depth_part)
