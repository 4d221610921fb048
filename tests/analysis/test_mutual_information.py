"""Bounds of mutual information against naive loops, closed forms and their ceiling."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from analysis.critics import CriticSettings, dv_loss
from analysis.features import LayerFeatures
from analysis.metrics import mine
from analysis.mutual_information import (
    Estimate,
    ScoreSums,
    Settings,
    dv_bound,
    estimate,
    infonce_bound,
    nats_to_bits,
    nwj_bound,
    principal_directions,
    score_sums,
)

SMALL = Settings(critic_seeds=(0, 1), critic=CriticSettings(hidden=32, embedding=16, batch_size=128, max_steps=150))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gaussians(rho: float, num_dims: int = 2, num_pairs: int = 2000, seed: int = 0) -> tuple[Tensor, Tensor]:
    x, noise = draw(2, num_pairs, num_dims, seed=seed)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def found(rho: float, settings: Settings = SMALL) -> Estimate:
    return estimate(gaussians(rho), gaussians(rho, num_pairs=1000, seed=1), settings)


def test_bounds_are_those_of_naive_loops() -> None:
    x, z = draw(2, 7, 3, seed=0).double(), draw(2, 7, 3, seed=1).double()
    sums = score_sums(x, z)
    for critic in range(2):
        f = [[sum(float(a * b) for a, b in zip(x[critic, i], z[critic, j], strict=True)) for j in range(7)]
             for i in range(7)]  # fmt: skip
        true = sum(f[i][i] for i in range(7)) / 7
        dv = true - math.log(sum(math.exp(v) for row in f for v in row) / 49)
        nwj = true - sum(math.exp(v - 1) for row in f for v in row) / 49
        infonce = sum(math.log(math.exp(f[i][i]) / (sum(math.exp(v) for v in f[i]) / 7)) for i in range(7)) / 7
        assert dv_bound(sums)[critic].item() == pytest.approx(dv)
        assert nwj_bound(sums)[critic].item() == pytest.approx(nwj)
        assert infonce_bound(sums)[critic].item() == pytest.approx(infonce)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
def test_no_critic_gets_beyond_the_ceiling(scale: float) -> None:
    x = scale * torch.nn.functional.normalize(draw(1, 50, 8).double(), dim=-1)
    sums = score_sums(x, x)
    shifted = ScoreSums(sums.true + 1 - sums.log_mean[:, None], sums.log_sums + 1 - sums.log_mean[:, None])
    for bound in (dv_bound(sums), nwj_bound(shifted), infonce_bound(sums)):
        assert bound.item() <= math.log(50) + 1e-6
    if scale == 100.0:
        assert dv_bound(sums).item() == pytest.approx(math.log(50), abs=1e-3)


def test_gradient_of_the_loss_is_that_of_the_bound_where_the_average_is_the_batch() -> None:
    scores = draw(1, 6, 6).double().requires_grad_()
    loss, _ = dv_loss(scores, None, 0.9)
    chance = scores[0][~torch.eye(6, dtype=torch.bool)]
    expected = torch.autograd.grad(chance.exp().mean().log() - scores[0].diagonal().mean(), scores)[0]
    assert torch.allclose(torch.autograd.grad(loss.sum(), scores)[0], expected)


def test_moving_average_is_of_the_denominators() -> None:
    scores = [draw(1, 5, 5, seed=s).double() for s in (0, 1)]
    means = [s[0][~torch.eye(5, dtype=torch.bool)].exp().mean().item() for s in scores]
    _, first = dv_loss(scores[0], None, 0.9)
    _, second = dv_loss(scores[1], first, 0.9)
    assert second.exp().item() == pytest.approx(0.9 * means[0] + 0.1 * means[1])


def test_gaussians_of_little_information_are_estimated_closely_and_in_order() -> None:
    previous = -1.0
    for rho in (0.0, 0.4, 0.7):
        truth, result = -math.log(1 - rho**2), found(rho)
        for values in result[:3]:
            assert values.mean().item() == pytest.approx(truth, abs=0.03 + 0.15 * truth), rho
        assert result.dv.mean().item() > previous
        previous = result.dv.mean().item()
        assert result.ceiling == math.log(1000) and not result.saturated()


def test_same_seed_same_numbers_another_seed_others() -> None:
    few = replace(SMALL, critic=replace(SMALL.critic, max_steps=20))
    once, again, other = found(0.7, few), found(0.7, few), found(0.7, replace(few, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(once[:3], again[:3], strict=True))
    assert once.dv[0] != once.dv[1] and once.dv[0] != other.dv[0]


def test_principal_directions_are_those_of_the_full_decomposition() -> None:
    rows = draw(300, 40) * torch.logspace(1, -1, 40)
    rows -= rows.mean(0)
    ours, theirs = principal_directions(rows, 5, seed=0), torch.linalg.svd(rows, full_matrices=False)[2][:5].T
    assert torch.allclose(ours.T @ ours, torch.eye(5), atol=1e-5)
    assert torch.allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-3)


def test_an_estimate_at_its_ceiling_warns() -> None:
    x, x_test = draw(1000, 4), draw(20, 4, seed=1)
    with pytest.warns(RuntimeWarning, match=r"mi_infonce is within 5% of its ceiling"):
        list(mine.measure(LayerFeatures(x, x_test, inputs=(x, x_test)), []))


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs LayerFeatures\.inputs"):
        list(mine.measure(LayerFeatures(draw(30, 2), draw(30, 2)), []))
    with pytest.raises(ValueError, match="training pairs are needed, given 30 x and 29 z"):
        estimate((draw(30, 2), draw(29, 2)), (draw(30, 2), draw(30, 2)))


def test_bits() -> None:
    assert nats_to_bits(math.log(8)) == pytest.approx(3)
