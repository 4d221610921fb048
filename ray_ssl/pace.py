"""How long a sweep still takes, from the epochs that were measured in this run; None until there is evidence."""

from __future__ import annotations

import heapq
import json
import math
from collections import deque
from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any, Final

import numpy as np

from ray_ssl.trainer import EpochMetrics
from ray_ssl.trial_config import TrialConfig

NUM_RECENT: Final = 20
"""Epochs of each size that are looked at: a machine's load changes."""
SAME_COST: Final = 0.01
"""Relative difference of costs up to which two sizes take the same time."""


class Pace:
    """Seconds that an epoch takes, by size of trial.

    Args:
        cost: Arithmetic of an epoch, in any unit, or None where it is not known; it puts sizes that were not
            measured yet between (or beyond) those that were, on a straight line.
    """

    def __init__(self, cost: Callable[[Any], float | None] | None = None) -> None:
        self._cost = cost or (lambda config: None)
        self._sizes: dict[int, tuple[TrialConfig, str]] = {}  # by id: configurations are compared too slowly
        self._costs: dict[str, float | None] = {}
        self._recent: dict[str, deque[float]] = {}
        self._first: dict[str, float] = {}
        self._told: dict[str, float | None] = {}  # what `seconds` returned since the last evidence

    def first_epoch(self, config: TrialConfig, metrics: EpochMetrics) -> None:
        """Takes in the first epoch of a process: its training alone, since what came before it was start-up."""
        self._first[self._size(config)] = metrics["epoch_seconds"]
        self._told.clear()

    def epoch(self, config: TrialConfig, seconds: float) -> None:
        """Takes in the time from the end of one epoch to the end of the next: training, evaluation, saving."""
        self._recent.setdefault(self._size(config), deque(maxlen=NUM_RECENT)).append(seconds)
        self._told.clear()

    def seconds(self, config: TrialConfig) -> float | None:
        """Returns the seconds an epoch of this configuration takes, or None where nothing speaks for a number."""
        size = self._size(config)
        if size not in self._told:
            self._told[size] = self._measured(size) or self._between(self._costs[size])
        return self._told[size]

    def _measured(self, size: str) -> float | None:
        return mean(self._recent[size]) if size in self._recent else self._first.get(size)

    def _size(self, config: TrialConfig) -> str:
        if id(config) not in self._sizes:
            self._sizes[id(config)] = config, size_of(config)
        size = self._sizes[id(config)][1]
        if size not in self._costs:
            self._costs[size] = self._cost(config)
        return size

    def _between(self, cost: float | None) -> float | None:
        """Seconds at a cost that was not measured: a line through what was, of neither negative slope nor start."""
        sizes = self._recent.keys() | self._first.keys()
        known = [(c, s) for size in sizes if (c := self._costs[size]) and (s := self._measured(size))]
        if cost is None or not known:
            return None
        same = [seconds for c, seconds in known if math.isclose(c, cost, rel_tol=SAME_COST)]
        if same:
            return mean(same)
        costs, seconds = np.array(known).T
        if math.isclose(costs.min(), costs.max(), rel_tol=SAME_COST):
            return None  # one point makes no line
        slope, start = np.polyfit(costs, seconds, 1)
        if slope < 0:
            return float(seconds.mean())
        if start < 0:
            slope, start = (costs @ seconds) / (costs @ costs), 0.0
        return float(start + slope * cost)


def size_of(config: TrialConfig) -> str:
    """Returns what configurations share whose epochs take the same time."""
    return json.dumps(config.paced(), sort_keys=True)


def finish_time(running: Sequence[float], waiting: Sequence[float], num_slots: int) -> float:
    """Returns the seconds until the last trial ends, if each waiting one in turn takes the first slot that is free.

    Args:
        running: Seconds that each running trial still takes.
        waiting: Seconds that each waiting trial takes, in order.
        num_slots: Trials side by side, at least 1.
    """
    ends = [0.0] * max(0, num_slots - len(running)) + sorted(running)
    heapq.heapify(ends)
    for seconds in waiting:
        heapq.heappush(ends, heapq.heappop(ends) + seconds)
    return max(ends)
