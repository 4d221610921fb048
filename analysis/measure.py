"""Measures one checkpoint: every layer, every level, every metric that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from analysis import table
from analysis.features import LayerFeatures, extract, load_backbone
from analysis.labels import LabelLevel, data_levels
from analysis.metrics.base import Measurement
from ray_ssl.backbones.base import Backbone
from ray_ssl.checkpoints import Checkpoint
from ray_ssl.data.base import Dataset
from ray_ssl.plugins import plugin_module, plugin_names

METRICS = "analysis.metrics"


@dataclass(frozen=True)
class AnalysisSettings:
    """What changes the measured numbers, besides the checkpoint.

    Attributes:
        num_train_images: Training images measured at most; a class-balanced subset.
        num_test_images: Test images measured at most.
    """

    num_train_images: int = 50_000
    num_test_images: int = 10_000

    def as_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return asdict(self)


def metric_names() -> tuple[str, ...]:
    """Returns the names of all metric modules."""
    return plugin_names(METRICS)


def measured_images(dataset: Dataset, settings: AnalysisSettings) -> Dataset:
    """Returns the images that are measured, the same for all checkpoints."""
    train = dataset.train.balanced_subset(min(len(dataset.train), settings.num_train_images), seed=0)
    test = dataset.test.balanced_subset(min(len(dataset.test), settings.num_test_images), seed=0)
    return Dataset(dataset.name, train, test)


def measure_checkpoint(
    checkpoint: Checkpoint, images: Dataset, metrics: Sequence[str], device: torch.device
) -> dict[str, list[table.LayerMeasurement]]:
    """Returns all measurements by metric module, from one forward pass.

    Args:
        checkpoint: What is measured.
        images: See `measured_images`.
        metrics: Names of the metric modules.
    """
    return measure_backbone(load_backbone(checkpoint), checkpoint.card, images, metrics, device)


def measure_backbone(
    backbone: Backbone, card: dict[str, Any], images: Dataset, metrics: Sequence[str], device: torch.device
) -> dict[str, list[table.LayerMeasurement]]:
    """Returns all measurements of a network in evaluation mode by metric module, as `measure_checkpoint`.

    Args:
        backbone: What is measured; it is moved to `device`.
        card: Image size and normalisation, at the same places as in a checkpoint's card.
        images: See `measured_images`.
        metrics: Names of the metric modules.
    """
    backbone = backbone.to(device)
    train = extract(backbone, images.train.images, card, device)
    test = extract(backbone, images.test.images, card, device)
    levels = data_levels(images)
    rows: dict[str, list[table.LayerMeasurement]] = {metric: [] for metric in metrics}
    done: dict[int, dict[str, list[Measurement]]] = {}  # layers that share their features are measured once
    for layer, name in enumerate(backbone.layer_names):
        identity = id(train[layer])
        if identity not in done:
            done[identity] = _measure_layer(train[layer], test[layer], levels, metrics)
        for metric, found in done[identity].items():
            rows[metric] += [table.LayerMeasurement(layer, name, measurement) for measurement in found]
    return rows


def _measure_layer(
    train: Tensor, test: Tensor, levels: list[LabelLevel], metrics: Sequence[str]
) -> dict[str, list[Measurement]]:
    features = LayerFeatures(train, test)
    return {metric: list(_measure(metric, features, levels)) for metric in metrics}


def _measure(metric: str, features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    measurements: Iterator[Measurement] = plugin_module(METRICS, metric).measure(features, levels)
    return measurements
