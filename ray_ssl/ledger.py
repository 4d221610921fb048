"""The sweep's truth: which trials are wanted, done, failed.

A sweep is a folder, a trial is a folder in it named by its key:

    STORAGE/SWEEP/sweep.json              what all trials share
    STORAGE/SWEEP/lease.json              which driver is at work, see lease.py
    STORAGE/SWEEP/commands.json           the lines that ran it
    STORAGE/SWEEP/data.json               what its images are
    STORAGE/SWEEP/TRIAL_KEY/config.json   what the trial computes
                            checkpoints/  see checkpoints.py
                            state/
                            done.json     its history; the trial is finished
                            failed.json   why it failed
                            stopped.json  a scheduler ended it early; its state is kept

Records are sealed JSON: a torn one counts as missing. Running the same command again is resume.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, Literal

from ray_ssl.config import PretrainConfig, trial_key
from ray_ssl.errors import UserError
from ray_ssl.graph_config import GraphConfig
from ray_ssl.naming import flatten
from ray_ssl.storage import Storage
from ray_ssl.trial_config import TrialConfig

CONFIG, DONE, FAILED, STOPPED = "config.json", "done.json", "failed.json", "stopped.json"
SWEEP, COMMANDS, DATA = "sweep.json", "commands.json", "data.json"
MEASUREMENTS = "measurements"
"""Folder of the parts of the table of measurements, KEY-EPOCH-MODULE.parquet, of a sweep or without one."""

NO_SWEEP = "measurements alone, of python -m analysis graph or encoder: no trial was trained there"
"""What a folder with a table and no sweep holds."""

Ending = Literal["done.json", "failed.json", "stopped.json"]
Differ = Callable[[dict[str, Any], dict[str, Any]], str]
"""From the options that trials of a sweep share and those that are asked for now to how they differ, in words."""


class TrialState(Enum):
    """Where a trial stands."""

    NEW = "new"
    RESUMABLE = "to resume"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped early"


@dataclass(frozen=True)
class AnyTrial:
    """One wanted trial, of whatever kind.

    Attributes:
        key: 16 hex digits that identify everything that changes its numbers.
        config: What it computes.
        search: What a search remembers of it (number, parameters); empty in a grid.
    """

    key: str
    config: TrialConfig
    search: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A short name for people, e.g. "vicreg 5-64 seed 0"."""
        return self.config.title


@dataclass(frozen=True)
class Trial(AnyTrial):
    """One wanted trial of pretraining; for its key see `config.trial_key`."""

    config: PretrainConfig


@dataclass(frozen=True)
class GraphTrial(AnyTrial):
    """One wanted training on an exact graph; for its key see `analysis.graph.recorded.training_key`."""

    config: GraphConfig


def make_trials(configs: list[PretrainConfig], data_fingerprint: str) -> list[Trial]:
    """Returns one trial per distinct configuration, in order."""
    trials = {key: Trial(key, config) for config in configs for key in [trial_key(config, data_fingerprint)]}
    return list(trials.values())


def names_apart(trials: Sequence[AnyTrial]) -> dict[str, str]:
    """Returns a name for each trial by its key; those that share theirs are told apart by the options that differ.

    For example "supervised 2-32 seed 0 (learning_rate 0.02)".
    """
    alike: dict[str, list[AnyTrial]] = {}
    for trial in trials:
        alike.setdefault(trial.name, []).append(trial)
    found: dict[str, str] = {}
    for name, same in alike.items():
        options = [flatten(trial.config.to_dict()) for trial in same]
        paths = sorted({path for one in options for path in one})
        varied = [path for path in paths if any(one.get(path) != options[0].get(path) for one in options)]
        for trial, one in zip(same, options, strict=True):
            words = [f"{path.rpartition('.')[2]} {one[path]}" for path in varied if path in one]
            found[trial.key] = f"{name} ({', '.join(words)})" if words else name
    return found


@dataclass(frozen=True)
class Ledger:
    """The records of one sweep."""

    sweep: Storage

    def open(self, question: str, shared: dict[str, Any], differ: Differ | None = None) -> None:
        """Makes the sweep's folder, or checks that it holds the same study.

        Args:
            question: What the sweep asks, for people.
            shared: The options that all its trials share.
            differ: See `is_of`.

        Raises:
            UserError: It cannot be written, or holds a study with other shared options.
        """
        self.sweep.check_writable()
        if not self.is_of(shared, differ):
            self.sweep.write_sealed(SWEEP, {"question": question, "shared": shared})

    def is_of(self, shared: dict[str, Any], differ: Differ | None = None) -> bool:
        """Returns whether the folder holds a study already.

        Args:
            shared: As `open`.
            differ: Says how they differ in the words of the command; None: by the name of the first that does.

        Raises:
            UserError: It does, with other shared options.
        """
        known = self.sweep.read_sealed(SWEEP)
        if known is not None and known["shared"] != shared:
            said = (differ or _first_difference)(known["shared"], shared)
            raise UserError(f"the sweep in {self.sweep.uri} {said}; give another --name")
        return known is not None

    def remember_command(self, line: str, folder: str) -> None:
        """Records a line that runs the sweep, for people; the one that was typed last stands last.

        Args:
            line: As typed, without passwords.
            folder: Where it was typed: its paths are relative to it.
        """
        known, command = self.commands(), {"line": line, "folder": folder}
        if known[-1:] != [command]:
            commands = [other for other in known if other != command] + [command]
            self.sweep.write_sealed(COMMANDS, {"commands": commands})

    def commands(self) -> list[dict[str, str]]:
        """Returns the lines that ran the sweep, each once, the last one last; [] of a sweep that kept none."""
        return (self.sweep.read_sealed(COMMANDS) or {"commands": []})["commands"]

    def trial(self, key: str) -> Storage:
        """Returns the folder of a trial."""
        return self.sweep.child(key)

    def state(self, key: str) -> TrialState:
        """Returns where a trial stands."""
        names = set(self.sweep.names(key))
        for record, state in ((DONE, TrialState.DONE), (STOPPED, TrialState.STOPPED), (FAILED, TrialState.FAILED)):
            if record in names and self._is_whole(key, record):
                return state
        return TrialState.RESUMABLE if "state" in names else TrialState.NEW

    def record(self, key: str, name: str) -> dict[str, Any] | None:
        """Returns a record of a trial, or None where it is missing or torn."""
        return self.trial(key).read_sealed(name)

    def _is_whole(self, key: str, name: str) -> bool:
        stamp = self.sweep.stamp(f"{key}/{name}")
        return (_is_whole if stamp else _is_whole.__wrapped__)(self.sweep, f"{key}/{name}", stamp)

    def torn_endings(self, key: str) -> list[str]:
        """Returns the records of how a trial ended that are there but torn or altered."""
        names = set(self.sweep.names(key))
        return [name for name in (DONE, STOPPED, FAILED) if name in names and self.record(key, name) is None]

    def last_metrics(self, key: str) -> dict[str, float] | None:
        """Returns the last metrics of a done or stopped trial, or None."""
        done = self.record(key, DONE)
        stopped = None if done else self.record(key, STOPPED)
        return done["history"][-1] if done else stopped["last"] if stopped else None

    def write_config(self, trial: AnyTrial) -> None:
        """Records what a trial computes, before anything else of it is written; and what a search remembers of it."""
        known = self.record(trial.key, CONFIG)
        if known is None or (trial.search and trial.search != known.get("search")):
            record = {"config": trial.config.to_dict(), "search": trial.search}
            self.trial(trial.key).write_sealed(CONFIG, record)

    def end(self, key: str, ending: Ending, values: dict[str, Any]) -> None:
        """Records how a trial ended."""
        self.trial(key).write_sealed(ending, values)

    def retry(self, key: str) -> None:
        """Forgets that a trial failed or was stopped early; it goes on from its newest state."""
        self.trial(key).delete(FAILED)
        self.trial(key).delete(STOPPED)

    def reopen(self, key: str) -> None:
        """Takes back that a trial is done: it trains from the start again, to the same weights.

        For a finished trial that lost a checkpoint. States are deleted first: one of them would let it go on behind
        the checkpoint that is wanted back.
        """
        self.trial(key).delete_folder("state")
        self.trial(key).delete(DONE)

    def known_trials(self) -> list[Trial]:
        """Returns every trial of pretraining with a readable configuration, wanted now or not; sorted by key."""
        return [trial for trial in self.all_trials() if isinstance(trial, Trial)]

    def all_trials(self) -> list[AnyTrial]:
        """Returns every trial with a readable configuration, as `known_trials`, of whatever kind."""
        keys = [key for key in self.sweep.names() if _looks_like_key(key)]
        stamps = [self.sweep.stamp(f"{key}/{CONFIG}") for key in keys]
        trials = (
            (_read_trial if stamp else _read_trial.__wrapped__)(self.sweep, key, stamp)
            for key, stamp in zip(keys, stamps, strict=True)
        )
        return [trial for trial in trials if trial is not None]

    def unreadable_trials(self) -> list[str]:
        """Returns the folders of trials whose configuration is missing, torn or altered; sorted."""
        return [key for key in self.sweep.names() if _looks_like_key(key) and not self._is_whole(key, CONFIG)]


def _first_difference(known: dict[str, Any], asked: dict[str, Any]) -> str:
    first = next(name for name in sorted({*asked, *known}) if asked.get(name) != known.get(name))
    return f"was made with {first} = {known.get(first)!r}, now {asked.get(first)!r}"


def no_sweep(sweep: Storage, given: str) -> UserError:
    """Returns what to raise where a folder, as the user named it, holds no trial with a readable configuration."""
    if not sweep.exists(""):
        return UserError(f"there is no folder {given!r}: give that of a sweep, such as results/NAME")
    if Ledger(sweep).all_trials():
        return UserError(
            f"{given!r} is of trainings on an exact graph (sweeps/graph.py), which have no checkpoints: give a sweep "
            "that trained networks"
        )
    if not sweep.exists(SWEEP) and sweep.exists(MEASUREMENTS):
        return UserError(f"{given!r} holds {NO_SWEEP}; python -m analysis report {shlex.quote(given)} shows them")
    inside = [name for name in sweep.names() if sweep.exists(f"{name}/{SWEEP}")]
    hint = f"; the sweeps in it: {', '.join(inside)}" if inside else ""
    return UserError(f"{given!r} is no sweep folder: no trial in it has a readable config.json{hint}")


# A command looks at every trial several times: with 1,000 of them reading each time takes longer than all else.


@lru_cache(100_000)
def _is_whole(sweep: Storage, name: str, stamp: object) -> bool:
    return sweep.read_sealed(name) is not None


@lru_cache(100_000)
def _read_trial(sweep: Storage, key: str, stamp: object) -> AnyTrial | None:
    record = sweep.read_sealed(f"{key}/{CONFIG}")
    if record is None:
        return None
    config, search = read_config(record["config"]), record.get("search", {})
    return GraphTrial(key, config, search) if isinstance(config, GraphConfig) else Trial(key, config, search)


def read_config(values: dict[str, Any]) -> PretrainConfig | GraphConfig:
    """Returns the configuration of whichever kind of trial, as `TrialConfig.from_dict`."""
    return (GraphConfig if values.get("on") == "graph" else PretrainConfig).from_dict(values)


def _looks_like_key(name: str) -> bool:
    return len(name) == 16 and all(c in "0123456789abcdef" for c in name)
