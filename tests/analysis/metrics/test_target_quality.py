"""A target's five numbers: closed forms, on both splits."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from analysis.labels import LabelLevel, TargetFacts
from analysis.metrics import target_quality
from analysis.tasks import find_tasks
from tests.analysis.metrics.blobs import blobs, measured


def test_a_target_is_compared_with_the_classes() -> None:
    features, _ = blobs()
    classes = torch.arange(8) % 4
    facts = TargetFacts(0.3, classes, classes)
    level = LabelLevel("teacher-0.25", torch.tensor([0, 1, 0, 1, 0, 1, 0, 1]), torch.full((8,), 3), 4, facts)
    found = measured(target_quality, features, [level])
    assert {key[1:]: value for key, value in found.items()} == pytest.approx(
        {
            ("train", "target_randomness"): 0.3,
            ("train", "target_agreement"): 0.5,
            ("train", "target_entropy"): math.log(2),
            ("train", "target_num_used"): 2,
            ("train", "target_largest_share"): 0.5,
            ("test", "target_randomness"): 0.3,
            ("test", "target_agreement"): 0.25,
            ("test", "target_entropy"): 0,
            ("test", "target_num_used"): 1,
            ("test", "target_largest_share"): 1,
        }
    )


def test_labels_of_the_data_itself_have_no_such_numbers() -> None:
    features, levels = blobs()
    assert not measured(target_quality, features, [replace(level, target=None) for level in levels])
    assert "target_quality" not in find_tasks(["all"], ["data"])
    assert find_tasks(["target_quality"]) == find_tasks(["target_quality"], ["targets"]) == ("target_quality@targets",)
