"""UMAP of the features of a few labels in the plane: what a person would look at.

Shown are five labels of each level, the same for all checkpoints and layers: of level sample all training views of
five images, of class and superclass up to 100 test images each. Of level "domains" they are four, two classes in
source and target, up to 100 test images each. It yields points, no numbers: they go into the table of projections
(`analysis.projections`).

Source: UMAP, arXiv 1802.03426 (umap-learn); figure 1 of arXiv 2305.15614.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.features import LayerFeatures, require_finite
from analysis.labels import LabelLevel
from analysis.metrics.base import MetricSpec, Point
from analysis.tasks import DATA, DOMAINS, SAMPLE
from ray_ssl.data.base import EXTRA, SOURCE, TARGET
from ray_ssl.errors import UserError
from ray_ssl.rng import numpy_stream, stream_seed

SPECS: tuple[MetricSpec, ...] = ()
GROUPS: Final = (DATA, SAMPLE, DOMAINS)
ON_REQUEST: Final = True

NUM_LABELS: Final = 5
NUM_CLASSES: Final = 2
"""Of level "domains"."""

NUM_IMAGES: Final = 100
"""Test images of each class, superclass or class of a domain at most."""

NUM_NEIGHBOURS: Final = 15
MIN_DISTANCE: Final = 0.1
LEAST_POINTS: Final = 10
"""Of fewer, no neighbourhood is left that could be preserved."""

_SEED: Final = 0


def check_levels(levels: list[LabelLevel]) -> None:
    """Raises UserError where a level has too few pictures; the features need not be known."""
    for level in levels:
        shown_rows(of_domains(level))


def project(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Point]:
    """Yields the points of each level, those of a level projected by themselves.

    Raises:
        UserError: See `check_levels`.
        ValueError: UMAP's coordinates are not finite.
    """
    for level in map(of_domains, levels):
        rows = shown_rows(level)
        of_views = level.name == SAMPLE
        placed = embed((features.train if of_views else features.test)[rows])
        labels = (level.train if of_views else level.test)[rows]
        for row, label, (x, y) in zip(rows.tolist(), labels.tolist(), placed.tolist(), strict=True):
            yield Point(level.name, label, level.names[label] if level.names else "", row, x, y)


def of_domains(level: LabelLevel) -> LabelLevel:
    """Returns the level "domains" of a level with domains: each class in the source and in the target is a label.

    Label 2 * class + domain is named "disc, photo"; extra training images are left out. Other levels are returned as
    they are.
    """
    if level.domains is None:
        return level
    of_class = level.names or tuple(map(str, range(level.num_classes)))
    names = tuple(f"{name}, {level.domain_names[domain]}" for name in of_class for domain in (SOURCE, TARGET))
    train_domain, test_domain = level.domains
    train = (2 * level.train + train_domain)[train_domain < EXTRA]
    return LabelLevel(DOMAINS, train, 2 * level.test + test_domain, 2 * level.num_classes, names=names)


def shown_rows(level: LabelLevel) -> Tensor:
    """Returns int64 [P], ascending: rows of the shown pictures among the training views (sample) or the test images.

    Raises:
        UserError: There are fewer than `LEAST_POINTS`.
    """
    labels = (level.train if level.name == SAMPLE else level.test).numpy()
    chosen = _shown_labels(level, labels)
    rows = np.sort(np.concatenate([_rows_of(labels, int(label), level.name) for label in chosen]))
    if len(rows) < LEAST_POINTS:
        what = "training views (--num-train-views)" if level.name == SAMPLE else "test images (--num-test-images)"
        raise UserError(
            f"umap at level {level.name} needs {LEAST_POINTS} pictures at least, {len(chosen)} of its labels have "
            f"{len(rows)}: give more {what}"
        )
    return torch.from_numpy(rows)


def _shown_labels(level: LabelLevel, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first labels in a seeded order that have pictures; of level "domains" both of the first classes."""
    stream = numpy_stream(_SEED, f"umap labels of {level.name}")
    if level.name != DOMAINS:
        order = stream.permutation(level.num_classes)
        return order[np.isin(order, labels)][:NUM_LABELS]
    pairs = 2 * stream.permutation(level.num_classes // 2)[:, None] + np.array([SOURCE, TARGET])
    return pairs[np.isin(pairs, labels).all(1)][:NUM_CLASSES].ravel()


def _rows_of(labels: NDArray[np.int64], label: int, level: str) -> NDArray[np.int64]:
    """The shown pictures of one label."""
    rows = np.flatnonzero(labels == label)
    if level == SAMPLE:
        return rows
    return numpy_stream(_SEED, f"umap images of {level}", step=label).permutation(rows)[:NUM_IMAGES]


def embed(features: Tensor) -> NDArray[np.float32]:
    """Returns float32 [N, 2], where UMAP puts raw features; the same on every call.

    Args:
        features: float [N, D], N >= 10; Euclidean distances are preserved in neighbourhoods of 15 (N - 1 if fewer).

    Raises:
        ValueError: A feature, or where it is put, is NaN or infinite.
    """
    require_finite(features, "features")
    num_threads = torch.get_num_threads()
    with warnings.catch_warnings():
        # Said of every import, and of every set of features whose clusters lie far apart, which is what one hopes for.
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        warnings.filterwarnings("ignore", "Graph is not fully connected", UserWarning)
        import umap  # compiles for seconds

        reducer = umap.UMAP(
            n_neighbors=min(NUM_NEIGHBOURS, len(features) - 1),
            min_dist=MIN_DISTANCE,
            random_state=stream_seed(_SEED, "umap") % 2**32,
            n_jobs=1,
        )
        placed = np.asarray(reducer.fit_transform(features.cpu().numpy()), np.float32)
    torch.set_num_threads(num_threads)  # numba gives torch all CPUs, which others of this machine's actors use too
    require_finite(torch.from_numpy(placed), "coordinates of UMAP")
    return placed
