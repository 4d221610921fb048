"""SwAV's assignments and loss equal equations 2-6 of arXiv 2006.09882; prototypes and queue do as they should."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.config import PretrainConfig
from ray_ssl.errors import UserError
from ray_ssl.methods.base import Queue
from ray_ssl.methods.swav import Config, SwAV, sinkhorn, swav_terms

SHAPES = [(2, 2), (6, 3), (4, 7), (32, 16)]  # images, prototypes


def _scores(*shape: int, seed: int = 0) -> Tensor:
    """Cosine similarities of random directions: [..., K]."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(*shape[:-1], 5, dtype=torch.float64, generator=generator)
    prototypes = torch.randn(shape[-1], 5, dtype=torch.float64, generator=generator)
    return normalize(z, dim=-1) @ normalize(prototypes).T


def _ones(num_images: int) -> Tensor:
    return torch.ones(num_images, dtype=torch.float64)


def _method(**options: Any) -> SwAV:
    torch.manual_seed(0)
    small = {"projector_width": 16, "embedding_dim": 8, "num_prototypes": 6} | options
    return SwAV(Config.model_validate(small), build_backbone(Backbone(depth=1, width=8), 32), 5).double()


def _outputs(method: SwAV, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    views = [torch.rand(6, 3, 32, 32, dtype=torch.float64, generator=generator) for _ in range(2)]
    return method.embed(views, torch.zeros(6))


def _detached(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in outputs.items()}


def _queue(method: SwAV, view: int) -> Queue:
    queue = method.queues[view]
    assert isinstance(queue, Queue)
    return queue


def _sinkhorn(scores: list[list[float]], epsilon: float, num_iterations: int) -> list[list[float]]:
    """Equation 5 by turns: prototypes get 1 / K each, then images 1 / B; times B. Plain Python."""
    q = [[math.exp(s / epsilon) for s in row] for row in scores]
    b, k = len(q), len(q[0])
    for _ in range(num_iterations):
        sums = [sum(row[j] for row in q) for j in range(k)]
        q = [[row[j] / sums[j] / k for j in range(k)] for row in q]
        q = [[x / sum(row) / b for x in row] for row in q]
    return [[x * b for x in row] for row in q]


def test_lightlys_cifar_values_are_the_defaults() -> None:
    config = PretrainConfig.from_dict({"method": {"name": "swav"}})
    method = config.method
    assert isinstance(method, Config)
    assert (method.projector_width, method.embedding_dim) == (512, 128)
    assert (method.temperature, method.sinkhorn_epsilon, method.sinkhorn_iterations) == (0.1, 0.05, 3)
    assert (config.optimiser.optimiser, config.optimiser.learning_rate) == ("adamw", 1e-3)
    method.check_fits(config.training.global_batch_size, 1000)


# --- assignments ---


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("epsilon", "num_iterations"), [(0.05, 3), (0.5, 1), (1.0, 7)])
def test_assignments_equal_a_naive_loop(shape: tuple[int, int], epsilon: float, num_iterations: int) -> None:
    scores = _scores(*shape)
    expected = torch.tensor(_sinkhorn(scores.tolist(), epsilon, num_iterations), dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(scores, _ones(shape[0]), epsilon, num_iterations), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_assignments_equal_lightlys(shape: tuple[int, int]) -> None:
    reference = pytest.importorskip("lightly.loss.swav_loss").sinkhorn
    scores = _scores(*shape)
    torch.testing.assert_close(sinkhorn(scores, _ones(shape[0]), 0.05, 3), reference(scores, 3, 0.05))


@pytest.mark.parametrize("shape", SHAPES)
def test_in_the_end_all_prototypes_get_equally_much(shape: tuple[int, int]) -> None:
    """Equation 4: rows are distributions, columns sum to B / K; equation 5: the factors leave exp(scores / epsilon)."""
    scores = _scores(*shape)
    codes = sinkhorn(scores, _ones(shape[0]), 0.5, 300)
    torch.testing.assert_close(codes.sum(1), _ones(shape[0]))
    torch.testing.assert_close(codes.sum(0), torch.full((shape[1],), shape[0] / shape[1], dtype=torch.float64))
    factors = codes.log() - scores / 0.5
    doubly_centred = factors - factors.mean(0) - factors.mean(1, keepdim=True) + factors.mean()
    torch.testing.assert_close(doubly_centred, torch.zeros_like(factors))


def test_a_low_epsilon_gives_the_best_even_assignment_and_does_not_overflow() -> None:
    scores = torch.tensor([[0.9, 0.8], [0.7, 0.1]])  # both prefer prototype 0; the best sum is 0.8 + 0.7
    codes = sinkhorn(scores, torch.ones(2), 1e-3, 1000)  # what is left of 0.9 vanishes as 1 / iterations
    torch.testing.assert_close(codes, torch.tensor([[0.0, 1.0], [1.0, 0.0]]), rtol=0, atol=1e-3)


def test_equal_images_get_uniform_assignments() -> None:
    scores = _scores(1, 5).expand(8, 5)
    torch.testing.assert_close(sinkhorn(scores, _ones(8), 0.05, 3), torch.full_like(scores, 1 / 5))


def test_images_of_weight_0_take_no_share_and_those_of_weight_2_count_twice() -> None:
    scores = _scores(5, 4)
    weights = torch.tensor([1, 1, 0, 2, 1], dtype=torch.float64)
    codes = sinkhorn(scores, weights, 0.1, 3)
    rows = torch.tensor([0, 1, 3, 3, 4])
    torch.testing.assert_close(codes[rows], sinkhorn(scores[rows], _ones(5), 0.1, 3))
    torch.testing.assert_close(codes.sum(1), _ones(5))


# --- loss ---


@pytest.mark.parametrize("num_views", [2, 3, 5])
def test_loss_equals_the_papers_equations(num_views: int) -> None:
    scores, codes = _scores(4, num_views, 6), _scores(4, 2, 6).softmax(-1)
    total = 0.0
    for image in range(4):
        for t in range(2):
            for s in range(num_views):
                if s != t:
                    exponentials = [math.exp(x / 0.1) for x in scores[image, s].tolist()]
                    row = zip(codes[image, t].tolist(), exponentials, strict=True)
                    total -= sum(q * math.log(e / sum(exponentials)) for q, e in row)
    assert swav_terms(scores, codes, 0.1)["loss"].item() == pytest.approx(total / 4 / (2 * (num_views - 1)))


@pytest.mark.parametrize("num_small", [0, 3])
@pytest.mark.parametrize("queue_size", [0, 9])
def test_loss_and_gradient_equal_lightlys(num_small: int, queue_size: int) -> None:
    reference = pytest.importorskip("lightly.loss").SwaVLoss()
    scores = _scores(8, 2 + num_small, 6).requires_grad_()
    queues = [_scores(queue_size, 6, seed=seed) for seed in (1, 2)]
    views = list(scores.unbind(1))
    expected = reference(views[:2], views[2:], queues if queue_size else None).squeeze()
    together = [torch.cat([views[i].detach(), queues[i]]) for i in range(2)]
    codes = torch.stack([sinkhorn(rows, _ones(len(rows)), 0.05, 3)[:8] for rows in together], 1)
    loss = swav_terms(scores, codes, 0.1)["loss"]
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(value, scores, retain_graph=True)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients)


def test_gradient() -> None:
    scores, codes = _scores(3, 3, 4).requires_grad_(), _scores(3, 2, 4).softmax(-1)
    assert torch.autograd.gradcheck(lambda s: swav_terms(s, codes, 0.5)["loss"], (scores,))


def test_collapse_costs_the_logarithm_of_the_number_of_prototypes() -> None:
    scores = torch.zeros(6, 2, 7, dtype=torch.float64)
    codes = torch.full_like(scores, 1 / 7)
    terms = {name: t.item() for name, t in swav_terms(scores, codes, 0.1).items()}
    expected = {"loss": math.log(7), "entropy": math.log(7), "divergence": 0.0, "mean_entropy": math.log(7)}
    assert terms == pytest.approx(expected, abs=1e-12)


def test_one_prototype_an_image_costs_nothing_and_one_for_all_shows_in_the_mean_entropy() -> None:
    own = torch.eye(4, dtype=torch.float64)[:, None].expand(4, 2, 4)
    terms = swav_terms(own, own, 0.01)
    assert terms["loss"].item() == pytest.approx(0, abs=1e-9)
    assert terms["mean_entropy"].item() == pytest.approx(math.log(4))
    assert swav_terms(own[:1].expand(4, 2, 4), own, 0.01)["mean_entropy"].item() == pytest.approx(0, abs=1e-9)


# --- the method: prototypes and queue ---


def test_the_loss_is_that_of_normalised_embeddings_and_prototypes() -> None:
    method = _method()
    outputs = _detached(_outputs(method))
    z = torch.stack([outputs["z"], outputs["others"][:, 0]], 1)
    scores = normalize(z, dim=2) @ normalize(method.prototypes.weight.detach()).T
    codes = torch.stack([sinkhorn(scores[:, view], _ones(6), 0.05, 3) for view in range(2)], 1)
    torch.testing.assert_close(method.terms(outputs), swav_terms(scores, codes, 0.1))


def test_prototypes_have_length_1_at_first_and_after_every_step() -> None:
    method = _method()
    one = torch.ones(6, dtype=torch.float64)
    torch.testing.assert_close(method.prototypes.weight.norm(dim=1), one)
    outputs = _detached(_outputs(method))
    with torch.no_grad():
        method.prototypes.weight.mul_(torch.arange(1.0, 7.0)[:, None]).add_(0.1)
        directions = normalize(method.prototypes.weight)
        method.after_step(outputs, 0.5)
    torch.testing.assert_close(method.prototypes.weight.norm(dim=1), one)
    torch.testing.assert_close(method.prototypes.weight.detach(), directions)


@pytest.mark.parametrize(("progress", "frozen"), [(0.0, True), (0.09, True), (0.1, False), (0.9, False)])
def test_prototypes_are_frozen_at_the_start(progress: float, frozen: bool) -> None:
    method = _method(freeze_fraction=0.1)
    method.progress.fill_(progress)
    method.terms(_outputs(method))["loss"].backward()
    gradient = method.prototypes.weight.grad
    assert gradient is not None
    assert bool((gradient == 0).all()) == frozen
    assert all(p.grad is not None and p.grad.any() for p in method.projector.parameters())


def test_weight_decay_does_not_move_frozen_prototypes() -> None:
    method = _method(freeze_fraction=0.5)
    before = method.prototypes.weight.detach().clone()
    optimiser = torch.optim.AdamW([method.prototypes.weight], lr=0.1, weight_decay=0.5)
    for _ in range(3):
        optimiser.zero_grad()
        outputs = _outputs(method)
        method.terms(outputs)["loss"].backward()
        optimiser.step()
        method.after_step(_detached(outputs), 0.1)
    torch.testing.assert_close(method.prototypes.weight.detach(), before)


def test_each_full_view_has_a_queue_of_its_newest_embeddings() -> None:
    method = _method(queue_size=12)
    batches = [_detached(_outputs(method, seed)) for seed in range(3)]
    for outputs in batches:
        method.after_step(outputs, 0.5)
    for view, name in enumerate(("z", "others")):
        newest = torch.cat([normalize(outputs[name].reshape(6, 8)) for outputs in (batches[2], batches[1])])
        torch.testing.assert_close(_queue(method, view).rows, newest)


@pytest.mark.parametrize("num_batches", [0, 1, 2])
def test_from_its_start_the_filled_part_of_the_queue_shares_the_prototypes(num_batches: int) -> None:
    method, plain = _method(queue_size=12, queue_start=0.3), _method()
    for seed in range(1, 1 + num_batches):
        method.after_step(_detached(_outputs(method, seed)), 0.2)
    outputs = _detached(_outputs(method))
    torch.testing.assert_close(method.terms(outputs), plain.terms(outputs))  # it has not started
    method.progress.fill_(0.3)
    weight, codes, scores = method.prototypes.weight.detach(), [], []
    for view, name in enumerate(("z", "others")):
        filled = _queue(method, view).rows[: 6 * num_batches]
        z = torch.cat([normalize(outputs[name].reshape(6, 8)), filled])
        codes.append(sinkhorn(z @ weight.T, _ones(len(z)), 0.05, 3)[:6])
        scores.append(z[:6] @ weight.T)
    expected = swav_terms(torch.stack(scores, 1), torch.stack(codes, 1), 0.1)
    torch.testing.assert_close(method.terms(outputs), expected)
    if num_batches:
        assert not torch.allclose(expected["loss"], plain.terms(outputs)["loss"])


def test_batches_queues_and_prototypes_that_do_not_fit_are_refused() -> None:
    Config(num_prototypes=256).check_fits(256, 1000)
    Config(num_prototypes=768, queue_size=512).check_fits(256, 1000)
    message = (
        r"--num-prototypes 257 is more than --global-batch-size 256 .* --queue-size 0 images can fill; at most 256"
    )
    with pytest.raises(UserError, match=message):
        Config(num_prototypes=257).check_fits(256, 1000)
    with pytest.raises(UserError, match=r"--num-prototypes 769 .* --queue-size 512 images can fill; at most 768"):
        Config(num_prototypes=769, queue_size=512).check_fits(256, 1000)
    with pytest.raises(UserError, match="--queue-size 500 is not a multiple of --global-batch-size 256; 256 would be"):
        Config(queue_size=500).check_fits(256, 1000)
    with pytest.raises(UserError, match="--queue-size 1024 is more than the 1000 training images"):
        Config(queue_size=1024).check_fits(256, 1000)
