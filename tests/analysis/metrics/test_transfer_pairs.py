"""Accuracy of pairs of classes: each as if there were no other class."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics import transfer, transfer_pairs
from ray_ssl.data.base import EXTRA
from tests.analysis.metrics.blobs import draw, measured
from tests.analysis.metrics.test_transfer import butterfly


def test_of_two_classes_it_is_the_transfer() -> None:
    features, level = butterfly(1.0, 1.2, 0.9)
    whole, pair = measured(transfer, features, [level]), measured(transfer_pairs, features, [level])
    assert pair == {
        ("class:0-1", "test", f"pair_{domain}_accuracy"): whole["class", "test", f"{domain}_accuracy_logistic"]
        for domain in ("source", "target")
    }


def test_other_classes_and_extra_images_change_nothing() -> None:
    features, level = butterfly(1.0, 1.2, 0.9)
    alone = measured(transfer_pairs, features, [level])
    assert level.domains is not None
    noise, more = 9 * draw(60, 4, seed=3), torch.arange(60)
    domains = torch.where(more < 40, more % 2, EXTRA)
    labels = torch.where(more < 40, 2, 0)  # a third class, and extra images of the first

    def wider(rows: torch.Tensor) -> torch.Tensor:
        return torch.cat((rows, noise))

    larger = LabelLevel(
        "class", torch.cat((level.train, labels)), torch.cat((level.test, labels)), 4,
        domains=(torch.cat((level.domains[0], domains)), torch.cat((level.domains[1], domains))),
    )  # fmt: skip
    found = measured(transfer_pairs, LayerFeatures(wider(features.train), wider(features.test)), [larger])
    assert {level for level, _, _ in found} == {"class:0-1", "class:0-2", "class:1-2"}  # the fourth has no image
    assert {key: value for key, value in found.items() if key[0] == "class:0-1"} == pytest.approx(alone)


def test_a_class_without_test_images_in_a_domain_is_left_out() -> None:
    features, level = butterfly(1.0, 1.2, 0.9)
    assert level.domains is not None
    domain = level.domains[1].clone()
    domain[level.test == 1] = 0
    assert measured(transfer_pairs, features, [replace(level, domains=(level.domains[0], domain))]) == {}
