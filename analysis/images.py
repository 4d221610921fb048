"""The images that are measured, the same for all checkpoints, and how a network looks at them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.connectivity.classifier import VIEWS
from analysis.connectivity.compared import Eigenvectors
from analysis.features import Pictures
from analysis.graph.nodes import GraphNodes, graph_nodes
from analysis.measurable import check_measurable, labelled
from analysis.metrics.base import SPLITS
from analysis.settings import AnalysisSettings
from analysis.tasks import CLASS_GRAPH, DATA, DOMAINS, GRAPH, IMAGE_GRAPH, SAMPLE, TARGETS, metric_and_group
from ray_ssl.config import ViewConfig
from ray_ssl.data.base import Dataset, ImageSet
from ray_ssl.rng import numpy_stream

POPULATIONS: Final = ((DATA, TARGETS, DOMAINS), (SAMPLE,), (GRAPH,), (CLASS_GRAPH,), (IMAGE_GRAPH,))
"""Groups of label levels that share their images, where all of these have labels."""


@dataclass(frozen=True)
class MeasuredImages:
    """The images that are measured, the same for all checkpoints.

    Attributes:
        dataset: For the levels of the data and the targets.
        samples: uint8 [S, H, W, 3] of level "sample"; empty unless a task needs them.
        settings: See `AnalysisSettings`.
        nodes: Of the graphs of training and test images; None unless a task needs them.
        graphs: Estimated ones, by group, those that a task needs.
        of_graph: uint8 [G, H, W, 3], the nodes of the estimated graph of images; empty unless a task needs them.
        domains: For level domains, where images of the target have no label, which `dataset` leaves out; else None.
    """

    dataset: Dataset
    samples: NDArray[np.uint8]
    settings: AnalysisSettings
    nodes: tuple[GraphNodes, GraphNodes] | None = None
    graphs: Mapping[str, Eigenvectors] = field(default_factory=dict)
    of_graph: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 1, 1, 3), np.uint8))
    domains: Dataset | None = None

    def of(self, group: str) -> Dataset:
        """Returns the images of a group of levels of the data."""
        return self.dataset if group != DOMAINS or self.domains is None else self.domains

    @property
    def populations(self) -> tuple[tuple[str, ...], ...]:
        """Groups of label levels that share their images, hence their features."""
        if self.domains is None:
            return POPULATIONS
        return (*(tuple(group for group in one if group != DOMAINS) for one in POPULATIONS), (DOMAINS,))


def measured_images(
    dataset: Dataset, settings: AnalysisSettings, tasks: Sequence[str], graphs: Mapping[str, Eigenvectors] | None = None
) -> MeasuredImages:
    """Returns the images that these tasks need.

    Args:
        dataset: All images.
        settings: How many of them.
        tasks: See `analysis.tasks`.
        graphs: See `MeasuredImages`.

    Raises:
        UserError: Fewer training images than samples, or no targets.
    """
    check_measurable(dataset, settings, tasks)
    groups = {metric_and_group(task)[1] for task in tasks}
    num_samples = settings.num_samples if groups & {SAMPLE, GRAPH} else 0
    samples = random_images(dataset.train, num_samples, settings.sample_seed, "samples").images
    nodes = None
    if GRAPH in groups:
        test = random_images(dataset.test, num_samples, settings.sample_seed, "test images of the graph").images
        nodes = graph_nodes(samples), graph_nodes(test)
    of_graph = graph_images(dataset.train, settings.num_graph_images if IMAGE_GRAPH in groups else 0).images
    known = labelled(dataset)
    domains = _measured(dataset, settings) if DOMAINS in groups and known is not dataset else None
    return MeasuredImages(_measured(known, settings), samples, settings, nodes, graphs or {}, of_graph, domains)


def random_images(split: Any, count: int, seed: int, purpose: str) -> ImageSet:
    """Returns random images of a split, all where it has fewer, in stored order; fewer are part of more."""
    order = numpy_stream(seed, purpose).permutation(len(split))
    return split.take(np.sort(order[:count]))


def graph_images(split: Any, count: int) -> ImageSet:
    """Returns the nodes of an estimated graph of images: those of level sample, where its seed is the usual one."""
    return random_images(split, count, AnalysisSettings.sample_seed, "samples")


def _measured(dataset: Dataset, settings: AnalysisSettings) -> Dataset:
    train = dataset.train.balanced_subset(min(len(dataset.train), settings.num_train_images), seed=0)
    test = dataset.test.balanced_subset(min(len(dataset.test), settings.num_test_images), seed=0)
    return replace(dataset, train=train, test=test)


def pictures(card: dict[str, Any], images: MeasuredImages, group: str) -> tuple[Pictures, Pictures]:
    """Returns the training and test pictures of a group.

    Of level sample they are augmented as the trial's own views are, where it has any; nodes of estimated graphs are as
    the classifiers' views were.
    """
    if group == GRAPH:
        assert images.nodes is not None
        train, test = (Pictures(nodes.pictures) for nodes in images.nodes)
        return train, test
    seed = images.settings.sample_seed
    if group == IMAGE_GRAPH:
        count = images.settings.num_test_views
        first, second = (Pictures(images.of_graph, count, VIEWS, seed, f"{group} views, {split}") for split in SPLITS)
        return first, second
    if group == CLASS_GRAPH:
        splits = zip(SPLITS, (images.dataset.train, images.dataset.test), strict=True)
        train, test = (Pictures(of.images, 1, VIEWS, seed, f"{group} views, {split}") for split, of in splits)
        return train, test
    if group != SAMPLE:
        dataset = images.of(group)
        return Pictures(dataset.train.images), Pictures(dataset.test.images)
    views, settings = ViewConfig.model_validate_json(json.dumps(card["config"].get("views", {}))), images.settings
    train, test = (
        Pictures(images.samples, count, views, settings.sample_seed, f"sample views of {split}")
        for count, split in ((settings.num_train_views, "train"), (settings.num_test_views, "test"))
    )
    return train, test
