"""What methods share: a teacher that follows, a queue that turns, crops of two sizes, recommended options."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ray_ssl.config import PretrainConfig, ViewConfig
from ray_ssl.errors import UserError
from ray_ssl.methods.base import (
    MultiCropConfig,
    Queue,
    check_queue,
    cosine_momentum,
    embed_crops,
    follow,
    multi_crop_views,
    teacher_of,
)
from ray_ssl.plugins import plugin_module, plugin_names


def test_a_teacher_moves_its_weights_towards_the_student_and_keeps_its_own_statistics() -> None:
    student = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).double()
    teacher = teacher_of(student)
    assert not any(p.requires_grad for p in teacher.parameters())
    old = {name: p.clone() for name, p in teacher.named_parameters()}
    with torch.no_grad():
        for p in student.parameters():
            p.add_(1)
        student(torch.randn(8, 2, dtype=torch.float64))
    follow(teacher, student, 0.9)
    for name, p in teacher.named_parameters():
        torch.testing.assert_close(p.data, 0.9 * old[name] + 0.1 * dict(student.named_parameters())[name])
    assert torch.equal(teacher[1].running_mean, torch.zeros(3, dtype=torch.float64))  # type: ignore[arg-type]


def test_the_teachers_momentum_rises_along_a_cosine() -> None:
    assert [cosine_momentum(0.9, p) for p in (0, 0.5, 1)] == pytest.approx([0.9, 0.95, 1])


@pytest.mark.parametrize("size", [4, 6, 7])
def test_a_queue_holds_the_newest_rows(size: int) -> None:
    queue, seen = Queue(size, 2), torch.empty(0, 2)
    assert queue.rows.norm(dim=1).tolist() == pytest.approx([1] * size)
    for step in range(5):
        rows = torch.full((3, 2), float(step)) + torch.arange(3)[:, None] / 10
        queue.push(rows)
        seen = torch.cat([seen, rows])
        newest = seen[-size:]
        assert queue.filled == len(newest)
        held = queue.rows[: int(queue.filled)]
        assert sorted(held.tolist()) == sorted(newest.tolist())


def test_more_rows_than_a_queue_holds_leave_the_last() -> None:
    queue = Queue(2, 1)
    queue.push(torch.arange(5.0)[:, None])
    assert sorted(queue.rows.flatten().tolist()) == [3, 4]


def test_queues_that_cannot_work_are_refused() -> None:
    check_queue(512, 256, 1000)
    with pytest.raises(UserError, match="not a multiple of --global-batch-size 256; 512 would be"):
        check_queue(600, 256, 1000)
    with pytest.raises(UserError, match="more than the 1000 training images; at most 768"):
        check_queue(1024, 256, 1000)


def test_small_crops_are_small_areas_and_full_ones_large() -> None:
    views = ViewConfig(crop_scale=(0.1, 1.0))
    assert [p.config for p in multi_crop_views(MultiCropConfig(name="x"), views, 32)] == [views, views]
    plans = multi_crop_views(MultiCropConfig(name="x", num_small_crops=3, small_crop_size=16), views, 32)
    assert [p.size for p in plans] == [32, 32, 16, 16, 16]
    assert [p.config.crop_scale for p in plans if p.config] == [(0.25, 1)] * 2 + [(0.1, 0.25)] * 3


def test_views_of_both_sizes_are_embedded_in_order() -> None:
    def network(images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))[:, None]

    views = [torch.full((2, 3, size, size), float(i)) for i, size in enumerate((8, 8, 4, 4, 4))]
    means = [z.flatten().tolist() for z in embed_crops(network, views)]  # type: ignore[arg-type]
    assert means == [[i, i] for i in range(5)]


@pytest.mark.parametrize("name", plugin_names("ray_ssl.methods"))
def test_recommended_options_are_valid_and_yield_to_given_ones(name: str) -> None:
    recommended = plugin_module("ray_ssl.methods", name).Config.RECOMMENDED
    config = PretrainConfig.from_dict({"method": {"name": name}})
    assert PretrainConfig.from_json(config.to_json()) == config
    for path, value in recommended.items():
        part, leaf = path.split(".")
        assert getattr(getattr(config, part), leaf) == value
    given = PretrainConfig.from_dict({"method": {"name": name}, "optimiser": {"learning_rate": 0.123}})
    assert given.optimiser.learning_rate == 0.123
