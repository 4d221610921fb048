"""How far apart the domains lie: for a linear classifier, and in units of the distance between classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.logistic import fit
from analysis.metrics.base import SPLITS, Measurement, MetricSpec
from analysis.metrics.linear_probe import PENALTY
from analysis.probe_path import LinearHead, fold
from analysis.tasks import DOMAINS
from ray_ssl.data.base import EXTRA, SOURCE, TARGET, UNLABELLED
from ray_ssl.rng import torch_stream

GROUPS: Final = (DOMAINS,)
WITHOUT_TARGET_LABELS: Final = True
NUMBERS_FROM: Final = {
    "noise_of_means": "within classes, the target's own where all its labels are known, taken off; negative below it",
    "domains": "weigh the same in their classifier",
}
"""Older tables have distances that grew as images became fewer, or are 0 where the noise is larger, and a classifier
that called nearly all images the domain of which there are more."""

TOLERANCE: Final = 1e-6
"""Of the domains' classifier, see `logistic.fit`: where it hardly beats chance, that is a hundredth of its loss."""

SPECS = (
    MetricSpec("domain_accuracy", 0, 1, ""),
    MetricSpec("domain_distance", float("-inf"), float("inf"), ""),
    MetricSpec("domain_distance_of_class", float("-inf"), float("inf"), ""),
)


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields three numbers of each split.

    "domain_accuracy": the share of images whose domain a linear classifier of the training features tells (see
    `domain_classifier`), mean of both domains, 1/2 (they are mixed) to 1 (apart). "domain_distance": the distance of
    the two domains' mean features, divided by the root mean square distance of two classes' mean features, those of the
    source; about 0 (the same) and up. "domain_distance_of_class" takes the means of one class in both domains instead,
    root mean square over classes that both have: above 1, a class lies further from itself than from other classes; it
    is not yielded where images of the target have no label.

    A mean of few images lies off the mean of all by chance: what that adds to squared distances is taken off, so that
    numbers do not depend on how many images are measured. It is the variance within a group over its number of images;
    of a domain that within classes, whose shares are no chance (where labels of the target are missing, that is taken
    to be the share of the variance that it is in the source). What is left is by chance below 0 where domains are the
    same; the distance is then minus the root of its size, so that means over seeds are not above 0 by rule.

    The question is that of arXiv 2204.00570: pre-training may leave domains far apart, and heads transfer all the same.
    """
    for level in levels:
        assert level.domains is not None
        head = domain_classifier(*(features.train[level.domains[0] == one] for one in (SOURCE, TARGET)))
        sets = zip(SPLITS, (features.train, features.test), (level.train, level.test), level.domains, strict=True)
        for split, rows, labels, domain in sets:
            rows, labels, domain = (values[domain < EXTRA] for values in (rows, labels, domain))
            right = (head.predict(rows) == domain).double()
            accuracy = torch.stack([right[domain == one].mean() for one in (SOURCE, TARGET)]).mean().item()
            values = (accuracy, *domain_distances(rows, labels, domain, level.num_classes))
            known = SPECS[:-1] if (labels == UNLABELLED).any() else SPECS
            for spec, value in zip(known, values, strict=False):
                yield Measurement(level.name, split, spec.name, value)


def domain_classifier(source: Tensor, target: Tensor) -> LinearHead:
    """Returns the logistic regression that tells features float [N, D] of the domains apart: `SOURCE` or `TARGET`.

    Both domains weigh the same: images of the smaller one are repeated. Else one that is a tenth of the other would be
    told apart no better than by chance.
    """
    count = max(len(source), len(target))
    domain = torch.tensor([SOURCE, TARGET]).repeat_interleave(count)
    rows = torch.cat([side[_repeated(len(side), count)] for side in (source, target)])
    scaling, fits = fit(rows, [(domain, 2)], PENALTY, TOLERANCE)
    return fold(fits[0], scaling)


def _repeated(num_rows: int, count: int) -> Tensor:
    """Numbers `count` rows, each as often as the others or once more."""
    whole, rest = divmod(count, num_rows)
    some = torch.randperm(num_rows, generator=torch_stream(0, "repeated images"))[:rest]
    return torch.cat([torch.arange(num_rows).repeat(whole), some])


def domain_distances(rows: Tensor, labels: Tensor, domain: Tensor, num_classes: int) -> tuple[float, float]:
    """Returns "domain_distance" and "domain_distance_of_class", see `measure`.

    NaN where the source has fewer than two classes of two images each or more, or these lie no further apart than by
    the choice of images; the second also where the domains have no such class in common.

    Args:
        rows: float [N, D].
        labels: int64 [N]; of the target `UNLABELLED` where they are not known.
        domain: int64 [N], `SOURCE` or `TARGET`.
        num_classes: Of `labels`.
    """
    sides = [(rows[domain == one], labels[domain == one]) for one in (SOURCE, TARGET)]
    of_domains = _of_all(sides, num_classes)
    of_classes = [_means(side[own != UNLABELLED], own[own != UNLABELLED], num_classes) for side, own in sides]
    between = _between(of_classes[0])
    apart, same = (_same_group(*means) / between for means in (of_domains, of_classes))
    return _signed_root(apart), _signed_root(same)


def _signed_root(square: float) -> float:
    return math.copysign(math.sqrt(abs(square)), square)


class _Means(NamedTuple):
    """Mean features of groups, float64 [groups, D], and the expected squared distance of each from what it estimates,
    float64 [groups]; NaN of a group of fewer than two rows.
    """

    values: Tensor
    noise: Tensor


def _means(rows: Tensor, groups: Tensor, num_groups: int) -> _Means:
    rows, counts = rows.double(), groups.bincount(minlength=num_groups).double()
    zeros = torch.zeros(num_groups, rows.shape[1], dtype=torch.float64)
    means = zeros.index_add(0, groups, rows) / counts[:, None]
    spread = torch.zeros(num_groups, dtype=torch.float64).index_add_(0, groups, (rows - means[groups]).square().sum(1))
    return _Means(means, torch.where(counts > 1, spread / (counts - 1) / counts, math.nan))


def _of_all(sides: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> tuple[_Means, _Means]:
    """The means of source and target, one group each.

    Images are drawn so many of each class, so that chance is what varies within classes alone. In a target whose labels
    are not all known, or which has one image of each class, that is taken to be the same share of the variance as in
    the source.
    """
    (source, labels), (target, of_target) = sides
    whole, rest = (_means(rows, torch.zeros(len(rows), dtype=torch.int64), 1) for rows in (source, target))
    noise = _within_classes(source, labels, num_classes)
    other = rest.noise * noise / whole.noise
    if not (of_target == UNLABELLED).any() and len(of_target) > len(of_target.unique()):
        other = _within_classes(target, of_target, num_classes)
    return whole._replace(noise=noise), rest._replace(noise=other)


def _within_classes(rows: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """The expected squared distance of the mean of rows from that of all there are with each class in its share,
    float64 [1]; a class of one row varies like the others."""
    of_classes, counts = _means(rows, labels, num_classes), labels.bincount(minlength=num_classes).double()
    variances, known = of_classes.noise * counts, of_classes.noise.isfinite()
    pooled = (variances * (counts - 1))[known].sum() / (counts - 1)[known].sum()
    variances = torch.where(known, variances, pooled)[counts > 0]
    return (variances * counts[counts > 0]).sum()[None] / counts.sum().square()


def _same_group(one: _Means, other: _Means) -> float:
    """An unbiased estimate of the mean square distance of the same group in both, below 0 where groups lie nearer than
    the choice of rows explains. NaN where they share no group.
    """
    distances = (one.values - other.values).square().sum(1) - one.noise - other.noise
    return distances[distances.isfinite()].mean().item()


def _between(means: _Means) -> float:
    """The same of two different groups, over all pairs: twice the variance of the means. NaN where it is not above 0,
    or of fewer than two groups.
    """
    there = means.noise.isfinite()
    if there.sum() < 2:
        return math.nan
    found = 2 * (means.values[there].var(0).sum() - means.noise[there].mean()).item()
    return found if found > 0 else math.nan
