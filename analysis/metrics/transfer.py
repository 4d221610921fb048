"""Accuracy in a target domain of classifiers that learned their labels in the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

from analysis.blas import matmul
from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.logistic import Scaling, fit, predict
from analysis.metrics.base import SPLITS, Measurement, MetricSpec
from analysis.metrics.linear_probe import PENALTY, TOLERANCE
from analysis.tasks import DOMAINS
from ray_ssl.data.base import EXTRA, SOURCE, TARGET, UNLABELLED

GROUPS: Final = (DOMAINS,)
WITHOUT_TARGET_LABELS: Final = True
POWERS: Final = (1, 2, 3)
"""Of preconditioned feature averaging, t."""

HEADS: Final = ("logistic", *(f"pfa{power}" for power in POWERS))
DOMAIN_NAMES: Final = {SOURCE: "source", TARGET: "target"}
SPECS = tuple(MetricSpec(f"{name}_accuracy_{head}", 0, 1, "up") for head in HEADS for name in DOMAIN_NAMES.values())


class Predictions(NamedTuple):
    """What a head predicts for the training and the test images of all domains, int64 [N] and [M]."""

    train: Tensor
    test: Tensor


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields the share of images of each domain that a head gets right which saw labels of the source alone, 0..1.

    Heads learn from training images of the source: "logistic" is that of `linear_probe`, of features that are scaled by
    their spread in both domains; "pfa1" to "pfa3" average features instead, preconditioned by the training images of
    both domains without their labels (see `feature_averages`). "target_accuracy_HEAD" of split "test" is the transfer,
    "source_accuracy_HEAD" the accuracy where the head learned.

    Features are averaged as they are. The theory's are embeddings of the spectral contrastive loss, whose strongest
    direction is constant and favours no class; that of a representation that is never negative is not, and with t > 1
    it decides alone. `transfer_centred` is for these.

    Where images of the target have no label, "source_accuracy_HEAD" alone is yielded.

    Source: arXiv 2204.02683 (linear transferability). The form of the preconditioner was not checked against the paper.
    """
    for level in levels:
        yield from accuracies(source_heads(features, level), level)


def accuracies(heads: Mapping[str, Predictions], level: LabelLevel) -> Iterator[Measurement]:
    """Yields what `measure` does, of heads by name."""
    assert level.domains is not None
    for head, predicted in heads.items():
        for split, labels, truth, domains in zip(
            SPLITS, predicted, (level.train, level.test), level.domains, strict=True
        ):
            for domain, name in DOMAIN_NAMES.items():
                if (truth[domains == domain] == UNLABELLED).any():
                    continue
                right = (labels == truth)[domains == domain].double().mean().item()
                yield Measurement(level.name, split, f"{name}_accuracy_{head}", right)


def source_heads(features: LayerFeatures, level: LabelLevel) -> dict[str, Predictions]:
    """Returns what each of `HEADS` predicts, in the order of `HEADS`."""
    found = [logistic_head(features, level), *averaging_heads(features, level)]
    return dict(zip(HEADS, found, strict=True))


def averaging_heads(features: LayerFeatures, level: LabelLevel) -> Iterator[Predictions]:
    """Yields what preconditioned feature averaging predicts, for each of `POWERS`."""
    assert level.domains is not None
    in_source, unlabelled = level.domains[0] == SOURCE, level.domains[0] < EXTRA
    source, labels = features.train[in_source], level.train[in_source]
    for averages in feature_averages(features.train[unlabelled], source, labels, level.num_classes):
        yield Predictions(*((rows.double() @ averages).argmax(1) for rows in (features.train, features.test)))


def logistic_head(features: LayerFeatures, level: LabelLevel) -> Predictions:
    """Returns what a logistic regression of the source's labels predicts; see `measure`."""
    assert level.domains is not None
    in_source, unlabelled = level.domains[0] == SOURCE, level.domains[0] < EXTRA
    # A dimension in which the source hardly varies must not be blown up in the target.
    inverse_std = Scaling.of(features.train[unlabelled]).inverse_std
    label_sets = [(level.train[in_source], level.num_classes)]
    scaling, fits = fit(features.train[in_source], label_sets, PENALTY, TOLERANCE, inverse_std=inverse_std)
    return Predictions(*(predict(rows, scaling, fits)[0] for rows in (features.train, features.test)))


def feature_averages(unlabelled: Tensor, source: Tensor, labels: Tensor, num_classes: int) -> list[Tensor]:
    """Returns the heads of preconditioned feature averaging, float64 [D, num_classes] for each of `POWERS`.

    With Sigma = E[f f^T] over unlabelled images and b_y = E[1(label = y) f] over source images, class y of an image
    scores f^T Sigma^(t - 1) b_y. Sigma is scaled to trace D, which changes no prediction.

    Args:
        unlabelled: float [N, D] features.
        source: float [n, D].
        labels: int64 [n].
        num_classes: A class without source images scores 0.
    """
    means = torch.zeros(source.shape[1], num_classes, dtype=torch.float64)
    means.index_add_(1, labels, source.T.double())
    means /= len(source)
    second = matmul(unlabelled.double().T, unlabelled.double())
    second *= len(second) / second.trace().clamp_min(1e-300)
    heads = [means]
    for _ in POWERS[1:]:
        heads.append(second @ heads[-1])
    return heads
