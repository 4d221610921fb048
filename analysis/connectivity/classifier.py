"""Classifiers that tell groups of augmented images apart, trained from scratch, and how often they are mistaken.

Two ways. "pairs" trains a network for every two groups, and one for the two halves of each group: the published way
(arXiv 2204.00570: a small residual network from scratch on SimCLR views; its size and schedule there were not checked,
nor whether it estimates rho). "joint" trains one network that tells the halves of all groups apart and takes its
answer among two of them: as good where the network is, since the best answer among two is that of the best answer
among all, and cheaper by about the number of groups.

rho is the error between random halves of one group. For images that no network has seen it is 1/2 but for the noise of
sampling, whatever the network: by definition, not by measurement. It says where the scale of the others ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analysis.connectivity.groups import Errors, GroupErrors, Groups, Labels
from ray_ssl import views
from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as ResLH
from ray_ssl.batches import as_tensor
from ray_ssl.config import OptimiserConfig, TrainingConfig, ViewConfig
from ray_ssl.optim import build_optimiser, learning_rate, set_learning_rate
from ray_ssl.rng import numpy_stream, stream_seed, torch_stream
from ray_ssl.trainer import FEATURE_BATCH_SIZE, resolve_precision

WAYS: Final = ("joint", "pairs")
VIEWS: Final = ViewConfig()

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]
Advance = Callable[[int], None]
"""Called now and then with the number of training steps done since."""

_STEPS_BETWEEN: Final = 50


@dataclass(frozen=True)
class ClassifierSettings:
    """What changes the errors, besides images and seed.

    Attributes:
        way: "joint" or "pairs", see the module.
        num_steps: Optimiser steps of each network.
        batch_size: Views a step, of all groups equally often.
        depth: Blocks of its RES-L-H.
        width: Channels of it.
        rate: Peak learning rate of AdamW per 128 views.
        num_test_views: Fresh views of every test image.
    """

    way: Literal["joint", "pairs"] = "joint"
    num_steps: int = 2000
    batch_size: int = 128
    depth: int = 2
    width: int = 32
    rate: float = 0.003
    num_test_views: int = 4

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return asdict(self)


class Problem(NamedTuple):
    """What one network learns to tell apart.

    Attributes:
        name: Of its random streams.
        train: uint8 [N, H, W, 3].
        train_labels: int64 [N], 0 .. num_labels - 1; some may have no image.
        test: uint8 [M, H, W, 3].
        num_labels: Of the network's outputs.
    """

    name: str
    train: NDArray[np.uint8]
    train_labels: Labels
    test: NDArray[np.uint8]
    num_labels: int


class Examiner(NamedTuple):
    """Trains and tests networks.

    Attributes:
        settings: See `ClassifierSettings`.
        seed: Of weights, views, batches.
        normalisation: Mean and standard deviation of the images by channel.
        device: Where it computes.
        advance: See `Advance`.
    """

    settings: ClassifierSettings
    seed: int
    normalisation: Normalisation
    device: torch.device
    advance: Advance

    def joint(self, train: Groups, test: Groups) -> GroupErrors:
        """Returns the errors of all groups from one network.

        Of groups that are single images those within are 1/2, without a network: views of an image are drawn alike.
        """
        repeats = self.settings.num_test_views
        group = np.tile(test.group, repeats)
        if train.half is None or test.half is None:
            by_group = self._logits(Problem("images", train.images, train.group, test.images, train.num_groups))
            return GroupErrors(pairwise_errors(by_group, group), np.full(train.num_groups, 0.5))
        halves = 2 * train.num_groups
        problem = Problem("joint", train.images, 2 * train.group + train.half, test.images, halves)
        by_half = self._logits(problem)
        half = np.tile(test.half, repeats)
        between = pairwise_errors(by_half.unflatten(1, (-1, 2)).logsumexp(2), group)
        halved = pairwise_errors(by_half, 2 * group + half)
        within = halved[np.arange(0, halves, 2), np.arange(1, halves, 2)]
        there = np.isin(np.arange(len(within)), train.group)
        between[~there] = between[:, ~there] = within[~there] = np.nan
        return GroupErrors(between, within)

    def between(self, train: Groups, test: Groups, first: int, second: int) -> float:
        """Returns the error of a network for two groups, in either order the same."""
        one, other = sorted((first, second))
        labels = (train.group == other).astype(np.int64), (test.group == other).astype(np.int64)
        chosen = (np.flatnonzero(np.isin(one_split.group, (one, other))) for one_split in (train, test))
        return self._of_two(f"{one}-{other}", train, test, labels, *chosen)

    def within(self, train: Groups, test: Groups, group: int) -> float:
        """Returns the error of a network for the two halves of a group; 1/2 of a single image, see `joint`."""
        if train.half is None or test.half is None:
            return 0.5
        return self._of_two(f"{group}", train, test, (train.half, test.half), train.rows_of(group), test.rows_of(group))

    def _of_two(
        self, name: str, train: Groups, test: Groups, labels: tuple[Labels, Labels], rows: Labels, test_rows: Labels
    ) -> float:
        problem = Problem(name, train.images[rows], labels[0][rows], test.images[test_rows], 2)
        truth = np.tile(labels[1][test_rows], self.settings.num_test_views)
        return float(pairwise_errors(self._logits(problem), truth)[0, 1])

    def _logits(self, problem: Problem) -> Tensor:
        """Trains a network; returns its float32 [num_test_views * M, num_labels] on the CPU, view by view."""
        network = self._train(problem)
        network.eval()
        found = []
        with torch.no_grad():
            for view in range(self.settings.num_test_views):
                generator = torch_stream(self.seed, f"connectivity/{problem.name}/test views", view)
                for images in as_tensor(problem.test).split(FEATURE_BATCH_SIZE):
                    found.append(self._forward(network, images, generator).float().cpu())
        return torch.cat(found)

    def _train(self, problem: Problem) -> nn.Module:
        settings = self.settings
        optimiser_config = OptimiserConfig(optimiser="adamw", learning_rate=settings.rate)
        training = TrainingConfig(global_batch_size=settings.batch_size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(self.seed, f"connectivity/{problem.name}/weights"))
            backbone = build_backbone(ResLH(depth=settings.depth, width=settings.width), problem.train.shape[1])
            network = nn.Sequential(backbone, nn.Linear(backbone.num_features, problem.num_labels))
        network.to(self.device, memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
        optimiser = build_optimiser(network, optimiser_config)
        images, labels = as_tensor(problem.train), as_tensor(problem.train_labels)
        by_label = _ByLabel.of(problem.train_labels)
        for step in range(settings.num_steps):
            set_learning_rate(optimiser, learning_rate(step, settings.num_steps, optimiser_config, training))
            random = numpy_stream(self.seed, f"connectivity/{problem.name}/batches", 0, step)
            rows = torch.from_numpy(by_label.batch(settings.batch_size, random))
            generator = torch_stream(self.seed, f"connectivity/{problem.name}/views", 0, step)
            logits = self._forward(network, images[rows], generator)
            optimiser.zero_grad(set_to_none=True)
            cross_entropy(logits.float(), labels[rows].to(self.device)).backward()
            optimiser.step()
            if (step + 1) % _STEPS_BETWEEN == 0 or step + 1 == settings.num_steps:
                self.advance(step % _STEPS_BETWEEN + 1)
        return network

    def _forward(self, network: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
        """Logits of one view of each image, uint8 [B, H, W, 3]."""
        inputs = views.augment(
            images.to(self.device), VIEWS, images.shape[1], generator, *self.normalisation, channels_last=True
        )
        bf16 = resolve_precision("auto", self.device) == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            return network(inputs)


class _ByLabel(NamedTuple):
    """Rows sorted by label, int64 [N]; of each label that occurs, where its rows begin there, and how many it has."""

    rows: Labels
    first: Labels
    size: Labels

    @classmethod
    def of(cls, labels: Labels) -> _ByLabel:
        _, first, size = np.unique(np.sort(labels), return_index=True, return_counts=True)
        return cls(np.argsort(labels, kind="stable"), first, size)

    def batch(self, num_rows: int, random: np.random.Generator) -> Labels:
        """Returns random rows, int64 [num_rows]: every label equally likely, then every image of it."""
        label = random.integers(0, len(self.first), num_rows)
        return self.rows[self.first[label] + random.integers(0, self.size[label])]


def pairwise_errors(logits: Tensor, labels: Labels) -> Errors:
    """Returns how often the answer among two labels is wrong, the mean over both, float64 [K, K] and symmetric.

    A tie is half a mistake. NaN on the diagonal and where a label has no image.

    Args:
        logits: float [N, K].
        labels: int64 [N].
    """
    num_labels = logits.shape[1]
    wrong = torch.full((num_labels, num_labels), torch.nan, dtype=torch.float64)
    for label in np.unique(labels):
        rows = logits[torch.from_numpy(labels == label)].double()
        own = rows[:, label, None]
        wrong[label] = ((rows > own).double() + 0.5 * (rows == own).double()).mean(0)
    errors = ((wrong + wrong.T) / 2).numpy()
    np.fill_diagonal(errors, np.nan)
    return errors
