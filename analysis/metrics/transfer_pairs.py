"""Accuracy in a target domain by pairs of classes: each pair is a problem of two classes in two domains by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from analysis.class_pairs import class_pairs, pair_level
from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics.base import Measurement, MetricSpec
from analysis.metrics.transfer import DOMAIN_NAMES, logistic_head
from analysis.tasks import DOMAINS
from ray_ssl.data.base import EXTRA

GROUPS: Final = (DOMAINS,)
ON_REQUEST: Final = True
LAST_LAYER_ONLY: Final = True
SPECS = tuple(MetricSpec(f"pair_{name}_accuracy", 0, 1, "up", paired=True) for name in DOMAIN_NAMES.values())


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields for pairs of classes the share of test images of each domain that a head of the source gets right, 0..1.

    The head is that of `target_accuracy_logistic`, a logistic regression of the source's labels, in a world of the
    two classes alone: only their images are learned from, scaled by, and tested on; chance is 1/2. It is the picture of
    four clusters (two classes, two domains) for which arXiv 2204.00570 predicts whether a head transfers. A pair that
    lacks images of a class in a domain is left out; of more than 20 classes, 200 random pairs are measured.
    """
    for level in levels:
        assert level.domains is not None
        for pair in class_pairs(level.num_classes):
            chosen = [_rows(labels, domains, pair) for labels, domains in _splits(level)]
            if any(rows is None for rows in chosen):
                continue
            train, test = (rows for rows in chosen if rows is not None)
            one = LayerFeatures(features.train[train], features.test[test])
            two = _of_two(level, pair, train, test)
            assert two.domains is not None
            right = (logistic_head(one, two).test == two.test).double()
            for domain, name in DOMAIN_NAMES.items():
                share = right[two.domains[1] == domain].mean().item()
                yield Measurement(pair_level(level.name, *pair), "test", f"pair_{name}_accuracy", share)


def _splits(level: LabelLevel) -> Iterator[tuple[Tensor, Tensor]]:
    assert level.domains is not None
    yield from zip((level.train, level.test), level.domains, strict=True)


def _rows(labels: Tensor, domains: Tensor, pair: tuple[int, int]) -> Tensor | None:
    """Rows of the two classes in both domains, or None where one of the four groups is empty."""
    known = (domains < EXTRA) & ((labels == pair[0]) | (labels == pair[1]))
    groups = torch.unique(2 * labels[known] + domains[known])
    return known.nonzero()[:, 0] if len(groups) == 4 else None


def _of_two(level: LabelLevel, pair: tuple[int, int], train: Tensor, test: Tensor) -> LabelLevel:
    """The level of the two classes, 0 and 1."""
    assert level.domains is not None
    labels = ((of_split[rows] == pair[1]).long() for of_split, rows in ((level.train, train), (level.test, test)))
    domains = level.domains[0][train], level.domains[1][test]
    return replace(level, train=next(labels), test=next(labels), num_classes=2, names=(), domains=domains)
