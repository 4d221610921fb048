"""Measures features of an exact graph: eigenvectors, and what the spectral contrastive loss learns, as table rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import torch

from analysis.features import LayerFeatures
from analysis.graph.alignment import (
    EIGENVALUE_SUM,
    NUM_EQUAL,
    NUM_NODES,
    NUM_STEPS,
    alignment,
    cosines,
    feature_basis,
)
from analysis.graph.contrastive import Learned, Training, least_loss, population_loss
from analysis.graph.labels import cluster_purity, error_bound, head_error
from analysis.graph.pair_graph import Floats, PairGraph
from analysis.graph.partition import conductances, spectral_clusters
from analysis.graph.spectrum import Spectrum
from analysis.graph.ties import closest, minimisers
from analysis.graph.views import Pixels, ViewFamily, ViewGraph, build
from analysis.labels import LabelLevel, data_levels
from analysis.metrics import linear_probe, num_classes
from analysis.metrics.base import UNLABELLED, Measurement
from ray_ssl.data.base import UNLABELLED as NO_LABEL
from ray_ssl.data.base import Dataset

GRAPH_TASK: Final = "graph"
"""Task of these parts of the table."""

ALIGNMENT, SMALLEST, LOSS, LEAST_LOSS = "eigenvector_alignment", "eigenvector_cosine", "spectral_loss", "least_loss"
PURITY, GAP, HEAD_ERROR, BOUND = "cluster_purity", "eigengap", "head_error", "head_error_bound"
"""Metrics of these rows, besides linear_accuracy, num_classes and those of `alignment`:

    eigenvector_alignment: Of the k learned features with the top k eigenvectors (see `alignment`), 0 .. 1; where
        eigenvalue k equals the next, with the closest span of least loss (see `ties.closest`).
    eigenvector_cosine: Cosine of the largest principal angle between both spans, 0 .. 1.
    spectral_loss, least_loss: The population loss, and its minimum over all features of k dimensions.
    cluster_purity: Of k spectral clusters, 0 .. 1.
    eigengap: k-th eigenvalue less the next, 0 .. 1.
    head_error: Of the least-squares head on views of all images, 0 .. 1 (see `labels`).
    head_error_bound: Its bound, which says nothing from 1 on.
"""


class Study(NamedTuple):
    """Images, their exact graph and its spectrum.

    Attributes:
        dataset: Training and test images; the graph is of both, without labels.
        found: The graph.
        spectrum: Its top eigenpairs; of features that are learned, see `ties.spectrum_with_ties`.
    """

    dataset: Dataset
    found: ViewGraph
    spectrum: Spectrum

    @property
    def graph(self) -> PairGraph:
        """The graph."""
        return self.found.graph

    @property
    def levels(self) -> list[LabelLevel]:
        """The label levels of the images; none where `left_out` has the class."""
        left_out = self.left_out
        found = [] if "class" in left_out else data_levels(self.dataset)
        return [level for level in found if level.name not in left_out]

    @property
    def left_out(self) -> dict[str, str]:
        """Why there are no labels of a level that the images have, in words, by its name."""
        train, test = self.dataset.train, self.dataset.test
        found: dict[str, str] = {}
        for name, sides in {"class": (train.fine, test.fine), "superclass": (train.coarse, test.coarse)}.items():
            labels = np.concatenate([side for side in sides if side is not None] or [np.zeros(0, np.int64)])
            if missing := int((labels == NO_LABEL).sum()):
                found[name] = f"{missing} of {len(labels)} images have none"
            elif len(labels) and len(np.unique(labels)) < 2:
                found[name] = "all images have the same"
        return found

    def all_labels(self, level: LabelLevel) -> np.ndarray:
        """Returns the labels of all images, int64 [n]."""
        return torch.cat([level.train, level.test]).numpy()


def graph_of(dataset: Dataset, family: ViewFamily) -> ViewGraph:
    """Returns the graph of training and test images together."""
    images: list[Pixels] = [split.take(np.arange(len(split))).images for split in (dataset.train, dataset.test)]
    return build(np.concatenate(images), family)


def probe(study: Study, features: Floats) -> Iterator[Measurement]:
    """Yields linear accuracy and the number of classes, of each image's mean feature over its views, for each level.

    The linear probe is the project's own: it learns from training images and is tested on the others.

    Args:
        study: N nodes.
        features: float [N, k].
    """
    of_images = torch.from_numpy(study.graph.probabilities @ np.asarray(features, np.float64)).float()
    split = len(study.dataset.train)
    layer = LayerFeatures(of_images[:split], of_images[split:])
    if levels := study.levels:
        yield from linear_probe.measure(layer, levels)
        yield from num_classes.measure(layer, levels)


def measure_learned(study: Study, learned: Learned, training: Training) -> Iterator[Measurement]:
    """Yields how close learned features are to the eigenvectors, their loss and their linear accuracy."""
    basis = feature_basis(learned.features, study.graph.node_weights)
    spans = minimisers(study.graph, study.spectrum, training.k)
    top = closest(basis, spans)
    yield _number(ALIGNMENT, alignment(basis, top).principal)
    yield _number(SMALLEST, float(cosines(basis[:, : training.k], top).min()))
    yield _number(LOSS, learned.loss)
    yield _number(LEAST_LOSS, least_loss(study.spectrum, training.k))
    yield _number(NUM_NODES, float(study.graph.num_nodes))
    yield _number(NUM_STEPS, float(training.num_steps))
    yield _number(NUM_EQUAL, float(spans.num_equal))
    yield from probe(study, learned.features)


def measure_eigenvectors(study: Study, k: int) -> Iterator[Measurement]:
    """Yields what the top k eigenvectors reach: clusters, purity, a linear head and its bound, the linear probe."""
    graph, spectrum = study.graph, study.spectrum
    features = spectrum.vectors[:, :k] / np.sqrt(graph.node_weights)[:, None]
    clusters = spectral_clusters(graph, spectrum, k)
    optimum = features * np.sqrt(spectrum.values[:k])
    yield _number(LOSS, population_loss(graph, optimum))
    yield _number(LEAST_LOSS, least_loss(spectrum, k))
    yield _number(NUM_NODES, float(graph.num_nodes))
    yield _number(EIGENVALUE_SUM, graph.eigenvalue_sum)
    yield _number(GAP, float(spectrum.values[k - 1] - spectrum.values[k]))
    yield _number("largest_conductance", float(np.nanmax(conductances(graph, clusters, k))))
    for level in study.levels:
        labels, count = study.all_labels(level), level.num_classes
        yield _number(PURITY, cluster_purity(graph, clusters, labels, count), level.name)
        yield _number(HEAD_ERROR, head_error(graph, features, labels, count), level.name)
        yield _number(BOUND, error_bound(graph, spectrum, k, labels, count), level.name)
    yield from probe(study, optimum)


def _number(metric: str, value: float, level: str = UNLABELLED) -> Measurement:
    return Measurement(level, "train", metric, value)
