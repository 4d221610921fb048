"""Why a trial stands where it stands."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence

from ray_ssl.checkpoints import SET_ASIDE, newest_state, saved_epochs
from ray_ssl.ledger import AnyTrial, GraphTrial, Ledger, Trial, TrialState
from ray_ssl.pretrain import checkpoint_epochs
from ray_ssl.progress import duration
from ray_ssl.sweep.continuing import continue_line
from ray_ssl.sweep.overview import driver_text, last_epochs, progress, reason
from ray_ssl.trial import ERROR_LOG

NUM_LINES = 12
"""Last lines of a log that are shown."""


def explain(found: Sequence[tuple[Ledger, AnyTrial]]) -> str:
    """Returns what is known of a trial, in each sweep that has it."""
    return "\n\n".join("\n".join(_explain(ledger, trial)) for ledger, trial in found)


def _explain(ledger: Ledger, trial: AnyTrial) -> list[str]:
    state, folder = ledger.state(trial.key), ledger.trial(trial.key)
    lines = [
        f"{trial.name} ({trial.key}), sweep {ledger.sweep.name}: {state.value}",
        f"why         {_why(ledger, trial, state)}",
        f"trained     {trial.config.STEP} {progress(ledger, trial, state)}{_saved(ledger, trial)}",
        *([f"checkpoints {_checkpoints(ledger, trial)}"] if isinstance(trial, Trial) else []),
    ]
    aside = [f"{kind}/{name}" for kind in ("state", "checkpoints") for name in folder.names(f"{SET_ASIDE}/{kind}")]
    if aside:
        lines.append(f"damaged     {', '.join(aside)}: set aside in {folder.address(SET_ASIDE)}")
    if state is not TrialState.DONE and folder.exists(ERROR_LOG):
        log = folder.read(ERROR_LOG).decode(errors="replace").splitlines()
        lines += [f"the last lines of {folder.address(ERROR_LOG)}:", *(f"  {line}" for line in log[-NUM_LINES:])]
    epochs = last_epochs(ledger, trial, state)
    if epochs:
        lines += [f"its last {trial.config.STEP}s:", *(f"  {line}" for line in epochs)]
    return lines + _next(ledger, trial, state)


def _why(ledger: Ledger, trial: AnyTrial, state: TrialState) -> str:
    said, driver = reason(ledger, trial.key, state), driver_text(ledger)
    if state is TrialState.DONE:
        return f"it was trained to its last {trial.config.STEP}" + (f"; {said}" if said else "")
    if state in (TrialState.FAILED, TrialState.STOPPED):
        return said
    waits = (
        f"a driver is at work, {driver}: it trains it now, or when its turn comes"
        if driver
        else "no driver is at work on the sweep: it was interrupted or killed"
    )
    return f"{said}; {waits}" if said else waits


def _saved(ledger: Ledger, trial: AnyTrial) -> str:
    """How long ago the newest training state was saved."""
    found = newest_state(ledger.trial(trial.key))
    if found is None:
        return ""
    files = ledger.trial(trial.key).files(f"state/{found[0]}")
    seconds = time.time() - max(file.modified for file in files)
    return f", saved {duration(max(0.0, seconds))} ago in state/{found[0]}"


def _checkpoints(ledger: Ledger, trial: Trial) -> str:
    saved, wanted = saved_epochs(ledger.trial(trial.key)), checkpoint_epochs(trial.config.training)
    text = f"of epochs {', '.join(map(str, saved))}" if saved else "none"
    missing = [epoch for epoch in wanted if epoch not in saved]
    return text + (f"; not there: {', '.join(map(str, missing))}" if missing else "")


def _next(ledger: Ledger, trial: AnyTrial, state: TrialState) -> list[str]:
    if state is TrialState.DONE and isinstance(trial, GraphTrial):
        folder = shlex.quote(ledger.sweep.uri)
        return ["it was measured while it trained; what holds of it:", f"  python -m analysis claims {folder}"]
    if state is TrialState.DONE:
        return ["to measure what is not measured yet:", f"  python -m analysis {shlex.quote(ledger.sweep.uri)}"]
    line = continue_line(ledger, {state})
    if not line:
        return ["the command that ran it is not recorded; the same command goes on"]
    return ["to go on:", f"  {line}"]
