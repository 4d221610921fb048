"""What the records of a sweep say about it, gathered once for its report."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import Any

from analysis import table
from analysis.lacking import Unmeasured
from analysis.pipeline import MEASUREMENTS
from analysis.publication import TRACKING
from analysis.survey import TRAINED, trained_epochs
from ray_ssl.errors import UserError
from ray_ssl.ledger import DATA, DONE, FAILED, SWEEP, AnyTrial, Ledger, TrialState
from ray_ssl.mlflow_client import ui_command
from ray_ssl.naming import flatten
from ray_ssl.sweep.continuing import with_storage
from ray_ssl.trial import ERROR_LOG

Options = dict[str, Any]
"""Options by dotted path."""


@dataclass(frozen=True)
class TrialFacts:
    """One trial.

    Attributes:
        name: For people, e.g. "vicreg 5-64 seed 0".
        method: As the table names it.
        options: Of its configuration.
        num_epochs: The last step of its history.
        reason: Why it failed, else "".
        log: Where its traceback is; "" where it did not fail.
        collapsed: Two evaluations in a row showed collapse.
        environment: Where it was trained, and the precision; empty unless it is done.
    """

    key: str
    name: str
    method: str
    options: Options
    num_epochs: int
    state: TrialState
    reason: str
    log: str
    collapsed: bool
    environment: dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """A sweep, or a folder of encoders, without its measurements.

    Attributes:
        name: Of the folder.
        uri: Where it is.
        question: What it asks, "" of a sweep that does not say.
        shared: Options that all trials share and that identify the study.
        trials: Sorted by key.
        data: See `sweeps.data_card.DataCard`; empty where it is not recorded.
        settings: By task, what it was measured with.
        commands: See `Ledger.commands`.
        ui_command: What is typed to look at the runs, "" where they are logged nowhere.
        epochs: See `analysis.survey.trained_epochs`.
    """

    name: str
    uri: str
    question: str
    shared: Options
    trials: list[TrialFacts]
    data: dict[str, Any]
    settings: dict[str, dict[str, Any]]
    commands: list[dict[str, str]]
    ui_command: str
    epochs: dict[str, list[int]]

    def in_state(self, state: TrialState) -> list[TrialFacts]:
        """Returns the trials that stand there."""
        return [trial for trial in self.trials if trial.state is state]

    def unmeasured(self, measurements: Any) -> list[Unmeasured]:
        """Returns the trials that the table has nothing of; as `analysis.survey.unmeasured_trials`."""
        measured = set(measurements["trial_key"])
        return [Unmeasured(one.method, one.state in TRAINED) for one in self.trials if one.key not in measured]

    def varied(self) -> list[str]:
        """Returns the options that are not the same in all trials, sorted; one that a trial lacks differs."""
        paths = sorted({path for trial in self.trials for path in trial.options})
        return [path for path in paths if len({as_text(t.options.get(path)) for t in self.trials}) > 1]

    def environments(self) -> list[tuple[dict[str, Any], int]]:
        """Returns the distinct environments of the done trials and how many trials each has, most first."""
        found = Counter(json.dumps(t.environment, sort_keys=True) for t in self.trials if t.environment)
        return [(json.loads(text), count) for text, count in found.most_common()]

    def analysis_commands(self) -> list[tuple[str, str]]:
        """Returns what each command is for, and the command."""
        folder = shlex.quote(self.uri)
        found = [("to write this page again", f"python -m analysis report {folder}")]
        if self.trials:  # otherwise what was measured came from another command
            found.insert(0, ("to analyse what is not analysed yet, draw and log", f"python -m analysis {folder}"))
        return found + ([("to compare the runs in MLflow", self.ui_command)] if self.ui_command else [])


def as_text(value: Any) -> str:
    """Returns an option as people read it; "" where a trial does not have it."""
    if value is None:
        return ""
    return " ".join(map(as_text, value)) if isinstance(value, list) else str(value)


def gather(ledger: Ledger) -> Facts:
    """Reads the records of a sweep."""
    sweep = ledger.sweep
    record = sweep.read_sealed(SWEEP) or {}
    return Facts(
        name=sweep.name,
        uri=sweep.uri,
        question=record.get("question", ""),
        shared=flatten(record.get("shared", {})),
        trials=[_trial(ledger, trial) for trial in ledger.all_trials()],
        data=(sweep.read_sealed(DATA) or {}).get("card", {}),
        settings=table.KIND.settings_by_task(sweep.filesystem, sweep.path(MEASUREMENTS)),
        commands=[{**command, "line": with_storage(ledger, command["line"])} for command in ledger.commands()],
        ui_command=_ui_command(sweep.read_sealed(TRACKING)),
        epochs=trained_epochs(ledger),
    )


def _trial(ledger: Ledger, trial: AnyTrial) -> TrialFacts:
    key = trial.key
    state = ledger.state(key)
    done = (ledger.record(key, DONE) or {}) if state is TrialState.DONE else {}
    failed = (ledger.record(key, FAILED) or {}) if state is TrialState.FAILED else {}
    precision = {"precision": done["precision"]} if "precision" in done else {}
    return TrialFacts(
        key, trial.name, trial.config.method_name, flatten(trial.config.to_dict()),
        trial.config.num_epochs, state, failed.get("reason", ""),
        ledger.trial(key).address(ERROR_LOG) if failed else "",
        done.get("collapsed", False), done.get("environment", {}) | precision,
    )  # fmt: skip


def _ui_command(tracking: dict[str, Any] | None) -> str:
    if tracking is None:
        return ""
    try:
        return ui_command(tracking["uri"], tracking["artifact_root"])
    except UserError:  # an address that an older version took
        return ""
