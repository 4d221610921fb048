"""Views that are made for several steps at once against those that are made for each."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from ray_ssl.batches import Batch, Share
from ray_ssl.config import ViewConfig
from ray_ssl.distributed import World
from ray_ssl.methods.base import ViewPlan
from ray_ssl.rng import torch_stream
from ray_ssl.step_views import StepViews
from ray_ssl.views import apply, draw

EVERYTHING = ViewConfig(blur_probability=0.2, solarise_probability=0.2)
MIRRORED = ViewConfig(crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip_probability=0.1, jitter_probability=0.1)
PLANS = [ViewPlan(EVERYTHING, 32), ViewPlan(EVERYTHING, 32), ViewPlan(EVERYTHING, 16), ViewPlan(None, 24)]
PLANS += [ViewPlan(MIRRORED, 32)]
NORMALISATION = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
NUM_STEPS, EPOCH = 11, 2


def images_of(step: int, batch_size: int, size: int = 32) -> Tensor:
    return torch.randint(0, 256, (batch_size, size, size, 3), dtype=torch.uint8, generator=torch_stream(step, "images"))


def batches(first: int, batch_size: int, rows: slice = slice(None)) -> Iterator[Batch]:
    for step in range(first, NUM_STEPS):
        yield Batch(images_of(step, batch_size)[rows], torch.full((batch_size,), step)[rows])


def naive(step: int, batch_size: int) -> list[Tensor]:
    """Views of one step alone, in the whole batch's order."""
    made = []
    for number, plan in enumerate(PLANS):
        drawn = draw(plan.config, batch_size, (32, 32), plan.size, torch_stream(3, f"view{number}", EPOCH, step))
        made.append(apply(images_of(step, batch_size), drawn, *NORMALISATION))
    return made


def maker(batch_size: int, world: World = World(0, 1)) -> StepViews:  # noqa: B008
    return StepViews(PLANS, Share(3, batch_size, world), torch.device("cpu"), NORMALISATION)


@pytest.mark.parametrize(("batch_size", "num_at_once"), [(7, 9), (16, 4), (64, 1), (300, 1)])
@pytest.mark.parametrize("first", [0, 3])
def test_views_are_those_of_every_step_alone(batch_size: int, num_at_once: int, first: int) -> None:
    views = maker(batch_size)
    assert views.num_at_once == num_at_once
    step = first
    for made, rows in views.made(batches(first, batch_size), EPOCH, first):
        assert rows.tolist() == [step] * batch_size
        for view, alone in zip(made, naive(step, batch_size), strict=True):
            assert torch.equal(view, alone)  # to the bit: where training goes on within an epoch, groups are others
        step += 1
    assert step == NUM_STEPS


def test_workers_make_their_rows_of_the_same_views() -> None:
    for rank in range(2):
        share = slice(8 * rank, 8 * rank + 8)
        made = maker(16, World(rank, 2)).made(batches(0, 16, share), EPOCH, 0)
        for step, (views, _) in enumerate(made):
            for view, alone in zip(views, naive(step, 16), strict=True):
                assert torch.equal(view, alone[share])


def test_large_images_and_tiny_views_are_made_a_step_at_a_time() -> None:
    sizes = [StepViews([ViewPlan(None, size)], Share(0, 64, World(0, 1)), torch.device("cpu"), NORMALISATION)
             for size in (11, 16, 32, 64, 224)]  # fmt: skip
    counts = [views.num_at_once for views in sizes]
    assert counts == [1, 16, 4, 1, 1]
