"""Tables as a sweep on transfer leaves them: accuracies in source and target, distances of the domains, points."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis import projections
from analysis.figures.base.numbers import Frame
from analysis.table import SCHEMA

METHODS = {
    "swav (source + target)": (0.62, 2.1),
    "swav (source + target + extra)": (0.68, 2.3),
    "swav (source)": (0.45, 3.0),
    "supervised (source)": (0.42, 2.7),
    "dann (source + target)": (0.52, 0.5),
    "self_training (source + target)": (0.50, 1.9),
}
"""Accuracy in the target and distance of the domains at the end."""

POINTS = 25


def transferred(
    seeds: tuple[int, ...] = (0, 1, 2), epochs: tuple[int, ...] = (0, 5, 20), depth: int = 2,
    methods: tuple[str, ...] = tuple(METHODS), width: int = 16,
) -> Frame:  # fmt: skip
    """A table in which what arXiv 2204.02683 claims holds; all values differ."""
    rng = np.random.default_rng(0)
    rows = []
    for method, seed in [(m, s) for m in methods for s in seeds]:
        trial = ("sweep", f"{list(METHODS).index(method)}_{depth}_{seed}", method, depth, width, seed, "shapes")
        for epoch in epochs:
            for layer, name in enumerate(["stem", *[f"block{i + 1}" for i in range(depth)], "representation"]):
                part = np.log1p(epoch) / np.log1p(20) * (layer + 1) / (depth + 2)
                rows.append((*trial, epoch, layer, name, "class", "test", "num_classes", 20.0))
                for metric, value in _values(method, part):
                    value += 0.01 * rng.normal()
                    rows += [(*trial, epoch, layer, name, "class", split, metric, value) for split in ("train", "test")]
    return pd.DataFrame(rows, columns=SCHEMA.names)


def _values(method: str, part: float) -> Iterator[tuple[str, float]]:
    target, distance = METHODS[method]
    heads = {"logistic": 0.0, "pfa1": 0.12, "pfa2": 0.05, "pfa3": 0.07}
    heads |= {"centred_pfa1": 0.02, "centred_pfa2": 0.06, "centred_pfa3": 0.09}
    for head, less in heads.items():
        yield f"target_accuracy_{head}", 0.15 + (target - 0.15) * part - less * part
        yield f"source_accuracy_{head}", 0.2 + (target + 0.08) * part - less * part
    yield "domain_accuracy", 0.95 - (0.35 if distance < 1 else 0.05) * part
    yield "domain_distance", 1.5 + (distance - 1.5) * part
    yield "domain_distance_of_class", 1.8 + (distance - 1.6) * part


def clusters(seeds: tuple[int, ...] = (0, 1), epochs: tuple[int, ...] = (0, 5, 20), depth: int = 2) -> Frame:
    """Points of two classes in two domains; further apart at the end."""
    rng = np.random.default_rng(0)
    corners = {8: (0, 0), 9: (0, 1), 24: (1, 0), 25: (1, 1)}
    rows = []
    for i, (method, seed) in enumerate((m, s) for m in METHODS for s in seeds):
        trial = ("sweep", f"{i}_{depth}_{seed}", method, depth, 16, seed, "shapes")
        for epoch, (layer, name) in [(e, one) for e in epochs for one in enumerate(("stem", "representation"))]:
            for j, (label, corner) in enumerate(corners.items()):
                text = f"{('disc', 'cross')[corner[0]]}, {('photo', 'sketch')[corner[1]]}"
                for point in range(j * POINTS, (j + 1) * POINTS):
                    place = np.array(corner) * epoch / 5 + rng.normal(size=2)
                    rows.append((*trial, epoch, layer, name, "domains", label, text, point, *place))
    return pd.DataFrame(rows, columns=projections.SCHEMA.names)
