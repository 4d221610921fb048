"""What of a sweep is not measured yet, and what its table calls a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis import stored, table
from analysis.lacking import Unmeasured
from analysis.settings import AnalysisSettings
from analysis.tasks import find_tasks
from ray_ssl.checkpoints import SET_ASIDE, checkpoint_folder, saved_epochs
from ray_ssl.config import PretrainConfig
from ray_ssl.finetune import read_starts, start_name
from ray_ssl.ledger import DONE, Ledger, Trial, TrialState
from ray_ssl.naming import flatten
from ray_ssl.pretrain import checkpoint_epochs
from ray_ssl.storage import Storage

TRAINED = (TrialState.DONE, TrialState.STOPPED)
"""States of trials that are trained no further."""


@dataclass(frozen=True)
class Work:
    """One checkpoint and the tasks it still lacks."""

    key: str
    epoch: int
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Survey:
    """What the table still lacks.

    Attributes:
        work: Checkpoints that are there.
        lost: Trial key -> ascending epochs of a finished trial whose checkpoint is not there: it was set aside, or
            it is missing and was never measured. (One that was measured and then deleted to save space is no loss.)
    """

    work: list[Work]
    lost: dict[str, list[int]]


def sweep_name(sweep: Storage) -> str:
    """Returns the name of a sweep, the last part of its folder."""
    return sweep.name


def survey(
    ledger: Ledger,
    trials: Sequence[Trial],
    settings: AnalysisSettings,
    tasks: Sequence[str] | Callable[[Trial], Sequence[str]] | None = None,
    remember: bool = False,
) -> Survey:
    """Returns what is not measured yet, checkpoint by checkpoint.

    Args:
        tasks: See `analysis.tasks`, the same for all trials or by trial; None: the default ones.
        remember: See `stored.present`.
    """
    default = find_tasks() if tasks is None else tasks
    tasks_of = {trial.key: tuple(default(trial) if callable(default) else default) for trial in trials}
    present = stored.present(
        ledger.sweep, {t: settings.of(t) for wanted in tasks_of.values() for t in wanted}, remember
    )
    work, gaps = [], {}
    for trial in trials:
        wanted = tasks_of[trial.key]
        saved = saved_epochs(ledger.trial(trial.key))
        for epoch in sorted({*saved, *checkpoint_epochs(trial.config.training)}):
            lacking = tuple(task for task in wanted if (trial.key, epoch, task) not in present)
            if lacking and epoch in saved:
                work.append(Work(trial.key, epoch, lacking))
            elif lacking:
                gaps.setdefault(trial.key, []).append(epoch)
    return Survey(work, _lost(ledger, gaps))


def _lost(ledger: Ledger, gaps: dict[str, list[int]]) -> dict[str, list[int]]:
    """Of the epochs without a checkpoint by trial, those that a finished trial should have."""
    gaps = {key: epochs for key, epochs in gaps.items() if ledger.record(key, DONE) is not None}
    if not gaps:
        return {}
    measured = {(key, epoch) for key, epoch, _ in stored.present(ledger.sweep)}
    lost = {}
    for key, epochs in gaps.items():
        aside = ledger.trial(key).names(f"{SET_ASIDE}/checkpoints")
        lost[key] = [e for e in epochs if (key, e) not in measured or checkpoint_folder(e).split("/")[1] in aside]
    return {key: epochs for key, epochs in lost.items() if epochs}


def missing_work(
    ledger: Ledger, trials: Sequence[Trial], settings: AnalysisSettings, tasks: Sequence[str] | None = None
) -> list[Work]:
    """Returns the checkpoints that are there and not measured yet, as `survey`."""
    return survey(ledger, trials, settings, tasks).work


def unmeasured_trials(ledger: Ledger, measurements: Any) -> list[Unmeasured]:
    """Returns the trials of a sweep that its table has nothing of; none of a folder that is no sweep."""
    measured = set(measurements["trial_key"])
    return [
        Unmeasured(trial.config.method_name, ledger.state(trial.key) in TRAINED)
        for trial in ledger.all_trials()
        if trial.key not in measured
    ]


def untrained_keys(ledger: Ledger) -> set[str]:
    """Returns the trials of a sweep that failed or are not at their end: what is measured of them is no result."""
    return {trial.key for trial in ledger.all_trials() if ledger.state(trial.key) not in TRAINED}


def trained_epochs(ledger: Ledger) -> dict[str, list[int]]:
    """Returns the epochs of the stored checkpoints of the trials that are trained no further, by key, ascending.

    The last is where training ended, whether it is still stored or not.
    """
    found: dict[str, list[int]] = {}
    for trial in ledger.known_trials():
        state = ledger.state(trial.key)
        if state in TRAINED:
            last = {trial.config.training.epochs} if state is TrialState.DONE else set[int]()
            found[trial.key] = sorted({*saved_epochs(ledger.trial(trial.key)), *last})
    return found


_Trainings = dict[str, list[dict[str, str]]]
"""Sweep -> options of each training of a network there, but for the seed."""


def mixed_trainings(ledgers: Sequence[Ledger]) -> list[str]:
    """Returns a line for each network, and for each encoder that was fine-tuned, that several sweeps trained
    differently: a table of all takes them for seeds.
    """
    found: dict[tuple[object, ...], _Trainings] = {}
    for ledger in ledgers if len(ledgers) > 1 else ():
        for trial in ledger.known_trials():
            config = trial.config
            name = trial.name.replace(f" seed {config.seed}", "")
            network = found.setdefault((name, config.data.dataset, config.data.shift), {})
            network.setdefault(ledger.sweep.name, []).append(_options(config))
        for start in read_starts(ledger.sweep):
            config = PretrainConfig.from_dict(start.card["config"])
            name = start_name(config, start.card["epoch"]).rpartition(f"-s{config.seed}-")[0]
            encoder = found.setdefault((f"encoder {name}, fine-tuned in trials",), {})
            encoder.setdefault(ledger.sweep.name, []).append(_options(config))
    return [
        f"{name} of {', '.join(sweeps)} differs in more than the seed: {varied}"
        for (name, *_), sweeps in found.items()
        if (varied := _varied(sweeps))
    ]


def _options(config: PretrainConfig) -> dict[str, str]:
    return {path: str(value) for path, value in flatten(config.to_dict()).items() if path != "seed"}


def _varied(sweeps: _Trainings) -> str:
    """Names the options in which sweeps differ, with their values in each."""
    paths = sorted({path for trainings in sweeps.values() for options in trainings for path in options})
    values = {
        path: [{one.get(path, "") for one in trainings} for trainings in sweeps.values()] for path in paths
    }  # in each sweep
    return "; ".join(
        f"{path} {' or '.join(', '.join(sorted(value)) or 'none' for value in of_sweeps)}"
        for path, of_sweeps in values.items()
        if any(value != of_sweeps[0] for value in of_sweeps)
    )


def describe(card: dict[str, Any], sweep: str, key: str, dataset: str) -> table.Checkpoint:
    """Returns the columns that all rows of a checkpoint share."""
    return columns(PretrainConfig.from_dict(card["config"]), sweep, key, dataset, card["epoch"])


def columns(config: PretrainConfig, sweep: str, key: str, dataset: str, epoch: int) -> table.Checkpoint:
    """Returns the columns that all rows of a trial's epoch share."""
    shape = config.backbone.model_dump()
    return table.Checkpoint(
        sweep=sweep,
        trial_key=key,
        method=config.method_name,
        depth=shape.get("depth", 0),
        width=shape.get("width", 0),
        seed=config.seed,
        dataset=dataset,
        epoch=epoch,
    )
