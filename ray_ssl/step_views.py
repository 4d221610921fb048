"""The views of every training step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import torch
from torch import Tensor

from ray_ssl import views
from ray_ssl.batches import Batch, Share
from ray_ssl.methods.base import ViewPlan
from ray_ssl.rng import torch_stream
from ray_ssl.view_parameters import ViewParameters

PIXELS_AT_ONCE: Final = 256 * 32 * 32
"""Steps of fewer than these are made together: of 64 small images the hundred operations take longer than their work.
Measured."""

SMALLEST: Final = 12
"""Steps with smaller views are made alone: how products of matrices of 5 to 11 columns are rounded depends on where
they lie in memory, and where training goes on within an epoch other steps are together."""


class StepViews:
    """Makes this worker's views; what happens to an image is a function of (seed, number of the view, epoch, step).

    Attributes:
        num_at_once: Steps that are made together.
    """

    def __init__(
        self,
        plans: Sequence[ViewPlan],
        share: Share,
        device: torch.device,
        normalisation: tuple[Sequence[float], Sequence[float]],
    ) -> None:
        """`normalisation`: mean and standard deviation of red, green and blue on the 0..1 scale."""
        self.plans, self.share, self.device, self.normalisation = plans, share, device, normalisation
        pixels = sum(plan.size**2 for plan in plans) * share.global_batch_size // share.world.size
        small = any(plan.size < SMALLEST for plan in plans)
        self.num_at_once = 1 if small else max(1, PIXELS_AT_ONCE // pixels)

    def made(self, batches: Iterator[Batch], epoch: int, first: int) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Yields each step's views, one [B / workers, 3, size, size] tensor for each plan, and the rows of its images.

        Args:
            batches: Of an epoch's steps, from `first` on.
            epoch: Counted from 1.
            first: Counted from 0.
        """
        while group := list(islice(batches, self.num_at_once)):
            images = torch.cat([batch.images for batch in group]) if len(group) > 1 else group[0].images
            height, width = images.shape[1:3]
            steps = range(first, first + len(group))
            drawn = [self._drawn(number, epoch, steps, (height, width)) for number in range(len(self.plans))]
            images = images.to(self.device, non_blocking=True)
            together = views.apply_all(images, drawn, *self.normalisation)
            apart = zip(*(view.split(len(images) // len(group)) for view in together), strict=True)
            for batch, made in zip(group, apart, strict=True):
                yield list(made), batch.rows
            first += len(group)

    def _drawn(self, number: int, epoch: int, steps: range, image_size: tuple[int, int]) -> ViewParameters:
        """This worker's rows of what is drawn for the whole batches: they do not depend on the number of workers."""
        plan, size, world = self.plans[number], self.share.global_batch_size, self.share.world
        streams = [torch_stream(self.share.seed, f"view{number}", epoch, step) for step in steps]
        drawn = views.draw(plan.config, size, image_size, plan.size, *streams)
        if world.size == 1:
            return drawn
        rows = torch.arange(len(steps) * size).view(len(steps), world.size, -1)
        return drawn[rows[:, world.rank].flatten()]
