"""Cross entropy of a linear head, with and without augmentation."""

from __future__ import annotations

import math

import pytest
import torch

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.config import ViewConfig
from ray_ssl.methods.base import ViewPlan
from ray_ssl.methods.supervised import Config, Supervised, supervised_terms


def test_equals_a_naive_loop() -> None:
    logits = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    loss, correct = 0.0, 0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        loss += math.log(sum(map(math.exp, row))) - row[label]
        correct += row[label] == max(row)
    terms = supervised_terms(logits, labels)
    assert terms["loss"].item() == pytest.approx(loss / 7)
    assert terms["train_accuracy"].item() == pytest.approx(correct / 7)


def test_closed_forms() -> None:
    labels = torch.arange(5)
    assert supervised_terms(torch.zeros(5, 5), labels)["loss"].item() == pytest.approx(math.log(5))
    sure = supervised_terms(100 * torch.eye(5), labels)
    assert sure["loss"].item() == pytest.approx(0, abs=1e-6)
    assert sure["train_accuracy"] == 1


def test_views_are_one_image_augmented_or_as_it_is() -> None:
    def plans(augment: bool) -> list[ViewPlan]:
        method = Supervised(Config(augment=augment), build_backbone(Backbone(depth=1, width=4), 32), 5)
        return method.views(ViewConfig(), 32)

    assert plans(True) == [ViewPlan(ViewConfig(), 32)]
    assert plans(False) == [ViewPlan(None, 32)]


def test_the_embedding_is_the_representation() -> None:
    method = Supervised(Config(), build_backbone(Backbone(depth=1, width=4), 32), 5).eval()
    images, labels = torch.rand(3, 3, 32, 32), torch.tensor([4, 0, 2])
    outputs = method.embed([images], labels)
    assert torch.equal(outputs["z"], method.backbone(images))
    assert torch.equal(outputs["labels"], labels)
    torch.testing.assert_close(outputs["logits"], outputs["z"] @ method.head.weight.T + method.head.bias)
