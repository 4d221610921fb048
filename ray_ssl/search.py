"""Where trials come from: a grid's list, or an Optuna study that is replayed from the ledger."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from ray_ssl.config import PretrainConfig, trial_key
from ray_ssl.errors import UserError
from ray_ssl.ledger import AnyTrial, Ledger, Trial, TrialState
from ray_ssl.naming import flatten
from ray_ssl.rng import stream_seed
from ray_ssl.trainer import EpochMetrics

optuna.logging.set_verbosity(optuna.logging.WARNING)

MAX_REFUSED = 100
"""Suggestions in a row that may be no valid configuration."""


OneTrial = TypeVar("OneTrial", bound=AnyTrial)


class GridSource(Generic[OneTrial]):
    """Gives a list of trials, one after the other.

    Args:
        trials: All that are wanted.
        to_run: Those of them that are still to be run.
    """

    def __init__(self, trials: list[OneTrial], to_run: list[OneTrial]) -> None:
        self.trials = trials
        self._waiting = deque(to_run)
        self.num_trials = len(to_run)

    def next(self) -> OneTrial | None:
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


def one_of(values: Sequence[Any]) -> BaseDistribution:
    """Returns a choice without order."""
    return CategoricalDistribution(values)


def number_between(low: float, high: float) -> BaseDistribution:
    """Returns a distribution of whole numbers where both ends are, else of real ones; log scale from a factor of 10."""
    log = low > 0 and high / low >= 10
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


class OptunaSource:
    """An Optuna study over a search space; its memory is the ledger.

    Trials carry their number and parameters. On resume, ended ones are told to a fresh study, unfinished ones
    are given out again, and only then new ones are asked for. The sampler of each new trial is seeded by its
    number, so a study that was interrupted suggests what an uninterrupted one would, given the same results.

    Nothing is trained twice: what the ledger knows of a suggested configuration is told, and remembered as suggested.

    Args:
        space: What is varied. Trials of another space in the same ledger that are no points of it are left out.
        num_wanted: Suggestions in all, over all runs of the command.
        data_fingerprint: See `trial_key`.
        ledger: Of the sweep.
        retry_failed: Whether failed trials run again instead of counting as failed.
    """

    def __init__(
        self, space: SearchSpace, num_wanted: int, data_fingerprint: str, ledger: Ledger, retry_failed: bool = False
    ) -> None:
        self.space, self.num_wanted, self.data_fingerprint, self.ledger = space, num_wanted, data_fingerprint, ledger
        self.retry_failed = retry_failed
        self.study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler())
        self.trials: list[Trial] = []  # in the study's order
        self._waiting: deque[Trial] = deque()
        self._numbers: dict[str, int] = {}  # trial key -> number in the study
        known = sorted((t for t in ledger.known_trials() if t.search), key=lambda trial: trial.search["number"])
        fitting = [trial for trial in map(self._as_point, known) if trial is not None]
        for trial in fitting:
            self._add(trial)
        self.num_left_out = len(known) - len(fitting)
        self._num_suggested = sum(len(_suggestions(trial)) for trial in fitting)
        self._next_number = 1 + max((number for trial in known for number in _suggestions(trial)), default=-1)

    @property
    def num_trials(self) -> int:
        """Trials still to be run, at most."""
        return len(self._waiting) + max(0, self.num_wanted - self._num_suggested)

    def _as_point(self, trial: Trial) -> Trial | None:
        """Returns a trial with its parameters in this space, or None where it is no point of it."""
        values = flatten(trial.config.to_dict()) | trial.search["params"]
        params = {path: values[path] for path in self.space.distributions if path in values}
        try:
            self._running(params)
            config = self.space.configure(params)
        except ValueError:  # a value outside its range, or none at all
            return None
        if trial_key(config, self.data_fingerprint) != trial.key:
            return None
        return replace(trial, search=trial.search | {"params": params})

    def _running(self, params: dict[str, Any]) -> FrozenTrial:
        """Returns what Optuna calls a trial. Raises ValueError where it is no point of the space."""
        return create_trial(params=params, distributions=self.space.distributions, state=OptunaState.RUNNING)

    def _add(self, trial: Trial) -> None:
        """Shows the study a trial: how it ended, or as running, so that it suggests something else meanwhile."""
        self._numbers[trial.key] = len(self.trials)
        self.trials.append(trial)
        self.study.add_trial(self._running(trial.search["params"]))
        state = self.ledger.state(trial.key)
        if state in (TrialState.DONE, TrialState.STOPPED) or (state is TrialState.FAILED and not self.retry_failed):
            self.ended(trial.key, self.ledger.last_metrics(trial.key))
        else:
            self._waiting.append(trial)

    def next(self) -> Trial | None:
        """Returns an unfinished trial of an earlier run, or a newly suggested one."""
        self.look_ahead()
        return self._waiting.popleft() if self._waiting else None

    def look_ahead(self) -> None:
        """Asks for suggestions until one must be trained, or there are enough; records them in the ledger."""
        while not self._waiting and self._num_suggested < self.num_wanted:
            trial = self._suggest(self._next_number)
            self._next_number += 1
            self._num_suggested += 1
            if trial.key in self._numbers:  # a small discrete space repeats itself
                trial = self._repeated(trial)
            else:
                self._add(trial)
            self.ledger.write_config(trial)
            if self._waiting and self.ledger.state(trial.key) is TrialState.FAILED:
                self.ledger.retry(trial.key)

    def _repeated(self, suggested: Trial) -> Trial:
        """Returns the trial that was suggested once more, which remembers that; so does `trials`."""
        place = self._numbers[suggested.key]
        search = self.trials[place].search
        repeats = [*search.get("repeats", []), suggested.search["number"]]
        self.trials[place] = replace(self.trials[place], search=search | {"repeats": repeats})
        return self.trials[place]

    def _suggest(self, number: int) -> Trial:
        """Returns what the sampler suggests as trial `number`, from all that is known now.

        Raises:
            UserError: Hardly any point of the space is a valid configuration.
        """
        seed = stream_seed(self.space.seed, "optuna", number) % 2**32
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        copy = optuna.create_study(direction="maximize", sampler=sampler)
        copy.add_trials(self.study.get_trials(deepcopy=False))
        refusal = ""
        for _ in range(MAX_REFUSED):
            asked = copy.ask(self.space.distributions)
            try:
                config = self.space.configure(asked.params)
            except UserError as error:  # values that are valid alone may contradict each other
                copy.tell(asked, state=OptunaState.FAIL)
                refusal = str(error)
                continue
            key = trial_key(config, self.data_fingerprint)
            return Trial(key, config, {"number": number, "params": asked.params})
        raise UserError(f"the search finds no valid configuration in {MAX_REFUSED} suggestions, the last: {refusal}")

    def ended(self, key: str, result: EpochMetrics | None) -> None:
        """Tells the study how a trial ended."""
        value = (result or {}).get(self.space.objective)
        state = OptunaState.FAIL if value is None else OptunaState.COMPLETE
        self.study.tell(self._numbers[key], value, state=state)

    def best(self) -> Trial | None:
        """Returns the trial with the highest objective so far."""
        if not any(t.state is OptunaState.COMPLETE for t in self.study.trials):
            return None
        return self.trials[self.study.best_trial.number]


def _suggestions(trial: Trial) -> list[int]:
    """The numbers of the suggestions that a trial answers."""
    return [trial.search["number"], *trial.search.get("repeats", [])]
