"""Bounds of mutual information against naive loops, closed forms and their ceiling."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import Tensor

from analysis import critics
from analysis.calibration import calibrate
from analysis.critics import CriticSettings, HeldOut, dv_loss
from analysis.features import LayerFeatures
from analysis.gaussian_critic import MIN_UNEXPLAINED, fit
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
from analysis.normal_scores import NormalScores
from analysis.saturation import saturated_lines
from tests.benchmarks.mutual_information import pairs_of, truth_of

SMALL = Settings(critic_seeds=(0, 1), critic=CriticSettings(hidden=32, embedding=16, batch_size=128, max_steps=150))


FEW = replace(SMALL, critic=replace(SMALL.critic, max_steps=40, check_steps=10, patience=2))


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


def test_an_estimate_at_its_ceiling_warns_and_the_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mine, "SETTINGS", FEW)
    x, x_test = draw(400, 4), draw(20, 4, seed=1)
    with pytest.warns(RuntimeWarning, match=r"mi_infonce is within 5% of its ceiling"):
        measured = list(mine.measure(LayerFeatures(x, x_test, inputs=(x, x_test)), []))
    value = {m.metric: m.value for m in measured}
    assert value["mi_dv_bits"] == pytest.approx(value["mi_dv"] / math.log(2)) and value["mi_dv_std"] >= 0
    about = {"trial_key": "0", "dataset": "shapes", "layer": 3}
    rows = [about | {"epoch": 0} | m._asdict() for m in measured]
    low = [about | {"epoch": 1} | m._asdict() | ({} if "ceiling" in m.metric else {"value": 0.1}) for m in measured]
    assert "saturated mi_infonce: 1 of 2 are within 5% of their ceiling" in "".join(saturated_lines(_frame(rows + low)))
    assert saturated_lines(_frame(low)) == []
    assert saturated_lines(_frame(low).iloc[:0]) == []


def test_where_critics_are_at_their_ceiling_nwj_is_too() -> None:
    x, x_test = draw(200, 4), draw(50, 4, seed=1)
    result = estimate((x, x), (x_test, x_test), FEW)
    # its constant is that of the 20 pairs held out
    assert result.nwj.mean().item() == pytest.approx(math.log(20) + 1 - 20 / 50, abs=0.1)
    assert result.nwj.mean().item() < 0.95 * result.ceiling and result.saturated() == ["dv", "infonce", "nwj"]
    about = {"trial_key": "0", "dataset": "shapes", "layer": 3, "epoch": 0, "level": "none"}
    values = {"mi_dv": result.dv.mean().item(), "mi_nwj": result.nwj.mean().item(),
              "mi_dv_ceiling": result.ceiling, "mi_nwj_ceiling": result.ceiling}  # fmt: skip
    lines = saturated_lines(_frame([about | {"metric": name, "value": value} for name, value in values.items()]))
    assert [line.partition(" of 1")[0] for line in lines] == ["saturated mi_dv: 1", "saturated mi_nwj: 1"]
    assert "or mi_dv of the same critics is" in lines[1]


@pytest.mark.parametrize(("num_train", "num_test", "warns"), [(199, 50, True), (200, 49, True), (200, 50, False)])
def test_too_few_pairs_are_warned_of(num_train: int, num_test: int, warns: bool) -> None:
    settings = replace(FEW, critic_seeds=(0,), critic=replace(FEW.critic, max_steps=1))
    pairs = [(x, x) for x in (draw(num_train, 2), draw(num_test, 2, seed=1))]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        estimate(pairs[0], pairs[1], settings)
    assert [str(one.message) for one in said] == [
        f"mutual information from {num_train} training and {num_test} test pairs may be far too low, of NWJ even far "
        "below zero: give at least 200 and 50"
    ] * warns


def _frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows)


def test_critics_side_by_side_are_those_trained_alone() -> None:
    together = found(0.7, replace(FEW, critic_seeds=(0, 1, 2)))
    for seed in range(3):
        alone = found(0.7, replace(FEW, critic_seeds=(seed,)))
        for ours, theirs in zip(together[:3], alone[:3], strict=True):
            assert ours[seed].item() == pytest.approx(theirs.item(), abs=1e-4)
    assert together.dv.std() > 1e-3  # three critics indeed


def test_a_critic_that_has_ended_stays_while_others_go_on() -> None:
    x, z = pairs_of("signs", 600, 1, 0.9, "train")
    settings, seeds = replace(FEW.critic, check_steps=5, patience=1), (0, 1, 2)

    def trained(seeds: tuple[int, ...]) -> list[Tensor]:
        pairs = HeldOut.split(x, z, seeds)
        with torch.no_grad():
            start = critics.untrained(pairs, settings, seeds)
        return critics.train(pairs, start, lambda g, h: dv_bound(score_sums(g, h)), "dv", settings, seeds).weights

    together = trained(seeds)
    for i, seed in enumerate(seeds):
        for ours, theirs in zip(together, trained((seed,)), strict=True):
            torch.testing.assert_close(ours[i], theirs[0], atol=1e-3, rtol=1e-3)


def test_order_of_held_out_pairs_does_not_matter() -> None:
    x, z = gaussians(0.7, num_pairs=500, seed=1)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(5))
    for ours, theirs in zip(estimate(gaussians(0.7), (x, z), FEW)[:3],
                            estimate(gaussians(0.7), (x[order], z[order]), FEW)[:3], strict=True):  # fmt: skip
        assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_few_pairs_of_many_dimensions_are_not_overestimated(rho: float) -> None:
    truth = -8 * math.log(1 - rho**2)
    result = estimate(gaussians(rho, 16, 400), gaussians(rho, 16, 1000, seed=1), FEW)
    for values in result[:3]:
        assert values.max().item() <= truth + 0.1
    assert rho or result.dv.min().item() > -0.1  # nothing is found where there is nothing
    assert not rho or result.dv.mean().item() > 0.5 * truth


@pytest.mark.parametrize(("num_dims", "rho"), [(16, 0.6), (64, 0.3), (1, 0.9998)])
def test_much_information_is_found_within_a_tenth(num_dims: int, rho: float) -> None:
    truth = -num_dims / 2 * math.log(1 - rho**2)
    result = estimate(gaussians(rho, num_dims, 10_000), gaussians(rho, num_dims, 3000, seed=1), FEW)
    assert truth > 3
    for values in result[:3]:
        assert 0.9 * truth <= values.mean().item() <= truth + 0.15


def test_information_without_correlation_is_found_by_training() -> None:
    settings = replace(SMALL, critic_seeds=(0,), critic=replace(SMALL.critic, learning_rate=5e-3))
    pairs = [pairs_of("signs", num_pairs, 1, 0.9, purpose) for num_pairs, purpose in ((2000, "train"), (1000, "test"))]
    truth = truth_of("signs", 1, 0.9)
    untrained = estimate(pairs[0], pairs[1], replace(settings, critic=replace(settings.critic, max_steps=0)))
    assert untrained.infonce.item() < 0.1 * truth < 0.7 * truth < estimate(pairs[0], pairs[1], settings).infonce.item()


def test_gaussian_critic_is_the_log_density_ratio() -> None:
    mixing = draw(5, 5, seed=3).double()
    joint = torch.distributions.MultivariateNormal(torch.ones(5).double(), mixing @ mixing.T + torch.eye(5))
    torch.manual_seed(0)
    fitted, held_out = joint.sample((200_000,)), joint.sample((200_000,))
    x, z = held_out[:50, :2].float(), held_out[:50, 2:].float()
    critic = fit([(fitted[:, :2], fitted[:, 2:])], [(held_out[:, :2], held_out[:, 2:])], most=10)
    of_x, of_z = critic(x, z)
    parts = [
        torch.distributions.MultivariateNormal(torch.ones(len(rows)).double(), joint.covariance_matrix[rows][:, rows])
        for rows in (torch.arange(2), torch.arange(2, 5))
    ]
    truth = joint.log_prob(held_out[:50]) - parts[0].log_prob(held_out[:50, :2]) - parts[1].log_prob(held_out[:50, 2:])
    assert critic.correlations.max() < (1 - MIN_UNEXPLAINED) ** 0.5
    assert torch.allclose((of_x * of_z).sum(-1)[0].double(), truth, atol=0.05)


def test_normal_scores_keep_order_forget_scale_and_share_ties() -> None:
    rows = draw(3000, 2)
    scores = NormalScores.of(rows).apply(rows)
    assert (scores - rows).abs().mean() < 0.05
    assert torch.equal(scores.argsort(0), rows.argsort(0))
    assert torch.allclose(NormalScores.of(rows**3).apply(rows**3), scores, atol=0.1)
    relu = NormalScores.of(rows.relu()).apply(rows.relu())
    assert len(relu[rows[:, 0] <= 0, 0].unique()) == 1 and (relu[rows[:, 0] > 0.1, 0] > relu[:, 0].min()).all()
    constant = torch.ones(9, 1)
    assert NormalScores.of(constant).apply(constant).unique().numel() == 1


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs LayerFeatures\.inputs"):
        list(mine.measure(LayerFeatures(draw(30, 2), draw(30, 2)), []))
    with pytest.raises(ValueError, match="training pairs are needed, given 30 x and 29 z"):
        estimate((draw(30, 2), draw(29, 2)), (draw(30, 2), draw(30, 2)))


def test_bits() -> None:
    assert nats_to_bits(math.log(8)) == pytest.approx(3)


def test_a_few_scores_that_are_far_too_large_do_not_decide_the_bound() -> None:
    rho, num_dims = 0.9, 2
    x, z = gaussians(rho, num_dims, num_pairs=400)
    truth = -0.5 * num_dims * math.log(1 - rho**2)
    squares = rho**2 * ((x**2).sum(1)[:, None] + (z**2).sum(1))
    best = (rho * x @ z.T - squares / 2) / (1 - rho**2)  # the log of the density ratio, less a constant
    pairs = torch.stack([best, best])
    pairs[1][torch.rand(400, 400, generator=torch.Generator().manual_seed(0)) < 1e-3] += 40
    calibration, bounds = calibrate(pairs)
    assert bounds[0] == pytest.approx(truth, abs=0.25)
    assert 0.5 * truth < bounds[1] <= bounds[0]
    raw = pairs[1].diagonal().mean() - (pairs[1].logsumexp((0, 1)) - 2 * math.log(400))
    assert raw < -10
    # The calibrated scores are a critic's: the mean of their exponentials is 1, which makes NWJ tight.
    assert calibration(pairs).exp().mean((1, 2)).tolist() == pytest.approx([1, 1], abs=1e-3)


def test_critics_are_calibrated_as_each_alone() -> None:
    scores = draw(3, 50, 50, seed=1) * torch.tensor([1.0, 5, 20])[:, None, None]
    together, bounds = calibrate(scores)
    for i in range(3):
        alone, bound = calibrate(scores[i : i + 1])
        assert all(torch.equal(a[i : i + 1], b) for a, b in zip(together, alone, strict=True))
        assert torch.equal(bounds[i : i + 1], bound)
