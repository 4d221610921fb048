"""Critics f(x, z) trained to tell true pairs from chance pairs, several seeds side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ray_ssl.rng import torch_stream

Objective = Literal["dv", "infonce"]


@dataclass(frozen=True)
class CriticSettings:
    """Shape and training of a critic.

    Attributes:
        hidden: Units of each of the two hidden layers, on either side.
        embedding: Dimensions E of the embeddings whose dot product is the score.
        batch_size: Pairs B a step; the B (B - 1) others of the batch are the chance pairs.
        learning_rate: Of Adam.
        average_decay: Of the moving average of the denominator in the Donsker-Varadhan gradient.
        max_gradient_norm: Of a critic's gradient; larger ones are scaled down.
        max_steps: Steps at most.
        check_steps: Steps between looks at the pairs held out of training.
        patience: Looks without a better bound of any critic after which training ends.
    """

    hidden: int = 64
    embedding: int = 64
    batch_size: int = 256
    learning_rate: float = 2e-3
    average_decay: float = 0.9
    max_gradient_norm: float = 1.0
    max_steps: int = 400
    check_steps: int = 20
    patience: int = 4


class Critics:
    """S separable critics: f(x, z) = g(x) . h(z), where g and h are each a two-layer MLP plus a linear map.

    Separable, so that the scores of all B^2 pairs cost one matmul. The linear map is all that Gaussian variables
    need for the term that couples x with z.

    Attributes:
        weights: [S, inputs, outputs] and biases [S, 1, outputs], first those of g, then those of h.
    """

    def __init__(self, num_dims: tuple[int, int], settings: CriticSettings, seed: int, num_seeds: int) -> None:
        streams = [torch_stream(seed, "critic", step=number) for number in range(num_seeds)]
        self.weights: list[Tensor] = []
        for dims in num_dims:
            for fan_in, fan_out, has_bias in (
                (dims, settings.hidden, True),
                (settings.hidden, settings.hidden, True),
                (settings.hidden, settings.embedding, True),
                (dims, settings.embedding, False),
            ):
                drawn = [torch.randn(fan_in, fan_out, generator=stream) for stream in streams]
                # Scores start near 0: the moving average would take hundreds of steps to forget a large start.
                inner = len(self.weights) % 7 < 4
                gain = math.sqrt(2) if inner else 0.3 * settings.embedding**-0.25
                self.weights.append(torch.stack(drawn) * gain / math.sqrt(fan_in))
                if has_bias:
                    self.weights.append(torch.zeros(num_seeds, 1, fan_out))
        for weight in self.weights:
            weight.requires_grad_()

    def __call__(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Returns g(x) and h(z), each [S, N, E].

        Args:
            x: float [N, P], or [S, N, P] with each critic's own rows.
            z: float [N, D] or [S, N, D].
        """
        half = len(self.weights) // 2
        return _embed(x, self.weights[:half]), _embed(z, self.weights[half:])


def _embed(rows: Tensor, weights: list[Tensor]) -> Tensor:
    first, first_bias, second, second_bias, last, last_bias, linear = weights
    hidden = (rows @ first + first_bias).relu()
    hidden = (hidden @ second + second_bias).relu()
    return hidden @ last + last_bias + rows @ linear


def train(
    pairs: tuple[Tensor, Tensor],
    held_out_bound: Callable[[Critics], Tensor],
    objective: Objective,
    settings: CriticSettings,
    seed: int,
    num_seeds: int,
) -> Critics:
    """Returns critics, each with the weights at which its bound on held-out pairs was largest.

    Training ends after `patience` looks at which no critic got better, or after `max_steps`. A critic's weights
    do not depend on the others but for when it ends.

    Args:
        pairs: x float32 [N, P] and z float32 [N, D].
        held_out_bound: Critics -> [S] bound on pairs that are not in `pairs`.
        objective: Bound that is trained on.
        settings: See `CriticSettings`.
        seed: Of the critics' random streams.
        num_seeds: S.
    """
    x, z = pairs
    critic = Critics((x.shape[1], z.shape[1]), settings, seed, num_seeds)
    adam = torch.optim.Adam(critic.weights, lr=settings.learning_rate, foreach=True)
    streams = [torch_stream(seed, "critic batches", step=number) for number in range(num_seeds)]
    best = [weight.detach().clone() for weight in critic.weights]
    best_bound, looks_since = torch.full((num_seeds,), -math.inf), 0
    log_average: Tensor | None = None
    for step in range(settings.max_steps):
        size = min(settings.batch_size, len(x))
        rows = torch.stack([torch.randint(len(x), (size,), generator=stream) for stream in streams])
        g, h = critic(x[rows], z[rows])
        scores = torch.bmm(g, h.transpose(1, 2))
        if objective == "dv":
            loss, log_average = dv_loss(scores, log_average, settings.average_decay)
        else:
            loss = infonce_loss(scores)
        adam.zero_grad()
        loss.sum().backward()
        _clip(critic.weights, settings.max_gradient_norm)
        adam.step()
        if (step + 1) % settings.check_steps == 0:
            with torch.no_grad():
                bound = held_out_bound(critic).float()
            better = bound > best_bound
            best_bound = torch.where(better, bound, best_bound)
            for kept, weight in zip(best, critic.weights, strict=True):
                kept[better] = weight.detach()[better]
            looks_since = 0 if better.any() else looks_since + 1
            if looks_since == settings.patience:
                break
    critic.weights = best
    return critic


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
