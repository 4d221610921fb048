"""Sweeps and their trials, a line each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ray_ssl.checkpoints import newest_state
from ray_ssl.errors import UserError
from ray_ssl.lease import driver_at_work
from ray_ssl.ledger import (
    DONE,
    FAILED,
    NO_SWEEP,
    STOPPED,
    SWEEP,
    AnyTrial,
    GraphTrial,
    Ledger,
    TrialState,
    names_apart,
)
from ray_ssl.progress import duration
from ray_ssl.storage import Storage
from ray_ssl.sweep.continuing import continue_line

TORN_SWEEP = "its sweep.json is torn or altered; the command writes it again"


def list_sweeps(ledgers: Sequence[Ledger], others: Sequence[Storage] = ()) -> str:
    """Returns one line for every sweep: its name, how many trials stand where, who is at work, what it asks.

    Args:
        ledgers: Of the sweeps.
        others: Folders of measurements without a sweep, which have a line each, too.
    """
    rows = [[ledger.sweep.name, *_summary(ledger)] for ledger in ledgers]
    rows += [
        [folder.name, "-", "-", bytes_text(sum(file.size for file in folder.files())), NO_SWEEP] for folder in others
    ]
    return table([["sweep", "trials", "driver", "size", "asks"], *rows])


def show(ledgers: Sequence[Ledger]) -> str:
    """Returns one line for every trial of sweeps, and under each sweep the command that continues."""
    return "\n\n".join(map(_show, ledgers))


def _show(ledger: Ledger) -> str:
    trials, states, driver = _read(ledger)
    unreadable = ledger.unreadable_trials()
    title = f"{ledger.sweep.name}: {counts(states, len(unreadable))}"
    if driver:
        title += f"; driver: {driver}"
    names = names_apart(trials)
    trials.sort(key=lambda trial: (names[trial.key], trial.key))
    rows = [[trial.key, names[trial.key], states[trial.key].value, progress(ledger, trial, states[trial.key]),
             reason(ledger, trial.key, states[trial.key])] for trial in trials]  # fmt: skip
    lines = [title, *([table([["key", "trial", "state", _steps(trials), "why"], *rows])] if rows else [])]
    lines += [TORN_SWEEP] if ledger.sweep.read_sealed(SWEEP) is None else []
    lines += [f"{key}: its config.json is torn or altered; the command writes it again" for key in unreadable]
    line = continue_line(ledger, {*states.values(), *([TrialState.NEW] if unreadable else [])})
    if line and not driver:
        lines.append(f"to go on:\n  {line}")
    return "\n".join(lines)


def _steps(trials: Sequence[AnyTrial]) -> str:
    """What the trials of a sweep count, "epoch" or "step"."""
    return "/".join(sorted({trial.config.STEP for trial in trials}))


def _summary(ledger: Ledger) -> list[str]:
    try:
        _, states, driver = _read(ledger)
    except UserError as error:  # one of another version must not hide the others
        return [f"cannot be read: {error}", "", "", ""]
    size = sum(file.size for file in ledger.sweep.files())
    record = ledger.sweep.read_sealed(SWEEP)
    asks = TORN_SWEEP if record is None else record.get("question", "").partition("\n")[0]
    return [counts(states, len(ledger.unreadable_trials())), driver or "-", bytes_text(size), asks]


def _read(ledger: Ledger) -> tuple[list[AnyTrial], dict[str, TrialState], str]:
    """Trials by name, their states, the driver at work ("" where there is none)."""
    trials = sorted(ledger.all_trials(), key=lambda trial: (trial.name, trial.key))
    states = {trial.key: ledger.state(trial.key) for trial in trials}
    return trials, states, driver_text(ledger)


def driver_text(ledger: Ledger) -> str:
    """Returns who is at work on a sweep, "" where nobody is."""
    holder = driver_at_work(ledger.sweep)
    if holder is None:
        return ""
    return f"process {holder['pid']} on {holder['host']}, for {duration(time.time() - holder['since'])}"


def counts(states: dict[str, TrialState], num_unreadable: int = 0) -> str:
    """Returns e.g. "3 done, 1 failed, 1 unreadable": that one's config.json is torn, altered or missing."""
    found = Counter(state.value for state in states.values()) + Counter(unreadable=num_unreadable)
    return ", ".join(f"{number} {state}" for state, number in sorted(found.items())) or "no trial has begun"


def progress(ledger: Ledger, trial: AnyTrial, state: TrialState) -> str:
    """Returns e.g. "12 of 100": the epoch up to which a trial is saved; of a new trial 0."""
    found = newest_state(ledger.trial(trial.key)) if state is TrialState.RESUMABLE else None
    if found is not None and isinstance(trial, GraphTrial):  # saved between two entries of its history
        return f"{found[1]['epoch']:.0f} of {trial.config.num_epochs}"
    history = _history(ledger, trial, state)
    return f"{history[-1]['epoch'] if history else 0:.0f} of {trial.config.num_epochs}"


def _history(ledger: Ledger, trial: AnyTrial, state: TrialState) -> list[dict[str, Any]]:
    """The epochs that a trial has behind it, the last one alone of one that was stopped early."""
    if state is TrialState.DONE:
        return (ledger.record(trial.key, DONE) or {})["history"]
    if state is TrialState.STOPPED:
        last = (ledger.record(trial.key, STOPPED) or {}).get("last")
        return [last] if last else []
    found = newest_state(ledger.trial(trial.key))
    return found[1]["history"] if found else []


def last_epochs(ledger: Ledger, trial: AnyTrial, state: TrialState, number: int = 3) -> list[str]:
    """Returns a line for each of the last epochs that are recorded."""
    shown = ("loss", "knn_accuracy", "embedding_std", "embedding_rank", "learning_rate", "eigenvector_alignment")
    return [
        f"{trial.config.STEP} {epoch['epoch']:.0f}  "
        + "  ".join(f"{name} {epoch[name]:.4g}" for name in shown if name in epoch)
        for epoch in _history(ledger, trial, state)[-number:]
    ]


def reason(ledger: Ledger, key: str, state: TrialState) -> str:
    """Returns why a trial failed, was stopped or trains again, in one line; "" where there is nothing to say."""
    if state in (TrialState.FAILED, TrialState.STOPPED):
        record = ledger.record(key, FAILED if state is TrialState.FAILED else STOPPED) or {}
        return record["reason"]
    if state is TrialState.DONE:
        return "its embeddings collapsed" if (ledger.record(key, DONE) or {}).get("collapsed") else ""
    torn = ledger.torn_endings(key)
    return f"its {' and '.join(torn)} is torn or altered; it trains again" if torn else ""


def bytes_text(size: float) -> str:
    """Returns e.g. "0 B", "12.3 MB"."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows as aligned columns; the last one is as long as it is."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
