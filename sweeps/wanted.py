"""Which trials of those that a command stands for run now."""

from __future__ import annotations

from collections.abc import Collection

from ray_ssl.ledger import AnyTrial, Ledger, TrialState
from sweeps.run_options import RunOptions


def runs(state: TrialState, request: RunOptions) -> bool:
    """Returns whether a trial in this state runs now; one that was stopped early, where no scheduler is asked for.

    A search has learnt from those that were stopped early, and leaves them.
    """
    if state is TrialState.STOPPED:
        return request.search == "grid" and request.scheduler == "none"
    return state in (TrialState.NEW, TrialState.RESUMABLE) or (state is TrialState.FAILED and request.retry_failed)


def torn_configs(ledger: Ledger, wanted: Collection[AnyTrial]) -> list[AnyTrial]:
    """Returns the trials that were begun and whose configuration is torn or altered: they would not be measured."""
    torn = set(ledger.unreadable_trials())
    return [trial for trial in wanted if trial.key in torn]


def reopen(request: RunOptions, ledger: Ledger, wanted: Collection[AnyTrial], lost: Collection[str]) -> int:
    """Makes trials run again: those that lost a checkpoint and, where asked for, those that failed or were stopped.

    Args:
        lost: Keys, see `analysis.survey.Survey`.

    Returns:
        How many had been stopped early.
    """
    num_stopped = 0
    for trial in wanted:
        if trial.key in lost:
            ledger.reopen(trial.key)
        state = ledger.state(trial.key)
        if state in (TrialState.FAILED, TrialState.STOPPED) and runs(state, request):
            ledger.retry(trial.key)
            num_stopped += state is TrialState.STOPPED
    return num_stopped
