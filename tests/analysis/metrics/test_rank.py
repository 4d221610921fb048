"""Effective rank against the definition by a full SVD, and closed forms."""

from __future__ import annotations

import pytest
import torch

from analysis.metrics.rank import EPSILON, effective_rank
from tests.analysis.metrics.blobs import draw


@pytest.mark.parametrize("shape", [(500, 16), (16, 500), (30, 30), (9000, 8)])
@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_rank_is_that_of_the_full_svd(shape: tuple[int, int], offset: float) -> None:
    features = draw(*shape) * torch.logspace(-2, 1, shape[1]) + offset
    singular = torch.linalg.svdvals(features.double())
    share = singular / singular.sum() + EPSILON
    assert effective_rank(features) == pytest.approx(torch.exp(-(share * share.log()).sum()).item(), rel=1e-6)


@pytest.mark.parametrize("rank", [1, 3, 16])
def test_equal_directions_count_one_each(rank: int) -> None:
    features = torch.zeros(64, 16)
    features[:rank, :rank] = 7 * torch.eye(rank)
    assert effective_rank(features) == pytest.approx(rank, rel=1e-4)
    rotation = torch.linalg.qr(draw(16, 16))[0]
    assert effective_rank(features @ rotation) == pytest.approx(rank, rel=1e-4)


def test_duplicated_rows_keep_the_rank() -> None:
    features = draw(200, 16)
    assert effective_rank(features.repeat(2, 1)) == pytest.approx(effective_rank(features), rel=1e-9)


def test_all_zero_features_have_rank_zero() -> None:
    assert effective_rank(torch.zeros(10, 4)) == 0.0
