"""Tables of pairs of classes: their connectivity, and how heads of the source transfer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.class_pairs import class_pairs, pair_level
from analysis.figures.base.numbers import Frame
from analysis.prediction import ACCURACY, EDGES, SOURCE_ACCURACY
from analysis.table import IMAGES, IMAGES_LAYER, SCHEMA

NUM_CLASSES = 5


def pair_rows(
    trial: tuple[object, ...], rng: np.random.Generator, epochs: tuple[int, ...], layer: int, slope: float = 1.0
) -> Iterator[tuple[object, ...]]:
    """Rows of a trial in which accuracy at the last epoch follows the prediction, and at no other."""
    for i, pair in enumerate(class_pairs(NUM_CLASSES)):
        level, part = pair_level("class", *pair), i / 9
        edges = (0.5, 0.30 + 0.1 * part, 0.2 + 0.1 * part, 0.05)
        for metric, value in zip(EDGES, edges, strict=True):
            value += 0.002 * rng.normal()
            yield (*trial, 0, IMAGES_LAYER, IMAGES, level, "test", metric, value)
        for epoch in epochs:
            accuracy = 0.7 + 0.2 * slope * part + 0.002 * rng.normal() if epoch == max(epochs) else 0.9 - 0.1 * part
            yield (*trial, epoch, layer, "representation", level, "test", ACCURACY, accuracy)
            of_source = 0.95 - 0.01 * (3 * i % 10)  # in an order that has little to do with the prediction
            yield (*trial, epoch, layer, "representation", level, "test", SOURCE_ACCURACY, of_source)


def transfer_table(
    methods: tuple[str, ...] = ("swav (source + target)", "swav (source)", "dann (source + target)"),
    seeds: tuple[int, ...] = (0, 1, 2),
    dataset: str = "shapes-photo-to-sketch",
    slope: float = 1.0,
) -> Frame:
    """The table of a sweep on transfer."""
    rng = np.random.default_rng(len(dataset))
    rows = []
    for method, seed in [(method, seed) for method in methods for seed in seeds]:
        trial = ("sweep", "".join(c for c in f"{method}{seed}{dataset}" if c.isalnum()), method, 2, 16, seed, dataset)
        rows += pair_rows(trial, rng, (0, 20), 3, slope)
    return pd.DataFrame(rows, columns=SCHEMA.names)
