"""Spearman's correlation with its 95 % bootstrap interval, where rows that belong together are drawn together.

The percentile bootstrap over clusters: as many clusters as there are, with repetition, each with all its rows. Rows of
one pair of classes, measured of several networks, are no independent evidence: drawn one by one they would make the
interval narrower the more networks there are. Of few clusters it is rough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUM_RESAMPLED: Final = 2000

_LEAST: Final = 3
_ROUNDING: Final = 1e-9
_CELLS: Final = 2_000_000
"""Numbers in memory at once, for each of a few arrays."""


class Interval(NamedTuple):
    """A correlation, or the difference of two, and the ends of its interval; NaN where there is none."""

    value: float
    low: float
    high: float


def interval(x: Any, y: Any, num_resampled: int = NUM_RESAMPLED) -> Interval:
    """Returns Spearman's correlation of rows that are all independent; see `intervals`."""
    return intervals({"x": x}, y, np.arange(len(y)), num_resampled=num_resampled)[0]["x"]


def intervals(
    xs: Mapping[str, Any],
    y: Any,
    clusters: Any,
    less: Sequence[tuple[str, str]] = (),
    num_resampled: int = NUM_RESAMPLED,
) -> tuple[dict[str, Interval], dict[tuple[str, str], Interval]]:
    """Returns Spearman's correlation of each of `xs` with y, and differences of these, of the same drawn clusters.

    Args:
        xs: Float [N] by name.
        y: Float [N]; a correlation is NaN where N < 3 or one of both does not vary.
        clusters: [N], equal where rows are drawn together.
        less: Pairs of names: the correlation of the first less that of the second.
        num_resampled: How often clusters are drawn; the same for the same number of clusters.
    """
    names, (_, cluster) = list(xs), np.unique(np.asarray(clusters), return_inverse=True)
    if len(cluster) < _LEAST:
        nothing = Interval(np.nan, np.nan, np.nan)
        return dict.fromkeys(names, nothing), dict.fromkeys(less, nothing)
    columns = {name: np.asarray(xs[name], float) for name in names}
    value = _of_weights(columns, np.asarray(y, float), np.ones((1, len(cluster))))
    drawn = [_of_weights(columns, np.asarray(y, float), weights) for weights in _draws(cluster, num_resampled)]
    samples = {name: np.concatenate([one[name] for one in drawn]) if drawn else np.empty(0) for name in names}
    return (
        {name: _ends(value[name][0], samples[name]) for name in names},
        {(a, b): _ends(value[a][0] - value[b][0], samples[a] - samples[b]) for a, b in less},
    )


def order_of(values: Floats) -> NDArray[np.int64]:
    """Returns the place of each value among the different ones, int64 [N], 0 for the least.

    Values are the same that differ by 1e-9 of the largest in size, or less, from the next: means and differences of
    shares that are equal differ by rounding, and which is larger would be the order of summation's choice.
    """
    order = np.argsort(values, kind="stable")
    steps = np.diff(values[order], prepend=values[order[:1]]) > _ROUNDING * np.abs(values).max(initial=0.0)
    place = np.empty(len(values), np.int64)
    place[order] = np.cumsum(steps)
    return place


def _draws(cluster: NDArray[np.int64], num_resampled: int) -> Iterator[Floats]:
    """How often each row is drawn, [B, N], a few draws at a time."""
    count = int(cluster.max()) + 1
    chosen = np.random.default_rng(0).integers(0, count, (num_resampled, count))
    for first in range(0, num_resampled, size := max(1, _CELLS // len(cluster))):
        some = chosen[first : first + size]
        times = np.zeros((len(some), count))
        np.add.at(times, (np.arange(len(some))[:, None], some), 1)
        yield times[:, cluster]


def _of_weights(xs: Mapping[str, Floats], y: Floats, weights: Floats) -> dict[str, Floats]:
    """Of each row of weights [B, N]; NaN where one of both does not vary."""
    of_y = _centred_ranks(y, weights)
    return {name: _cosine(_centred_ranks(x, weights), of_y, weights) for name, x in xs.items()}


def _centred_ranks(values: Floats, weights: Floats) -> Floats:
    """The mean ranks that values have where each is there as often as its weight says, less their mean; [B, N]."""
    which = order_of(values)
    order = np.argsort(which, kind="stable")
    starts = np.flatnonzero(np.diff(which[order], prepend=-1))
    of_value = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = np.cumsum(of_value, axis=1) - of_value / 2
    return ranks[:, which] - weights.sum(1, keepdims=True) / 2


def _cosine(x: Floats, y: Floats, weights: Floats) -> Floats:
    norm = np.sqrt((weights * x**2).sum(1) * (weights * y**2).sum(1))
    return np.divide((weights * x * y).sum(1), norm, out=np.full(len(x), np.nan), where=norm > 0)


def _ends(value: float, samples: Floats) -> Interval:
    samples = samples[np.isfinite(samples)]
    if np.isnan(value) or not len(samples):
        return Interval(float(value), np.nan, np.nan)
    low, high = np.percentile(samples, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))
