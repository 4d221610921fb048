"""The spectral contrastive loss on an exact graph: minimised, it finds the top eigenvectors.

The loss is that of the population (arXiv 2106.04156; see `ray_ssl.methods.spectral`), an exact sum over the graph's
edges instead of a batch: with F the rows sqrt(w_x) f(x), L = -2 |B F|^2 + |F^T F|^2 = |Abar - F F^T|^2 - |Abar|^2. Its
minimum over all F of k columns is minus the sum of the k largest squared eigenvalues.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from analysis.graph.pair_graph import Floats, PairGraph, Sparse
from analysis.graph.spectrum import Spectrum
from analysis.graph.views import Pixels
from ray_ssl.checkpoints import Checkpoint
from ray_ssl.graph_config import Kind
from ray_ssl.optim import optimiser_tensors, restore_optimiser
from ray_ssl.rng import stream_seed, torch_stream

HIDDEN: Final = 256
LEARNING_RATES: Final = {"table": 0.05, "network": 3e-3}
MOMENTUM: Final = 0.95
START: Final = 0.3
"""Expected length of a column of the table at initialisation. From 1 momentum overshoots in the first ten steps, and
warming the rate up makes that worse, for directions that gradients shrink at once stay long for longer."""


class Learned(NamedTuple):
    """What was learned after some steps.

    Attributes:
        step: Full-batch steps, 0 is initialisation.
        loss: float, L of these features, in float64: float32 sums fall below the minimum by some 1e-6 of it.
        features: float32 [N, k]: f.
    """

    step: int
    loss: float
    features: Floats


@dataclass(frozen=True)
class Training:
    """How features are learned.

    Attributes:
        kind: "table": every node has features of its own, nothing shared. "network": an MLP of the view's cells (two
            hidden layers of 256), which must generalise over views.
        k: Features of each node.
        num_steps: Steps of gradient descent on the whole graph: momentum 0.95 for the table, Adam with a cosine
            schedule for the network.
        seed: Of the initial weights.
    """

    kind: Kind
    k: int
    num_steps: int
    seed: int = 0


def least_loss(spectrum: Spectrum, k: int) -> float:
    """Returns the minimum of the loss over all features of k dimensions."""
    return -float(np.square(spectrum.values[:k]).sum())


def population_loss(graph: PairGraph, features: Floats) -> float:
    """Returns L of features float [N, k]."""
    scaled = np.sqrt(graph.node_weights)[:, None] * np.asarray(features, np.float64)
    return float(np.square(scaled.T @ scaled).sum() - 2 * np.square(graph.factor @ scaled).sum())


def marks(num_steps: int) -> list[int]:
    """Returns the steps at which features are looked at: 0, then about three in each doubling, and the last."""
    found = {0, num_steps}
    step = 1.0
    while step < num_steps:
        found.add(round(step))
        step *= 2 ** (1 / 2)
    return sorted(found)


class Learner:
    """A training, step by step; what it has come to can be saved, and another process goes on to the same numbers.

    Args:
        graph: N nodes.
        levels: uint8 [N, r, r, C]: what a network sees of each node.
        training: How.
    """

    def __init__(self, graph: PairGraph, levels: Pixels, training: Training) -> None:
        self.step = 0
        self._graph = graph
        self._root = torch.from_numpy(np.sqrt(graph.node_weights)).float()[:, None]
        self._model = _model(training, levels, self._root)
        self._optimiser, self._schedule = _optimiser(training, self._model)
        self._factor = graph.factor.astype(np.float32)
        self._transposed = self._factor.T.tocsr()

    @property
    def num_parameters(self) -> int:
        """Numbers that are learned."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    def look(self) -> Learned:
        """Returns the features as they are."""
        with torch.no_grad():
            features = (self._model() / self._root).numpy()
        return Learned(self.step, population_loss(self._graph, features), features)

    def advance(self) -> None:
        """Takes a step."""
        scaled = self._model()
        product: Any = _Product.apply(scaled, self._factor, self._transposed)
        loss = (scaled.T @ scaled).square().sum() - 2 * product.square().sum()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        self._schedule.step()
        self.step += 1

    def state(self, history: list[dict[str, float]]) -> Checkpoint:
        """Returns what `restore` takes; `history` stands in its card."""
        rates = [group["lr"] for group in self._optimiser.param_groups]
        card = {"epoch": self.step, "history": history, "schedule": self._schedule.state_dict(), "rates": rates}
        return Checkpoint(card, self._model.state_dict(), optimiser_tensors(self._optimiser, self._model))

    def restore(self, state: Checkpoint) -> None:
        """Goes to a state of a learner of the same training."""
        self._model.load_state_dict(state.model)
        restore_optimiser(self._optimiser, self._model, state.optimiser)
        self._schedule.load_state_dict(state.card["schedule"])
        for group, rate in zip(self._optimiser.param_groups, state.card["rates"], strict=True):
            group["lr"] = rate
        self.step = state.card["epoch"]


def learn(graph: PairGraph, levels: Pixels, training: Training, at: Sequence[int] | None = None) -> Iterator[Learned]:
    """Yields the features at some steps, ascending; None: see `marks`. For the other arguments see `Learner`."""
    learner = Learner(graph, levels, training)
    for step in marks(training.num_steps) if at is None else at:
        while learner.step < step:
            learner.advance()
        yield learner.look()


class _Product(torch.autograd.Function):
    """x -> B x, by SciPy: PyTorch's sparse products are slower on a CPU, and experimental."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Sparse, transposed: Sparse) -> Tensor:
        ctx.transposed = transposed
        return torch.from_numpy(matrix @ x.detach().numpy())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return torch.from_numpy(ctx.transposed @ gradients[0].numpy()), None, None


class _Table(nn.Module):
    """Free rows sqrt(w_x) f(x)."""

    def __init__(self, num_nodes: int, training: Training) -> None:
        super().__init__()
        random = torch_stream(training.seed, "spectral table")
        self.rows = nn.Parameter(START * torch.randn(num_nodes, training.k, generator=random) / math.sqrt(num_nodes))

    def forward(self) -> Tensor:
        return self.rows


class _Network(nn.Module):
    """An MLP of the cells, one input for each level of each; rows are scaled by sqrt(w_x)."""

    def __init__(self, levels: Pixels, training: Training, root: Tensor) -> None:
        super().__init__()
        cells = torch.from_numpy(levels.reshape(len(levels), -1).astype(np.float32))
        spread = cells.std(0, correction=0)
        self.inputs, self.root = (cells - cells.mean(0)) / spread.clamp_min(1e-6), root
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(training.seed, "spectral network"))
            self.layers = nn.Sequential(
                nn.Linear(cells.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
                nn.Linear(HIDDEN, training.k),
            )  # fmt: skip

    def forward(self) -> Tensor:
        return self.layers(self.inputs) * self.root


def _model(training: Training, levels: Pixels, root: Tensor) -> nn.Module:
    return _Table(len(root), training) if training.kind == "table" else _Network(levels, training, root)


def _optimiser(
    training: Training, model: nn.Module
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    rate = LEARNING_RATES[training.kind]
    if training.kind == "table":
        optimiser: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), rate, MOMENTUM)
        return optimiser, torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)
    optimiser = torch.optim.Adam(model.parameters(), rate)
    return optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, training.num_steps))
