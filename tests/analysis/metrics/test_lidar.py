"""LiDAR against its definition by matrix square roots, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import fractional_matrix_power

from analysis.metrics import lidar as module
from analysis.metrics.lidar import DELTA, EPSILON, lidar
from tests.analysis.metrics.blobs import blobs, blobs_for, draw, measured


def naive(rows: np.ndarray, labels: np.ndarray) -> float:
    samples = np.unique(labels)
    means = {s: rows[labels == s].mean(0) for s in samples}
    centre = sum(means.values()) / len(samples)
    between = sum(np.outer(m - centre, m - centre) for m in means.values()) / len(samples)
    within = DELTA * np.eye(rows.shape[1])
    for row, label in zip(rows, labels, strict=True):
        within += np.outer(row - means[label], row - means[label]) / len(rows)
    root = fractional_matrix_power(within, -0.5)
    spectrum = np.linalg.eigvalsh(root @ between @ root).clip(0)
    share = spectrum / spectrum.sum() + EPSILON
    return float(np.exp(-(share * np.log(share)).sum()))


@pytest.mark.parametrize("num_dims", [4, 12])
def test_value_is_that_of_the_definition(num_dims: int) -> None:
    num_samples, num_views = 15, 6
    centres = draw(num_samples, num_dims) * torch.logspace(0, -1, num_dims)
    labels = torch.arange(num_samples).repeat_interleave(num_views)
    views = centres[labels] + 0.1 * draw(len(labels), num_dims, seed=1) @ draw(num_dims, num_dims, seed=2) + 3
    expected = naive(views.double().numpy(), labels.numpy())
    assert lidar(views, labels, num_samples) == pytest.approx(expected, rel=1e-5)
    assert lidar(views, labels + 2, num_samples + 4) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rank", [1, 3])
def test_directions_that_tell_samples_apart_alike_count_one_each(rank: int) -> None:
    """Samples at +-axis of `rank` axes of a wide space, views that do not differ: S_w is delta everywhere."""
    axes = torch.eye(16)[:rank]
    centres = torch.cat([axes, -axes])
    rotation = torch.linalg.qr(draw(16, 16))[0]
    labels = torch.arange(2 * rank).repeat_interleave(4)
    assert lidar((centres @ rotation)[labels], labels, 2 * rank) == pytest.approx(rank, rel=1e-3)


def test_a_direction_that_views_change_counts_less() -> None:
    centres = torch.cat([torch.eye(2), -torch.eye(2)])
    labels = torch.arange(4).repeat_interleave(200)
    views = centres[labels].clone()
    noise = draw(800, 2, seed=5) * 0.1
    both, one = views + noise, views + noise * torch.tensor([1.0, 10.0])
    assert lidar(both, labels, 4) == pytest.approx(2, rel=0.01)
    assert lidar(one, labels, 4) < 1.1


def test_samples_with_the_same_mean_have_none() -> None:
    labels = torch.arange(5).repeat_interleave(4)
    assert math.isnan(lidar(torch.full((20, 3), 0.1), labels, 5))


def test_it_is_measured_at_level_sample_alone() -> None:
    assert not measured(module, *blobs())
    assert set(measured(module, *blobs_for(module))) == {("sample", "train", "lidar")}
