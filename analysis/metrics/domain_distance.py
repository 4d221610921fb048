"""How far apart the domains lie: for a linear classifier, and in units of the distance between classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.logistic import fit, predict
from analysis.metrics.base import SPLITS, Measurement, MetricSpec
from analysis.metrics.linear_probe import PENALTY, TOLERANCE
from analysis.tasks import DOMAINS
from ray_ssl.data.base import EXTRA, SOURCE, TARGET, UNLABELLED

GROUPS: Final = (DOMAINS,)
WITHOUT_TARGET_LABELS: Final = True
SPECS = (
    MetricSpec("domain_accuracy", 0, 1, ""),
    MetricSpec("domain_distance", 0, float("inf"), ""),
    MetricSpec("domain_distance_of_class", 0, float("inf"), ""),
)


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields three numbers of each split.

    "domain_accuracy": the share of images whose domain a linear classifier of the training features tells (as
    `linear_probe`), mean of both domains, 1/2 (they are mixed) to 1 (apart). "domain_distance": the distance of the two
    domains' mean features, divided by the root mean square distance of two classes' mean features, those of the source;
    0 (the same) and up. "domain_distance_of_class" takes the means of one class in both domains instead, root mean
    square over classes that both have: above 1, a class lies further from itself than from other classes; it is not
    yielded where images of the target have no label.

    The question is that of arXiv 2204.00570: pre-training may leave domains far apart, and heads transfer all the same.
    """
    for level in levels:
        assert level.domains is not None
        known = level.domains[0] < EXTRA
        domains = (level.domains[0][known], 2)
        scaling, fits = fit(features.train[known], [domains], PENALTY, TOLERANCE)
        sets = zip(SPLITS, (features.train, features.test), (level.train, level.test), level.domains, strict=True)
        for split, rows, labels, domain in sets:
            rows, labels, domain = (values[domain < EXTRA] for values in (rows, labels, domain))
            right = (predict(rows, scaling, fits)[0] == domain).double()
            accuracy = torch.stack([right[domain == one].mean() for one in (SOURCE, TARGET)]).mean().item()
            values = (accuracy, *domain_distances(rows, labels, domain, level.num_classes))
            known = SPECS[:-1] if (labels == UNLABELLED).any() else SPECS
            for spec, value in zip(known, values, strict=False):
                yield Measurement(level.name, split, spec.name, value)


def domain_distances(rows: Tensor, labels: Tensor, domain: Tensor, num_classes: int) -> tuple[float, float]:
    """Returns "domain_distance" and "domain_distance_of_class", see `measure`.

    NaN where the source has fewer than two classes, or the domains have none in common.

    Args:
        rows: float [N, D].
        labels: int64 [N].
        domain: int64 [N], `SOURCE` or `TARGET`.
        num_classes: Of `labels`.
    """
    source, target = (rows[domain == one].double().mean(0) for one in (SOURCE, TARGET))
    means = [_class_means(rows[domain == one], labels[domain == one], num_classes) for one in (SOURCE, TARGET)]
    there = means[0][means[0].isfinite().all(1)]
    between = torch.pdist(there).square().mean().sqrt()
    apart = (means[0] - means[1]).square().sum(1)
    same = apart[apart.isfinite()].mean().sqrt()
    return ((source - target).norm() / between).item(), (same / between).item()


def _class_means(rows: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """float64 [num_classes, D]; NaN for a class without rows; those without a label are left out."""
    rows, labels = rows[labels != UNLABELLED], labels[labels != UNLABELLED]
    sums = torch.zeros(num_classes, rows.shape[1], dtype=torch.float64).index_add_(0, labels, rows.double())
    return sums / labels.bincount(minlength=num_classes)[:, None]
