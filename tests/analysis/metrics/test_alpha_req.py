"""The exponent of spectra that are known, and scikit-learn's line through others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from analysis.metrics.alpha_req import FIRST_RANK, LAST_RANK, alpha, eigenvalues
from tests.analysis.metrics.blobs import draw


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("shape", [(400, 150), (150, 400), (5000, 6)])
def test_a_power_law_has_its_exponent(exponent: float, shape: tuple[int, int]) -> None:
    num = min(shape) - 1
    left = torch.linalg.qr(draw(shape[0], num).double() - draw(shape[0], num).double().mean(0))[0]
    right = torch.linalg.qr(draw(shape[1], num, seed=1).double())[0]
    spectrum = torch.arange(1, num + 1).double() ** -exponent
    features = ((left * spectrum.sqrt()) @ right.T + 0.3).float()
    assert alpha(eigenvalues(features)) == pytest.approx(exponent, abs=1e-3)


@pytest.mark.parametrize("num_dims", [10, 150])
def test_other_spectra_are_those_of_scikit_learn(num_dims: int) -> None:
    features = draw(300, num_dims) * torch.logspace(0, -2, num_dims) + 5
    spectrum = PCA().fit(features.double().numpy()).explained_variance_
    ranks = np.arange(FIRST_RANK, min(LAST_RANK, num_dims) + 1)
    x, y = np.log(ranks)[:, None], np.log(spectrum[ranks - 1])
    line = LinearRegression().fit(x, y, sample_weight=1 / ranks)
    assert alpha(eigenvalues(features)) == pytest.approx(-line.coef_[0], rel=1e-5)


def test_neither_the_first_ranks_nor_those_past_the_last_count() -> None:
    spectrum = torch.arange(1, 151).double() ** -1.5
    spectrum[: FIRST_RANK - 1] *= 100
    spectrum[LAST_RANK:] /= 100
    assert alpha(spectrum) == pytest.approx(1.5)


def test_directions_of_rounding_are_cut() -> None:
    whole = draw(500, 20) @ torch.diag(torch.arange(1, 21).float() ** -0.5)
    inside = whole @ draw(20, 64, seed=2)  # rank 20 in 64 dimensions, but for rounding
    found = eigenvalues(inside)
    assert 0 < found[20] < 1e-10 * found[0]
    assert alpha(found) == pytest.approx(alpha(found[:20]))


def test_too_few_directions_have_no_slope() -> None:
    assert math.isnan(alpha(eigenvalues(draw(100, FIRST_RANK))))
    assert math.isnan(alpha(eigenvalues(torch.full((100, 9), 0.1))))
    assert math.isfinite(alpha(eigenvalues(draw(100, FIRST_RANK + 1))))
