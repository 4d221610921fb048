"""Tables of purity, linear heads and eigengaps by k, of encoders and of an exact graph's eigenvectors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.figures.base.numbers import Frame
from analysis.table import SCHEMA

SIZES = (5, 10, 20)


def purity_rows(
    trial: tuple[object, ...], rng: np.random.Generator, epochs: tuple[int, ...], layer: int, levels: tuple[str, ...]
) -> Iterator[tuple[object, ...]]:
    """Rows of a trial in which purity and accuracy rise with k and with training, and a size without values."""
    for i, epoch in enumerate(sorted(epochs)):
        at = (*trial, epoch, layer, "representation")
        for k in (*SIZES, 50):
            part = np.nan if k == 50 else 0.02 * k**0.5 + 0.01 * i
            yield (*at, "none", "train", f"feature_eigengap_top{k}", part / k)
            for level in levels:
                yield (*at, level, "train", f"cluster_purity_top{k}", 0.1 + part + 0.001 * rng.normal())
                yield (*at, level, "test", f"linear_accuracy_top{k}", 0.1 + 2 * part + 0.001 * rng.normal())


def purity_table(
    methods: tuple[str, ...] = ("vicreg", "swav"),
    seeds: tuple[int, ...] = (0, 1, 2),
    epochs: tuple[int, ...] = (0, 20),
    levels: tuple[str, ...] = ("class", "superclass"),
    dataset: str = "shapes",
) -> Frame:
    """The table of encoders."""
    rng = np.random.default_rng(0)
    rows = []
    for method, seed in [(method, seed) for method in methods for seed in seeds]:
        rows += purity_rows(("sweep", f"{method}{seed}", method, 2, 16, seed, dataset), rng, epochs, 3, levels)
    return pd.DataFrame(rows, columns=SCHEMA.names)


def graph_table(levels: tuple[str, ...] = ("class", "superclass"), dataset: str = "shapes") -> Frame:
    """The table of eigenvectors: the bound says something from k 10 on, and the gap after 5 is none."""
    rows = []
    for k in SIZES:
        at = ("graph", f"eigenvectors{k}", "eigenvectors", 0, k, 0, dataset, 0, 0, "representation")
        rows.append((*at, "none", "train", "eigengap", 0.0 if k == 5 else 0.2 / k))
        for level in levels:
            values = {"cluster_purity": 0.2 + k / 100, "head_error": 0.7 - k / 100, "head_error_bound": 1.2 - k / 40}
            rows += [(*at, level, "train", metric, value) for metric, value in values.items()]
            rows.append((*at, level, "test", "linear_accuracy", 0.3))
    return pd.DataFrame(rows, columns=SCHEMA.names)
