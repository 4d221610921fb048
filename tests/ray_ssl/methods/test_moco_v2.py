"""MoCo v2 of arXiv 1911.05722 and 2003.04297: what is compared with what, the queue, the teacher."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.errors import UserError
from ray_ssl.methods.base import info_nce_terms
from ray_ssl.methods.moco_v2 import Config, MoCoV2

QUEUE_SIZE = 12


def _method(symmetric: bool = True) -> MoCoV2:
    torch.manual_seed(0)
    config = Config(
        projector_width=16, embedding_dim=8, queue_size=QUEUE_SIZE, teacher_momentum=0.9, symmetric=symmetric
    )
    return MoCoV2(config, build_backbone(Backbone(depth=1, width=8), 32), 5).double()


def _views(num_images: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(num_images, 3, 32, 32, dtype=torch.float64, generator=generator) for _ in range(2)]


def _rows(num_rows: int, seed: int) -> Tensor:
    return torch.randn(num_rows, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _loss(queries: Tensor, keys: Tensor, queue: Tensor, tau: float) -> float:
    """Equation 1 of arXiv 1911.05722 with the batch's other keys besides the queue, mean, in plain Python."""

    def similarity(a: list[float], b: list[float]) -> float:
        return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    total = 0.0
    for query, key in zip(queries.tolist(), keys.tolist(), strict=True):
        everything = sum(math.exp(similarity(query, other) / tau) for other in (*keys.tolist(), *queue.tolist()))
        total -= math.log(math.exp(similarity(query, key) / tau) / everything)
    return total / len(queries)


def test_published_cifar_values_are_the_defaults() -> None:
    config = Config()
    assert (config.temperature, config.queue_size, config.teacher_momentum) == (0.1, 4096, 0.99)
    assert (config.projector_width, config.embedding_dim) == (512, 128)


def test_the_loss_compares_either_view_with_the_other_views_keys() -> None:
    method = _method()
    outputs = {"z": _rows(6, 0), "z1": _rows(6, 1), "key0": _rows(6, 2), "key1": _rows(6, 3)}
    ways = [_loss(outputs[z], outputs[key], method.queue.rows, 0.1) for z, key in (("z", "key1"), ("z1", "key0"))]
    terms = method.terms(outputs)
    assert terms["loss"].item() == pytest.approx(sum(ways) / 2)
    torch.testing.assert_close(terms["invariance"] + terms["regularisation"], terms["loss"])


def test_without_symmetry_view_0_alone_asks_for_view_1() -> None:
    method = _method(symmetric=False).eval()
    outputs = method.embed(_views(), torch.zeros(6))
    assert set(outputs) == {"z", "key1"}
    torch.testing.assert_close(outputs["z"], method.projector(method.backbone(_views()[0])))
    torch.testing.assert_close(outputs["key1"], method.teacher(_views()[1]))
    expected = _loss(outputs["z"], outputs["key1"], method.queue.rows, 0.1)
    assert method.terms(outputs)["loss"].item() == pytest.approx(expected)


def test_queries_come_from_the_student_and_keys_from_the_teacher() -> None:
    method = _method().eval()
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.mul_(1.5)
    outputs = method.embed(_views(), torch.zeros(6))
    for view, (z, images) in enumerate(zip(("z", "z1"), _views(), strict=True)):
        torch.testing.assert_close(outputs[z], method.projector(method.backbone(images)))
        torch.testing.assert_close(outputs[f"key{view}"], method.teacher(images))
        assert outputs[z].requires_grad
        assert not outputs[f"key{view}"].requires_grad


def test_what_all_views_of_a_batch_share_does_not_find_the_key() -> None:
    """A mark that tells this batch from the queue, as BatchNorm statistics are, brings log N, not the optimum."""
    mark, other = torch.eye(8, dtype=torch.float64)[:2]
    batch, queue = mark.expand(6, 8), other.expand(QUEUE_SIZE, 8)
    marked = info_nce_terms(batch, batch, 0.1, queue)["loss"].item()
    assert marked == pytest.approx(math.log(6 + QUEUE_SIZE * math.exp(-10)))
    key_and_queue_alone = info_nce_terms(batch[:1], batch[:1], 0.1, queue)["loss"].item()
    assert key_and_queue_alone < 1e-3 < marked


def test_the_projector_has_no_batch_norm() -> None:
    assert not any(isinstance(module, nn.BatchNorm1d) for module in _method().projector.modules())


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_queue_gets_the_normalised_keys_of_view_1(symmetric: bool) -> None:
    method = _method(symmetric)
    before = method.queue.rows.clone()
    keys = [_rows(4, seed) for seed in range(4)]
    for step, key1 in enumerate(keys):
        method.after_step({"z": _rows(4, 9), "key0": _rows(4, 8), "key1": key1}, 0.25)
        if step == 0:
            assert torch.equal(method.queue.rows[4:], before[4:])
    newest = normalize(torch.cat([keys[3], keys[1], keys[2]]), dim=1)
    torch.testing.assert_close(method.queue.rows, newest)


def test_keys_of_a_step_are_not_yet_in_the_queue() -> None:
    method = _method()
    queue = method.queue.rows.clone()
    terms, outputs = method(_views(), torch.zeros(6))
    expected = (
        _loss(outputs["z"], outputs["key1"], queue, 0.1) + _loss(outputs["z1"], outputs["key0"], queue, 0.1)
    ) / 2
    assert terms["loss"].item() == pytest.approx(expected)
    assert torch.equal(method.queue.rows, queue)


@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_the_teacher_follows_with_the_same_momentum_all_along(progress: float) -> None:
    method = _method()
    old = [p.clone() for p in method.teacher.parameters()]
    student = [*method.backbone.parameters(), *method.projector.parameters()]
    with torch.no_grad():
        for p in student:
            p.add_(1)
    method.after_step({"key1": _rows(4, 0)}, progress)
    for p, before, after in zip(method.teacher.parameters(), old, student, strict=True):
        torch.testing.assert_close(p.data, 0.9 * before + 0.1 * after)


def test_a_queue_that_cannot_work_is_refused() -> None:
    Config(queue_size=512).check_fits(256, 1000)
    with pytest.raises(UserError, match="--queue-size 600 is not a multiple of --global-batch-size 256"):
        Config(queue_size=600).check_fits(256, 1000)
    with pytest.raises(UserError, match="--queue-size 4096 is more than the 1000 training images"):
        Config().check_fits(256, 1000)
