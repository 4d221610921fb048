"""Makes a trained critic's scores safe for bounds that exponentiate them, on held-out pairs.

E[exp f] over all pairs is decided by the largest scores. A critic of pixels gives a few pairs of ten million scores
far too large, and its Donsker-Varadhan bound is below zero although it tells true pairs from others well. Any function
of the scores is a critic too, so its bound is as valid: here they are centred, shrunk and cut off,

    f' = clamp(a (f - c), -t, t),

with c such that E[exp f'] = 1, and a and t those of a grid with the highest bound on pairs that decided when training
stopped. Cutting off follows SMILE (arXiv 1910.06222, equation 10), which does so in the exponential term alone and is
then no bound.
"""

from __future__ import annotations

import itertools
import math
from typing import Final, NamedTuple

import torch
from torch import Tensor

_SCALES: Final = (0.25, 0.5, 0.7, 0.85, 1.0)
_LIMITS: Final = (5.0, 7.0, 9.0, 12.0, math.inf)
_NUM_CENTRINGS: Final = 12


class Calibration(NamedTuple):
    """What is made of the scores of S critics.

    Attributes:
        centre: float32 [S], c.
        scale: float32 [S], a.
        limit: float32 [S], t, nats.
    """

    centre: Tensor
    scale: Tensor
    limit: Tensor

    def __call__(self, scores: Tensor) -> Tensor:
        """Returns the safe scores of scores float [S, ...]."""
        centre, scale, limit = (values.view(-1, *[1] * (scores.dim() - 1)) for values in self)
        return torch.clamp(scale * (scores - centre), -limit, limit)


def calibrate(scores: Tensor) -> tuple[Calibration, Tensor]:
    """Returns the calibration with the highest Donsker-Varadhan bound of each critic, and these bounds.

    Args:
        scores: float [S, N, N] of held-out pairs, the true ones on the diagonal.

    Returns:
        The calibration, and float64 [S] nats; of a critic whose scores are not finite, minus infinity.
    """
    num_critics = len(scores)
    best = Calibration(torch.zeros(num_critics), torch.zeros(num_critics), torch.ones(num_critics))
    highest = torch.full((num_critics,), -math.inf, dtype=torch.float64)
    for scale, limit in itertools.product(_SCALES, _LIMITS):
        tried = _centred(scores, torch.full((num_critics,), scale), torch.full((num_critics,), limit))
        safe = tried(scores)
        bounds = safe.diagonal(dim1=1, dim2=2).double().mean(-1) - _log_mean(safe)
        better = bounds > highest
        best = Calibration(*(torch.where(better, new, old) for new, old in zip(tried, best, strict=True)))
        highest = torch.where(better, bounds, highest)
    return best, highest


def _centred(scores: Tensor, scale: Tensor, limit: Tensor) -> Calibration:
    """The calibration with the centre at which the mean of exp f' is 1."""
    tried = Calibration(scores.flatten(1).mean(-1), scale, limit)
    for _ in range(_NUM_CENTRINGS):
        tried = tried._replace(centre=tried.centre + _log_mean(tried(scores)).to(scores.dtype) / scale)
    return tried


def _log_mean(scores: Tensor) -> Tensor:
    """float64 [S] log of the mean of the exponentials."""
    flat = scores.flatten(1)
    return flat.logsumexp(-1).double() - math.log(flat.shape[1])
