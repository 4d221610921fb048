"""Tables as a sweep on fine-tuning leaves them: heads and moved features of trials that differ in learning rates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.figures.base.numbers import Frame
from analysis.table import SCHEMA

RATES = (6e-4, 2e-3, 6e-3)
BEST = 1
"""Index of the rate that is best on validation images."""
LAYERS = ("stem", "block1", "block2", "representation")
SPLITS = ("validation", "test", "target")


def fine_tuned(
    seeds: tuple[int, ...] = (0, 1, 2), pretrained: tuple[int, ...] = (0, 10, 100), epochs: int = 4,
    dataset: str = "shapes-blur:0.5", networks: tuple[str, ...] = ("vicreg-2-16",),
    pretrained_seeds: tuple[int, ...] = (0,), settings: tuple[str, ...] = ("",), strength: float = 0.5,
) -> Frame:  # fmt: skip
    """A table in which what arXiv 2202.10054 claims holds, the more so with good features and a large shift."""
    rng = np.random.default_rng(0)
    rows = []
    axes = [(n, p, e, head, t, r, s) for n in networks for p in pretrained_seeds for e in pretrained
            for head in ("fresh", "probe") for t in settings for r in range(len(RATES)) for s in seeds]  # fmt: skip
    for number, (network, pretrained_seed, quality, head, setting, rate, seed) in enumerate(axes):
        probed, text = " (probed head)" * (head == "probe"), f" ({setting})" if setting else ""
        method = f"supervised from {network}-s{pretrained_seed}-e{quality}{probed}{text}"
        trial = ("sweep", f"{int(100 * strength):03d}{number:013d}", method, 2, 16, seed, dataset)
        good = np.log1p(quality) / np.log1p(100)
        for epoch in range(epochs + 1):
            at = (*trial, epoch)
            noise = 0.004 * rng.normal() if epoch else 0.002 * pretrained_seed
            for split, accuracy in _accuracies(head, rate, epoch / epochs, good, strength):
                rows.append((*at, 3, LAYERS[-1], "class", split, "head_accuracy", accuracy + noise))
            rows.append((*at, 3, LAYERS[-1], "none", "train", "peak_learning_rate", RATES[rate]))
            for layer, name in enumerate(LAYERS):
                for split in SPLITS:
                    moved = epoch / epochs * (rate + 1) * (1 + layer) * (0.1 if head == "probe" else 0.4)
                    moved *= (0.6 if split == "target" else 1.0) * (1 + 0.1 * rng.random())
                    rows.append((*at, layer, name, "none", split, "feature_distance", moved))
                    rows.append((*at, layer, name, "none", split, "relative_feature_distance", moved / (2 + layer)))
    return pd.DataFrame(rows, columns=SCHEMA.names)


def _accuracies(head: str, rate: int, part: float, good: float, strength: float) -> Iterator[tuple[str, float]]:
    """Of validation, test and target images, without noise; `part` of the fine-tuning is over."""
    probe = 0.2 + 0.4 * good
    start = probe if head == "probe" else 0.05
    end = 0.66 + 0.1 * good + (0.03 if head == "probe" else 0.0)
    source = start + (end - start) * part - 0.1 * part * abs(rate - BEST)
    loss = strength * good * (part if head == "fresh" else -0.1 * part)
    target = (probe - 0.2 * strength if head == "probe" else source) - loss
    yield from zip(SPLITS, (source, source - 0.01, target), strict=True)
