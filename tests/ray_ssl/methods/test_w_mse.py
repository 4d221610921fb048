"""W-MSE: whitening by Cholesky, the normalised error, sub-batches that depend on the step alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.config import PretrainConfig
from ray_ssl.errors import UserError
from ray_ssl.methods.w_mse import WMSE, Config, sub_batches, w_mse_terms, whiten

TINY = 1e-14


def _embeddings(num_images: int, dim: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(dim, dim, dtype=torch.float64, generator=generator)
    z0 = torch.randn(num_images, dim, dtype=torch.float64, generator=generator) @ mixing + 3
    return z0, z0 + 0.5 * torch.randn(num_images, dim, dtype=torch.float64, generator=generator)


def _all_rows(z: Tensor) -> Tensor:
    return torch.arange(len(z))[None]


def _cholesky(a: list[list[float]]) -> list[list[float]]:
    d = len(a)
    factor = [[0.0] * d for _ in range(d)]
    for i in range(d):
        for j in range(i + 1):
            rest = a[i][j] - sum(factor[i][k] * factor[j][k] for k in range(j))
            factor[i][j] = math.sqrt(rest) if i == j else rest / factor[j][j]
    return factor


def _whitened(z: list[list[float]]) -> list[list[float]]:
    """L^-1 (z - mean) by forward substitution, in plain Python, without jitter."""
    n, d = len(z), len(z[0])
    mean = [sum(row[i] for row in z) / n for i in range(d)]
    centred = [[row[i] - mean[i] for i in range(d)] for row in z]
    covariance = [[sum(r[i] * r[j] for r in centred) / (n - 1) for j in range(d)] for i in range(d)]
    factor, result = _cholesky(covariance), []
    for row in centred:
        w: list[float] = []
        for i in range(d):
            w.append((row[i] - sum(factor[i][k] * w[k] for k in range(i))) / factor[i][i])
        result.append(w)
    return result


def _loss(z0: list[list[float]], z1: list[list[float]], sub_batches: list[list[int]]) -> float:
    """Mean squared distance of normalised whitened embeddings, in plain Python."""
    distances = []
    for rows in sub_batches:
        for a, b in zip(_whitened([z0[r] for r in rows]), _whitened([z1[r] for r in rows]), strict=True):
            pairs = zip(a, b, strict=True)
            distances.append(sum((p / math.hypot(*a) - q / math.hypot(*b)) ** 2 for p, q in pairs))
    return sum(distances) / len(distances)


def _method(**options: int) -> WMSE:
    config = Config(**({"embedding_dim": 2, "projector_width": 8, "whitening_size": 4} | options))  # type: ignore[arg-type]
    return WMSE(config, build_backbone(Backbone(depth=1, width=4), 32), 5)


def test_published_cifar_values_are_the_defaults() -> None:
    config = Config()
    assert (config.embedding_dim, config.projector_width, config.whitening_size, config.num_whitenings) == (
        64, 1024, 128, 1,
    )  # fmt: skip
    optimiser = PretrainConfig(method=config).optimiser
    assert (optimiser.optimiser, optimiser.weight_decay) == ("adamw", 1e-6)
    assert optimiser.learning_rate * 512 / 128 == 0.003
    config.check_fits(PretrainConfig().training.global_batch_size, 50_000)


@pytest.mark.parametrize(("num_images", "dim", "size"), [(4, 2, 4), (8, 2, 4), (12, 3, 4), (12, 5, 6)])
def test_equals_a_naive_loop(num_images: int, dim: int, size: int) -> None:
    z0, z1 = _embeddings(num_images, dim)
    rows = sub_batches(num_images, size, 2, step=0)
    loss = w_mse_terms(z0, z1, rows, TINY)["loss"].item()
    assert loss == pytest.approx(_loss(z0.tolist(), z1.tolist(), rows.tolist()))


@pytest.mark.parametrize(("num_images", "dim"), [(4, 2), (16, 5), (128, 64)])
def test_equals_lightly(num_images: int, dim: int) -> None:
    """lightly whitens the whole batch here, so its random order does not matter."""
    module = pytest.importorskip("lightly.loss.wmse_loss")
    reference = module.WMSELoss(dim, w_size=num_images, track_running_stats=False)
    z0, z1 = _embeddings(num_images, dim)
    loss = w_mse_terms(z0, z1, _all_rows(z0), TINY)["loss"]
    torch.testing.assert_close(loss, reference(torch.cat([z0, z1])), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("num_images", "dim"), [(4, 3), (20, 8), (128, 64)])
def test_whitened_sets_have_mean_zero_and_covariance_one(num_images: int, dim: int) -> None:
    z = torch.stack(_embeddings(num_images, dim))
    whitened, _ = whiten(z, TINY)
    for rows in whitened:
        torch.testing.assert_close(rows.mean(0), torch.zeros(dim, dtype=torch.float64), rtol=0, atol=1e-6)
        torch.testing.assert_close(rows.T.cov(), torch.eye(dim, dtype=torch.float64), rtol=0, atol=1e-6)


def test_the_least_variance_is_what_the_last_of_two_dimensions_adds() -> None:
    """Correlation r: given the first, the second dimension has the variance (1 - r^2) s^2."""
    z = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    r, s = 0.6, 3
    mixed = s * torch.stack([z[:, 0], r * z[:, 0] + math.sqrt(1 - r * r) * z[:, 1]], dim=1)
    assert w_mse_terms(mixed, mixed, _all_rows(z), TINY)["least_variance"].item() == pytest.approx(1 - r * r)


def test_gradient() -> None:
    z0, z1 = (z.requires_grad_() for z in _embeddings(8, 3))
    rows = sub_batches(8, 4, 2, step=0)
    assert torch.autograd.gradcheck(lambda a, b: w_mse_terms(a, b, rows, 1e-6)["loss"], (z0, z1))


def test_identical_and_opposite_views() -> None:
    z, _ = _embeddings(8, 3)
    assert w_mse_terms(z, z.clone(), _all_rows(z), 1e-6)["loss"].item() == pytest.approx(0, abs=1e-12)
    assert w_mse_terms(z, -z, _all_rows(z), 1e-6)["loss"].item() == pytest.approx(4)


def test_unrelated_views_are_at_right_angles_on_average() -> None:
    z0, z1 = torch.randn(2, 4096, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert w_mse_terms(z0, z1, _all_rows(z0), 1e-6)["loss"].item() == pytest.approx(2, abs=0.02)


def test_shifts_and_triangular_maps_of_either_view_change_nothing() -> None:
    """L^-1 undoes any lower triangular map of positive diagonal: nothing is gained by shrinking a dimension."""
    z0, z1 = _embeddings(12, 4)
    rows = sub_batches(12, 6, 1, step=0)
    expected = w_mse_terms(z0, z1, rows, TINY)["loss"]
    mapping = _embeddings(4, 4)[0].tril(-1) + torch.diag(torch.tensor([0.1, 1, 5, 10], dtype=torch.float64))
    torch.testing.assert_close(w_mse_terms(z0 @ mapping.T + 7, 3 * z1 - 1, rows, TINY)["loss"], expected)


def test_images_of_other_sub_batches_do_not_matter() -> None:
    z0, z1 = _embeddings(8, 3)
    rows = torch.arange(8).view(2, 4)
    moved = torch.cat([z0[:4], z1[4:]])
    first = [w_mse_terms(z, z1, rows[:1], 1e-6)["loss"] for z in (z0, moved)]
    assert torch.equal(*first)
    both = [w_mse_terms(z0, z1, part, 1e-6)["loss"] for part in (rows[:1], rows[1:], rows)]
    torch.testing.assert_close(both[2], (both[0] + both[1]) / 2)


@pytest.mark.parametrize("rank", [0, 1, 3, 32])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_fp32_embeddings_of_any_rank_have_finite_losses_and_gradients(rank: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(rank, 64, generator=generator)
    views = [scale * (torch.randn(128, rank, generator=generator) @ basis + 1) for _ in range(2)]
    z0, z1 = (z.requires_grad_() for z in views)
    terms = w_mse_terms(z0, z1, _all_rows(z0), Config().whitening_jitter)
    terms["loss"].backward()
    assert terms["loss"].dtype == torch.float32
    assert 0 <= terms["loss"] <= 4
    assert terms["least_variance"] < 1e-5
    assert all(z.grad is not None and z.grad.isfinite().all() for z in (z0, z1))


def test_fp32_needs_the_jitter_and_the_wide_arithmetic() -> None:
    """Three of 64 directions: the covariance has no Cholesky factor, in fp32 not even with the jitter."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(128, 3, generator=generator) @ torch.randn(3, 64, generator=generator)
    covariance, jitter = z.T.cov(), Config().whitening_jitter
    assert torch.linalg.cholesky_ex(covariance)[1] > 0
    assert torch.linalg.cholesky_ex(z.double().T.cov())[1] > 0
    assert torch.linalg.cholesky_ex(covariance + jitter * covariance.diagonal().mean() * torch.eye(64))[1] > 0
    assert whiten(z, jitter)[0].isfinite().all()


def test_the_jitter_hardly_changes_well_conditioned_embeddings() -> None:
    z0, z1 = torch.randn(2, 128, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = w_mse_terms(z0, z1, _all_rows(z0), TINY)["loss"]
    fp32 = w_mse_terms(z0.float(), z1.float(), _all_rows(z0), Config().whitening_jitter)["loss"]
    torch.testing.assert_close(fp32.double(), exact, rtol=1e-5, atol=0)


def test_collapsed_embeddings_have_the_loss_of_unrelated_ones() -> None:
    z = torch.full((8, 3), 5.0)
    assert w_mse_terms(z, z, _all_rows(z), 1e-6)["loss"] == 2


def test_what_is_not_a_number_gives_no_exception() -> None:
    z = torch.full((8, 3), torch.nan)
    assert w_mse_terms(z, z, _all_rows(z), 1e-6)["loss"].isnan()


def test_sub_batches_are_a_function_of_the_step_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = sub_batches(12, 4, 2, step=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(sub_batches(12, 4, 2, step=5), first)
    assert not torch.equal(sub_batches(12, 4, 2, step=6), first)
    assert first.shape == (6, 4)
    for part in first.view(2, 12):
        assert sorted(part.tolist()) == list(range(12))
    assert not torch.equal(first[:3], first[3:])


def test_the_number_of_the_step_is_counted_in_the_state() -> None:
    method = _method()
    z0, z1 = _embeddings(8, 2)
    outputs, losses = {"z": z0, "z1": z1}, []
    for step in range(3):
        assert method.state_dict()["step"] == step
        losses.append(method.terms(outputs)["loss"])
        expected = w_mse_terms(z0, z1, sub_batches(8, 4, 1, step), 1e-6)["loss"]
        assert torch.equal(losses[-1], expected)
        method.after_step(outputs, 0.0)
    assert len({loss.item() for loss in losses}) == 3
    resumed = _method()
    resumed.load_state_dict(method.state_dict())
    assert torch.equal(resumed.terms(outputs)["loss"], method.terms(outputs)["loss"])


@pytest.mark.parametrize(
    ("batch", "size", "dim", "problem", "remedy"),
    [
        (200, 128, 64, "--whitening-size 128 does not divide --global-batch-size 200", "--whitening-size 100"),
        (256, 90, 64, "--whitening-size 90 does not divide --global-batch-size 256", "--whitening-size 128"),
        (
            256,
            128,
            128,
            "--whitening-size 128 is not more than --embedding-dim 128: .* rank 127",
            "--whitening-size 256",
        ),
        (64, 128, 128, "--whitening-size 128 does not", "--whitening-size 64 --embedding-dim 32"),
        (64, 64, 64, "--whitening-size 64 is not more than", "--whitening-size 64 --embedding-dim 32"),
        (2, 3, 2, "--whitening-size 3 does not divide", "a larger --global-batch-size"),
    ],
)
def test_sub_batches_that_cannot_be_whitened_are_refused(
    batch: int, size: int, dim: int, problem: str, remedy: str
) -> None:
    with pytest.raises(UserError, match=f"^{problem}.*; {remedy} would do$"):
        Config(whitening_size=size, embedding_dim=dim).check_fits(batch, 1000)


@pytest.mark.parametrize(("batch", "size", "dim"), [(256, 128, 127), (128, 128, 64), (64, 64, 32), (3, 3, 2)])
def test_sub_batches_that_fit_are_not(batch: int, size: int, dim: int) -> None:
    Config(whitening_size=size, embedding_dim=dim).check_fits(batch, 1000)
