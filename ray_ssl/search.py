"""Where trials come from: a grid's list, or an Optuna study that is replayed from the ledger."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from ray_ssl.config import PretrainConfig, trial_key
from ray_ssl.ledger import Ledger, Trial, TrialState
from ray_ssl.rng import stream_seed
from ray_ssl.trainer import EpochMetrics

optuna.logging.set_verbosity(optuna.logging.WARNING)


class GridSource:
    """Gives a list of trials, one after the other.

    Args:
        trials: All that are wanted.
        to_run: Those of them that are still to be run.
    """

    def __init__(self, trials: list[Trial], to_run: list[Trial]) -> None:
        self.trials = trials
        self._waiting = deque(to_run)
        self.num_trials = len(to_run)

    def next(self) -> Trial | None:
        """Returns the next trial of the list."""
        return self._waiting.popleft() if self._waiting else None

    def ended(self, key: str, result: EpochMetrics | None) -> None:
        """A grid learns nothing."""


@dataclass(frozen=True)
class SearchSpace:
    """What an Optuna study varies.

    Attributes:
        configure: Makes a configuration from values by dotted option path.
        distributions: Optuna distribution by dotted option path, e.g. "optimiser.learning_rate".
        objective: The metric that is maximised, as trials report it.
        seed: Of the sampler.
    """

    configure: Callable[[dict[str, Any]], PretrainConfig]
    distributions: dict[str, BaseDistribution]
    objective: str
    seed: int = 0


class OptunaSource:
    """An Optuna study over a search space; its memory is the ledger.

    Trials carry their number and parameters. On resume, ended ones are told to a fresh study, unfinished ones
    are given out again, and only then new ones are asked for. The sampler of each new trial is seeded by its
    number, so a study that was interrupted suggests what an uninterrupted one would, given the same results.

    Args:
        space: What is varied.
        num_wanted: Suggestions in all, over all runs of the command.
        data_fingerprint: See `trial_key`.
        ledger: Of the sweep.
        retry_failed: Whether failed trials run again instead of counting as failed.
    """

    def __init__(
        self, space: SearchSpace, num_wanted: int, data_fingerprint: str, ledger: Ledger, retry_failed: bool = False
    ) -> None:
        self.space, self.num_wanted, self.data_fingerprint, self.ledger = space, num_wanted, data_fingerprint, ledger
        self.study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler())
        self.trials = sorted((t for t in ledger.known_trials() if t.search), key=lambda trial: trial.search["number"])
        self._unfinished: deque[Trial] = deque()
        self._numbers: dict[str, int] = {}  # trial key -> number in the study
        for trial in self.trials:
            self._replay(trial, retry_failed)
        self._next_number = 1 + max((t.search["number"] for t in self.trials), default=-1)

    @property
    def num_trials(self) -> int:
        """Trials still to be run, at most."""
        return len(self._unfinished) + max(0, self.num_wanted - self._next_number)

    def _replay(self, trial: Trial, retry_failed: bool) -> None:
        self._add(trial)
        state = self.ledger.state(trial.key)
        if state in (TrialState.DONE, TrialState.STOPPED) or (state is TrialState.FAILED and not retry_failed):
            self.ended(trial.key, self.ledger.last_metrics(trial.key))
        else:
            self._unfinished.append(trial)

    def _add(self, trial: Trial) -> None:
        """Shows the study a trial as running, so that it suggests something else meanwhile."""
        running = create_trial(
            params=trial.search["params"], distributions=self.space.distributions, state=OptunaState.RUNNING
        )
        self._numbers[trial.key] = len(self.study.trials)
        self.study.add_trial(running)

    def next(self) -> Trial | None:
        """Returns an unfinished trial of an earlier run, or a newly suggested one."""
        if self._unfinished:
            return self._unfinished.popleft()
        while self._next_number < self.num_wanted:
            trial = self._suggest(self._next_number)
            self._next_number += 1
            if trial.key not in self._numbers:  # a small discrete space repeats itself: no need to run it again
                self.trials.append(trial)
                self._add(trial)
                return trial
        return None

    def _suggest(self, number: int) -> Trial:
        """Returns what the sampler suggests as trial `number`, from all that is known now."""
        seed = stream_seed(self.space.seed, "optuna", number) % 2**32
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        copy = optuna.create_study(direction="maximize", sampler=sampler)
        copy.add_trials(self.study.get_trials(deepcopy=False))
        params = copy.ask(self.space.distributions).params
        config = self.space.configure(params)
        return Trial(trial_key(config, self.data_fingerprint), config, {"number": number, "params": params})

    def ended(self, key: str, result: EpochMetrics | None) -> None:
        """Tells the study how a trial ended."""
        value = (result or {}).get(self.space.objective)
        state = OptunaState.FAIL if value is None else OptunaState.COMPLETE
        self.study.tell(self._numbers[key], value, state=state)

    def best(self) -> Trial | None:
        """Returns the trial with the highest objective so far."""
        if not any(t.state is OptunaState.COMPLETE for t in self.study.trials):
            return None
        number = self.study.best_trial.number
        key = next(key for key, n in self._numbers.items() if n == number)
        return next(trial for trial in self.trials if trial.key == key)
