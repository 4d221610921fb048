"""Measures one checkpoint: every layer, every task that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from analysis import table
from analysis.features import LayerFeatures, Pictures, extract, load_backbone
from analysis.images import MeasuredImages, pictures
from analysis.labels import LabelLevel
from analysis.measurable import label_levels
from analysis.projections import LayerPoint
from analysis.settings import ALL_LAYERS, PIXELS, check_pair
from analysis.sums import Layer
from analysis.tasks import (
    ESTIMATED,
    GRAPH,
    METRICS,
    metric_and_group,
)
from analysis.threads import in_threads
from ray_ssl.backbones.base import Backbone
from ray_ssl.checkpoints import Checkpoint
from ray_ssl.plugins import plugin_module

MAX_COMPARED: Final = 2000
"""Test images, evenly spaced, on which whole networks are compared with each other."""

Earlier = Mapping[int, Callable[[], Checkpoint | None]]
"""Epoch -> how to load the checkpoint of the same trial at that epoch; None: it is left out."""

Rows = dict[str, list[Any]]
"""Task -> what it found: `table.LayerMeasurement`, or `projections.LayerPoint` of one that projects."""


def measure_checkpoint(
    checkpoint: Checkpoint,
    images: MeasuredImages,
    tasks: Sequence[str],
    device: torch.device,
    earlier: Earlier | None = None,
) -> Rows:
    """Returns all measurements by task, from one forward pass a group of levels.

    Args:
        checkpoint: What is measured.
        images: See `images.measured_images`.
        tasks: See `analysis.tasks`.
        earlier: Checkpoints of the same trial that whole networks are compared with.
    """
    return measure_backbone(load_backbone(checkpoint), checkpoint.card, images, tasks, device, earlier)


def measure_backbone(
    backbone: Backbone,
    card: dict[str, Any],
    images: MeasuredImages,
    tasks: Sequence[str],
    device: torch.device,
    earlier: Earlier | None = None,
) -> Rows:
    """Returns all measurements of a network in evaluation mode by task, as `measure_checkpoint`.

    Args:
        backbone: What is measured; it is moved to `device`.
        card: Image size, views and normalisation, at the same places as in a checkpoint's card.
        images: See `images.measured_images`.
        tasks: See `analysis.tasks`.
        earlier: See `measure_checkpoint`.
    """
    backbone = backbone.to(device)
    rows: Rows = {task: [] for task in tasks}
    for groups in images.populations:
        of_groups = [task for task in tasks if metric_and_group(task)[1] in groups]
        if of_groups:
            measured = _Population(backbone, card, images, groups[0], device)
            for task in of_groups:
                rows[task] = list(measured.measure(task, earlier or {}))
    return rows


class _Population:
    """Features of one kind of images, of every layer; what is measured of them."""

    def __init__(
        self, backbone: Backbone, card: dict[str, Any], images: MeasuredImages, group: str, device: torch.device
    ) -> None:
        self.names, self.card, self.device, self.images = backbone.layer_names, card, device, images
        self.train_pictures, self.test_pictures = pictures(card, images, group)
        precision = images.settings.feature_precision
        train = extract(backbone, self.train_pictures, card, device, precision)
        test = extract(backbone, self.test_pictures, card, device, precision)
        shared: dict[int, LayerFeatures] = {}  # layers that share their features are measured once
        self.layers = [shared.setdefault(id(a), LayerFeatures(a, b)) for a, b in zip(train, test, strict=True)]

    def measure(self, task: str, earlier: Earlier) -> Iterator[Any]:
        metric, group = metric_and_group(task)
        module: Any = plugin_module(METRICS, metric)
        if hasattr(module, "measure_network"):
            for layer, found in module.measure_network(self._compared(), self._others(earlier)):
                yield table.LayerMeasurement(layer, self.names[layer], found)
            return
        if getattr(module, "NEEDS_INPUTS", False):
            check_pair(self.images.settings, [task], self.names)
            self._give_inputs()
        if group == GRAPH:
            self._give_nodes()
        if group in ESTIMATED:
            for features in self.layers:
                features.graph = self.images.graphs[group]
        levels = label_levels(self.images.of(group), self.images.settings, group)
        if getattr(module, "NEEDS_INPUTS", False):
            found = measure_layers(module, self.names, self.layers, levels, self._layers_of())
            yield from map(self._of_inputs, found)
        else:
            yield from measure_layers(module, self.names, self.layers, levels)

    def _of_inputs(self, found: table.LayerMeasurement) -> table.LayerMeasurement:
        """Says in the level which layer stands for the input, where one does."""
        source, measurement = self.images.settings.mine_input, found.measurement
        if source == PIXELS:
            return found
        level = f"layer-{self.names.index(source):02d}"
        return found._replace(measurement=measurement._replace(level=level))

    def _layers_of(self) -> list[int]:
        """The layers whose information with another one is measured."""
        source, wanted = self.images.settings.mine_input, self.images.settings.mine_layer
        return [i for i, name in enumerate(self.names) if name != source and wanted in (ALL_LAYERS, name)]

    def _give_inputs(self) -> None:
        source = self.images.settings.mine_input
        if source == PIXELS:
            inputs = self.train_pictures.normalised(self.card), self.test_pictures.normalised(self.card)
        else:
            layer = self.layers[self.names.index(source)]
            inputs = layer.train, layer.test
        for features in self.layers:
            features.inputs = inputs

    def _give_nodes(self) -> None:
        assert self.images.nodes is not None
        for features in self.layers:
            features.nodes = self.images.nodes

    def _compared(self) -> list[LayerFeatures]:
        rows = _evenly(len(self.test_pictures))
        return [LayerFeatures(features.train[:0], features.test[rows]) for features in self.layers]

    def _others(self, earlier: Earlier) -> dict[int, list[LayerFeatures]]:
        few = Pictures(self.images.dataset.test.images[_evenly(len(self.test_pictures))])
        found = {}
        for epoch, load in earlier.items():
            checkpoint = load()
            if checkpoint is None:
                continue
            other, precision = load_backbone(checkpoint).to(self.device), self.images.settings.feature_precision
            layers = extract(other, few, checkpoint.card, self.device, precision)
            found[epoch] = [LayerFeatures(layer[:0], layer) for layer in layers]
        return found


def measure_layers(
    module: Any,
    names: Sequence[str],
    layers: Sequence[Layer],
    levels: list[LabelLevel],
    chosen: Sequence[int] | None = None,
) -> Iterator[Any]:
    """Yields what a metric finds in every layer, in those that share their features once computed.

    Args:
        module: Of the metric.
        names: Of the layers.
        layers: One each.
        levels: Of a group that the metric is measured on.
        chosen: Indices of the layers that are measured, ascending; None: those that the metric says.
    """
    first = len(names) - 1 if getattr(module, "LAST_LAYER_ONLY", False) else 0
    projects = hasattr(module, "project")
    compute, row = (module.project, LayerPoint) if projects else (module.measure, table.LayerMeasurement)
    wanted = range(first, len(names)) if chosen is None else chosen
    different = list({id(layers[layer]): layers[layer] for layer in wanted}.values())

    def measured(features: Layer) -> list[Any]:
        return list(compute(features, levels))

    one_by_one = projects or getattr(module, "ONE_LAYER_AT_A_TIME", False)
    found = in_threads(measured, different, at_once=1 if one_by_one else None)
    by_layer = dict(zip(map(id, different), found, strict=True))
    for layer in wanted:
        yield from (row(layer, names[layer], one) for one in by_layer[id(layers[layer])])


def _evenly(count: int) -> Tensor:
    return torch.linspace(0, count - 1, min(count, MAX_COMPARED)).round().long()
