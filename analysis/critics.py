"""Critics f(x, z) trained to tell true pairs from chance pairs, several seeds side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

from analysis.gaussian_critic import GaussianCritics, fit
from ray_ssl.rng import torch_stream

Objective = Literal["dv", "infonce"]

GAUSSIAN_WEIGHTS: Final = (0.0, 0.5, 1.0)
"""Factors of the Gaussian critic's score that a critic may start from; the first of equally good ones."""


@dataclass(frozen=True)
class CriticSettings:
    """Shape and training of a critic.

    Attributes:
        hidden: Units of each of the two hidden layers, on either side.
        embedding: Dimensions E of the trained embeddings.
        num_directions: Canonical directions K of the Gaussian critic at most; 0: none.
        batch_size: Pairs B a step; the B (B - 1) others of the batch are the chance pairs.
        learning_rate: Of Adam.
        average_decay: Of the moving average of the denominator in the Donsker-Varadhan gradient.
        max_gradient_norm: Of a critic's gradient; larger ones are scaled down.
        max_steps: Steps at most.
        check_steps: Steps between looks at the pairs held out of training.
        patience: Looks without a better bound after which a critic's training ends.
    """

    hidden: int = 64
    embedding: int = 32
    num_directions: int = 64
    batch_size: int = 256
    learning_rate: float = 2e-3
    average_decay: float = 0.9
    max_gradient_norm: float = 1.0
    max_steps: int = 1000
    check_steps: int = 25
    patience: int = 6


class Critics:
    """S separable critics: the Gaussian one, fixed, + g(x) . h(z), where g and h are each a two-layer MLP.

    Separable, so that the scores of all B^2 pairs cost one matmul. Networks with a trained linear map
    overfit before they find what a
    fixed one tells of many dimensions: of two Gaussians with d = 16, rho = 0.6 and 10,000 pairs they had found 2.2
    of 3.6 nats when the held-out bound began to fall.

    Attributes:
        gaussian: See `analysis.gaussian_critic`.
        weights: [S, inputs, outputs] and biases [S, 1, outputs], first those of g, then those of h.
    """

    def __init__(self, gaussian: GaussianCritics, settings: CriticSettings, seeds: Sequence[int]) -> None:
        self.gaussian = gaussian
        streams = [torch_stream(seed, "critic") for seed in seeds]
        self.weights: list[Tensor] = []
        for directions in (gaussian.x_directions, gaussian.z_directions):
            shape = (directions.shape[1], settings.hidden, settings.hidden, settings.embedding)
            for fan_in, fan_out in pairwise(shape):
                drawn = torch.stack([torch.randn(fan_in, fan_out, generator=stream) for stream in streams])
                self.weights += [drawn * math.sqrt(2 / fan_in), torch.zeros(len(seeds), 1, fan_out)]
        self.weights[-2].zero_()  # h begins at 0, hence the critic as the Gaussian one
        for weight in self.weights:
            weight.requires_grad_()

    def __call__(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the embeddings of x and z, each [S, N, E + K + 2], whose dot products are the scores.

        Args:
            x: float [N, P], or [S, N, P] with each critic's own rows.
            z: float [N, D] or [S, N, D].
        """
        half = len(self.weights) // 2
        of_x, of_z = self.gaussian(x, z)
        trained_x, trained_z = _embed(x, self.weights[:half]), _embed(z, self.weights[half:])
        return torch.cat([trained_x, of_x], dim=-1), torch.cat([trained_z, of_z], dim=-1)


def _embed(rows: Tensor, weights: list[Tensor]) -> Tensor:
    first, first_bias, second, second_bias, last, last_bias = weights
    hidden = (rows @ first + first_bias).relu()
    hidden = (hidden @ second + second_bias).relu()
    return hidden @ last + last_bias


class HeldOut(NamedTuple):
    """Training pairs of S critics, each with a tenth of its own held out.

    Attributes:
        x: float32 [N, P].
        z: float32 [N, D].
        fitted: int64 [S, F], rows that a critic is trained on.
        held_out: int64 [S, H], rows that decide when it is best.
    """

    x: Tensor
    z: Tensor
    fitted: Tensor
    held_out: Tensor

    @classmethod
    def split(cls, x: Tensor, z: Tensor, seeds: Sequence[int]) -> HeldOut:
        """Holds a tenth of the pairs out, another for each seed."""
        orders = [torch.randperm(len(x), generator=torch_stream(seed, "held-out pairs")) for seed in seeds]
        held_out, fitted = torch.stack(orders).split([len(x) // 10, len(x) - len(x) // 10], dim=1)
        return cls(x, z, fitted, held_out)

    def held_out_pairs(self) -> tuple[Tensor, Tensor]:
        """Returns x [S, H, P] and z [S, H, D]."""
        return self.x[self.held_out], self.z[self.held_out]

    def gaussian(self, most: int) -> GaussianCritics:
        """Returns the Gaussian critic of each seed's pairs."""
        fitted, held_out = (
            [(self.x[row], self.z[row]) for row in rows] for rows in (self.fitted, self.held_out)
        )  # fmt: skip
        return fit(fitted, held_out, most)


def untrained(pairs: HeldOut, settings: CriticSettings, seeds: Sequence[int]) -> Critics:
    """Returns critics that begin as the Gaussian one, or half or none of its score, whichever is best held out."""
    return Critics(_best_weight(pairs.gaussian(settings.num_directions), pairs.held_out_pairs()), settings, seeds)


HeldOutBound = Callable[[Tensor, Tensor], Tensor]
"""Embeddings of x and z, [S, H, ...] -> float [S] bound."""


def train(
    pairs: HeldOut, start: Critics, bound: HeldOutBound, objective: Objective, settings: CriticSettings,
    seeds: Sequence[int],
) -> Critics:  # fmt: skip
    """Returns critics, each with the weights at which its bound on its held-out pairs was largest.

    The training of each ends after `patience` looks at which it got no better, or after `max_steps`; it depends on
    no other critic.

    Args:
        pairs: What they are trained on.
        start: Critics that they start from; they stay as they are.
        bound: Taken on the held-out pairs.
        objective: Bound that is trained on.
        settings: See `CriticSettings`.
        seeds: One for each critic, S.
    """
    held_out = pairs.held_out_pairs()
    critic = copy(start)
    critic.weights = [weight.detach().clone().requires_grad_() for weight in start.weights]
    adam = torch.optim.Adam(critic.weights, lr=settings.learning_rate, foreach=True)
    streams = [torch_stream(seed, f"critic batches of {objective}") for seed in seeds]
    best = _Best(critic, bound, held_out)
    log_average: Tensor | None = None
    num_fitted = pairs.fitted.shape[1]
    for step in range(settings.max_steps):
        size = min(settings.batch_size, num_fitted)
        picked = torch.stack([torch.randint(num_fitted, (size,), generator=stream) for stream in streams])
        rows = pairs.fitted.gather(1, picked)
        g, h = critic(pairs.x[rows], pairs.z[rows])
        scores = torch.bmm(g, h.transpose(1, 2))
        if objective == "dv":
            loss, log_average = dv_loss(scores, log_average, settings.average_decay)
        else:
            loss = (infonce_loss(scores) + infonce_loss(scores.transpose(1, 2))) / 2  # either side given the other
        adam.zero_grad()
        loss.sum().backward()
        _clip(critic.weights, settings.max_gradient_norm)
        adam.step()
        if (step + 1) % settings.check_steps == 0 and not best.look(settings.patience):
            break
    critic.weights = best.weights
    return critic


class _Best:
    """The weights of each critic at the look where its held-out bound was largest."""

    def __init__(self, critic: Critics, bound: HeldOutBound, held_out: tuple[Tensor, Tensor]) -> None:
        self.critic, self.bound, self.held_out = critic, bound, held_out
        self.weights = [weight.detach().clone() for weight in critic.weights]
        self.value = self._now()
        self.looks_since = torch.zeros(len(self.value), dtype=torch.int64)

    def _now(self) -> Tensor:
        with torch.no_grad():
            return self.bound(*self.critic(*self.held_out))

    def look(self, patience: int) -> bool:
        """Returns whether any critic may still get better; one that has ended stays as it was."""
        now = self._now()
        better = (now > self.value) & (self.looks_since < patience)
        self.value = torch.where(better, now, self.value)
        self.looks_since = torch.where(better, 0, self.looks_since + 1).where(self.looks_since < patience, patience)
        for kept, weight in zip(self.weights, self.critic.weights, strict=True):
            kept[better] = weight.detach()[better]
        return bool((self.looks_since < patience).any())


def _best_weight(gaussian: GaussianCritics, held_out: tuple[Tensor, Tensor]) -> GaussianCritics:
    """The Gaussian critics with the weights of least InfoNCE loss on the held-out pairs.

    The Donsker-Varadhan bound of a thousand pairs varies by more than the weights differ in.
    """
    weights = torch.tensor(GAUSSIAN_WEIGHTS)
    options = [gaussian._replace(weights=weight.expand(len(gaussian.weights))) for weight in weights]
    losses = []
    for option in options:
        of_x, of_z = option(*held_out)
        losses.append(infonce_loss(torch.bmm(of_x, of_z.transpose(1, 2))))
    return gaussian._replace(weights=weights[torch.stack(losses).argmin(0)])


def dv_loss(scores: Tensor, log_average: Tensor | None, decay: float) -> tuple[Tensor, Tensor]:
    """Returns losses [S] whose gradient is MINE's of the negative bound, and the log of the moving average [S].

    The gradient of log E[exp f] is E[exp(f) f'] / E[exp f]; its denominator is a moving average over the steps, as
    that of one batch alone biases it. Chance pairs are those of different rows.

    Args:
        scores: [S, B, B].
        log_average: What the last step returned; None at the first.
        decay: Weight of the past.

    Source: MINE, arXiv 1801.04062, section 3.2, equation 12.
    """
    size = scores.shape[-1]
    true = scores.diagonal(dim1=1, dim2=2).mean(-1)
    same = torch.eye(size, dtype=torch.bool, device=scores.device)
    log_mean = scores.masked_fill(same, -math.inf).flatten(1).logsumexp(-1) - math.log(size * (size - 1))
    now = log_mean.detach()
    if log_average is None:
        log_average = now
    log_average = torch.logaddexp(log_average + math.log(decay), now + math.log1p(-decay))
    # At most 1 / (1 - decay), as the average has the present batch in it.
    return (log_mean - log_average).exp() - true, log_average


def infonce_loss(scores: Tensor) -> Tensor:
    """Returns the cross-entropies [S] of finding each row's true partner among the batch; scores [S, B, B].

    Source: arXiv 1807.03748, equation 4.
    """
    return (scores.logsumexp(-1) - scores.diagonal(dim1=1, dim2=2)).mean(-1)


def _clip(weights: list[Tensor], most: float) -> None:
    """Scales each critic's gradient to a norm of `most` at most."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
    scale = (most / norm.clamp_min(most))[:, None, None]
    for gradient in gradients:
        gradient.mul_(scale)
