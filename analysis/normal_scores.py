"""Each dimension put on the scale of a standard normal variable, by a growing function of it."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUM_KNOTS: Final = 65


class NormalScores(NamedTuple):
    """A piecewise linear function a dimension: quantiles of the measured rows to those of the normal distribution.

    It grows wherever rows were measured, so that no information between vectors is lost but by what lies outside
    of their range, which is put on its border. Equal quantiles, as of a ReLU's zeros, share the mean of theirs.

    Attributes:
        knots: For each dimension, ascending values and the scores they get, float64 [K] each, K <= 65.
    """

    knots: list[tuple[NDArray[np.float64], NDArray[np.float64]]]

    @classmethod
    def of(cls, rows: Tensor) -> NormalScores:
        """Measures rows [N, D]."""
        low = torch.special.ndtri(torch.tensor(0.5 / len(rows), dtype=torch.float64))
        scores = torch.linspace(float(low), -float(low), NUM_KNOTS, dtype=torch.float64)
        levels = (torch.special.ndtr(scores) * len(rows) - 0.5) / max(1, len(rows) - 1)
        values = np.quantile(rows.double().numpy(), levels.clamp(0, 1).numpy(), axis=0)
        return cls([_distinct(column, scores.numpy()) for column in values.T])

    def apply(self, rows: Tensor) -> Tensor:
        """Returns the scores of rows [B, D] as float32."""
        columns = rows.double().numpy().T
        found = [np.interp(column, *knots) for column, knots in zip(columns, self.knots, strict=True)]
        return torch.from_numpy(np.stack(found, axis=1).astype(np.float32))


def _distinct(
    values: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    distinct, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return distinct, np.bincount(where, scores) / counts
