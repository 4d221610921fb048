"""What fine-tuning did, epoch by epoch: accuracy of the network's own head, and how far its features moved.

Measured from the checkpoints that a trial keeps, on images of the source held out for choosing ("validation"), test
images of the source ("test") and images of the target domain ("target"). Nothing is chosen here: see `outcomes`.

    head_accuracy              share of images whose label the head predicts, 0..1
    feature_distance           mean over images of |f_e(x) - f_0(x)|, f_0 the features that the trial started with
    relative_feature_distance  the same over the root mean square distance of f_0 from its mean on these images
    peak_learning_rate         the trial's option `learning_rate`, so that the table alone tells its trials apart

With BatchNorm in training both distances hold what its running statistics do to features, which drift to those of the
images that are trained on while no weight moves: a floor, under every protocol and rate alike, which a vanishing
learning rate shows. Frozen BatchNorm has none.

Source: feature distortion of arXiv 2202.10054, section 4 ("Euclidean distance of features before and after").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from analysis.features import Pictures, extract, load_backbone
from analysis.finetuned_choice import ACCURACY, DISTANCE, RATE, RELATIVE_DISTANCE, TARGET, TEST, VALIDATION
from analysis.metrics.base import UNLABELLED, Measurement
from analysis.probe_path import LinearHead
from analysis.table import LayerMeasurement
from ray_ssl.checkpoints import Checkpoint
from ray_ssl.config import PretrainConfig
from ray_ssl.data.base import SOURCE, Dataset, ImageSet, require_labels
from ray_ssl.data.base import TARGET as OTHER
from ray_ssl.errors import UserError
from ray_ssl.finetune import HEAD

FINETUNING: Final = "finetuning"
"""Task of these parts of the table."""


class Features(NamedTuple):
    """What one network makes of one set of images.

    Attributes:
        layers: float32 [N, D_layer] of every layer, the last is the representation.
        labels: int64 [N] labels to predict.
    """

    layers: list[Tensor]
    labels: Tensor


def measured_sets(dataset: Dataset) -> dict[str, ImageSet]:
    """Returns the images that a fine-tuned network is measured on, by name; "target" only where there are domains.

    Raises:
        UserError: No validation images, or test images of the target without a label.
    """
    test = dataset.test
    if dataset.validation is None or not isinstance(test, ImageSet):
        raise UserError("fine-tuning chooses on validation images: give a --validation-fraction above 0, no --stream")
    if test.domain is None:
        return {VALIDATION: dataset.validation, TEST: test}
    require_labels("fine-tuning, whose accuracy in the target is measured,", dataset, "test")
    of_domain = {name: test.take(np.flatnonzero(test.domain == d)) for name, d in ((TEST, SOURCE), (TARGET, OTHER))}
    return {VALIDATION: dataset.validation, **of_domain}


def labels_of(images: ImageSet, config: PretrainConfig) -> Tensor:
    """Returns the labels int64 [N] that a trial learns, of images it does not train on.

    Raises:
        UserError: The images have none of these.
    """
    labels = {"class": images.fine, "superclass": images.coarse}.get(config.trained_on)
    if labels is None:
        raise UserError(f"the images to measure on have no label {config.trained_on}: fine-tuning learns class or "
                        "superclass")  # fmt: skip
    return torch.tensor(labels)


def features_of_sets(
    checkpoint: Checkpoint, sets: Mapping[str, ImageSet], device: torch.device
) -> dict[str, list[Tensor]]:
    """Returns every layer's features float32 [N, D_layer] of all sets, in evaluation mode and fp32."""
    backbone = load_backbone(checkpoint).to(device)
    return {name: extract(backbone, Pictures(x.images), checkpoint.card, device) for name, x in sets.items()}


def features_of(checkpoint: Checkpoint, sets: Mapping[str, ImageSet], device: torch.device) -> dict[str, Features]:
    """As `features_of_sets`, with the labels that the checkpoint's trial learns."""
    config = PretrainConfig.from_dict(checkpoint.card["config"])
    layers = features_of_sets(checkpoint, sets, device)
    return {name: Features(layers[name], labels_of(images, config)) for name, images in sets.items()}


def head_accuracy(checkpoint: Checkpoint, features: Features) -> float:
    """Returns the share of images whose label a checkpoint's own head predicts, 0..1."""
    weight, bias = (checkpoint.model[name] for name in HEAD)
    return LinearHead(weight, bias).accuracy(features.layers[-1], features.labels)


def feature_distances(before: Sequence[Tensor], after: Sequence[Tensor]) -> list[Tensor]:
    """Returns how far every image's features moved, float32 [N] of every layer.

    Args:
        before: float32 [N, D_layer] of every layer.
        after: The same of the other network, of the same images in the same order.
    """
    return [(b - a).norm(dim=1) for a, b in zip(before, after, strict=True)]


def spread(features: Tensor) -> float:
    """Returns the root mean square distance of features [N, D] from their mean."""
    wide = features.double()
    return (wide - wide.mean(0)).square().sum(1).mean().sqrt().item()


def measure_epochs(
    load: Callable[[int], Checkpoint], epochs: Sequence[int], dataset: Dataset, device: torch.device | str = "cpu"
) -> Iterator[tuple[Checkpoint, list[LayerMeasurement]]]:
    """Yields each checkpoint of a fine-tuning trial with what was measured of it.

    Args:
        load: Returns the checkpoint of an epoch; epoch 0 is what the trial started with.
        epochs: Which are wanted.
        dataset: Its test and validation images are looked at.
        device: Where the features are computed.
    """
    sets, where = measured_sets(dataset), torch.device(device)
    before = features_of(load(0), sets, where)
    scales = {name: [spread(layer) for layer in one.layers] for name, one in before.items()}
    for epoch in epochs:
        checkpoint = load(epoch)
        after = features_of(checkpoint, sets, where)
        found = [row for name in sets for row in _rows(name, checkpoint, before[name], after[name], scales[name])]
        yield checkpoint, [*found, _rate(checkpoint)]


def _rate(checkpoint: Checkpoint) -> LayerMeasurement:
    names, config = checkpoint.card["layer_names"], PretrainConfig.from_dict(checkpoint.card["config"])
    rate = Measurement(UNLABELLED, "train", RATE, config.optimiser.learning_rate)
    return LayerMeasurement(len(names) - 1, names[-1], rate)


def _rows(
    name: str, checkpoint: Checkpoint, before: Features, after: Features, scales: list[float]
) -> Iterator[LayerMeasurement]:
    names, level = checkpoint.card["layer_names"], PretrainConfig.from_dict(checkpoint.card["config"]).trained_on
    accuracy = Measurement(level, name, ACCURACY, head_accuracy(checkpoint, after))  # type: ignore[arg-type]
    yield LayerMeasurement(len(names) - 1, names[-1], accuracy)
    for layer, distances in enumerate(feature_distances(before.layers, after.layers)):
        mean = distances.double().mean().item()
        relative = mean / scales[layer] if scales[layer] else float("nan")
        for metric, value in ((DISTANCE, mean), (RELATIVE_DISTANCE, relative)):
            yield LayerMeasurement(layer, names[layer], Measurement(UNLABELLED, name, metric, value))  # type: ignore[arg-type]
