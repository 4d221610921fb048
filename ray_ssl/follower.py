"""Follows a sweep's trials in the driver: tells the board, and keeps MLflow in step with the ledger."""

from __future__ import annotations

import json
import platform
import shlex
import socket
import sys
from collections.abc import Sequence
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from ray_ssl.health import is_collapsed
from ray_ssl.ledger import DONE, FAILED, STOPPED, AnyTrial, Ledger, TrialState, names_apart
from ray_ssl.mlflow_store import TrialRun
from ray_ssl.naming import flatten
from ray_ssl.progress import Board
from ray_ssl.tracking import Status, Tracker
from ray_ssl.trainer import EpochMetrics

STATUS: Final[dict[TrialState, Status]] = {
    TrialState.DONE: "FINISHED",
    TrialState.FAILED: "FAILED",
    TrialState.STOPPED: "KILLED",
}
"""How MLflow calls what the ledger knows."""


class Follower:
    """A listener of `launch.run_trials`.

    Args:
        tracker: Connected.
        ledger: The truth.
        wanted: Trials that may be run besides those of the ledger. New runs in MLflow have names that tell all of them
            apart; a run that is there already is found by its key, and keeps the name that it has.
    """

    def __init__(self, tracker: Tracker, ledger: Ledger, wanted: Sequence[AnyTrial] = ()) -> None:
        self.tracker, self.ledger, self._wanted = tracker, ledger, wanted
        self.board: Board | None = None
        self._running: dict[str, AnyTrial] = {}
        self._moved: set[str] = set()
        self._collapsed: dict[str, int] = {}  # evaluations in a row

    @cached_property
    def _names(self) -> dict[str, str]:
        trials = {trial.key: trial for trial in (*self.ledger.all_trials(), *self._wanted)}
        return names_apart(list(trials.values()))

    def catch_up(self) -> None:
        """Sends MLflow what ended trials have and it lacks: after a crash, or with another server."""
        shipped = self.tracker.steps_shipped()
        for trial in self.ledger.all_trials():
            status = STATUS.get(self.ledger.state(trial.key))
            if status is None:
                continue
            done = self.ledger.record(trial.key, DONE)
            history = done["history"] if done else []
            last = int(history[-1]["epoch"]) if history else shipped.get(trial.key, (-1, ""))[0]
            if shipped.get(trial.key) != (last, status):
                self.tracker.begin(self._run(trial))
                for metrics in history:
                    self._send(trial, metrics)
                self._send_end(trial)

    def started(self, trial: AnyTrial) -> None:
        """A trial begins, or begins again after its process died."""
        if trial.key in self._running and trial.key not in self._moved:
            self.warned(trial, "its process died; it goes on from its newest state")
        self._moved.discard(trial.key)
        self._running[trial.key] = trial
        self.tracker.begin(self._run(trial))
        if self.board is not None:
            self.board.started(trial)

    def epoch(self, trial: AnyTrial, metrics: EpochMetrics) -> None:
        """A trial finished an epoch."""
        self._moved.discard(trial.key)
        self._send(trial, metrics)
        if self.board is not None:
            self.board.epoch(trial, metrics)
            self._watch_collapse(trial, metrics)

    def warned(self, trial: AnyTrial, text: str) -> None:
        """A trial has something to tell the user."""
        if self.board is not None:
            self.board.warn(f"{trial.name} ({trial.key}): {text}")

    def moved(self, trial: AnyTrial) -> None:
        """A trial leaves a node that is being drained."""
        if trial.key not in self._moved:  # Tune repeats the last result
            self._moved.add(trial.key)
            self.warned(trial, "its node is being drained; its state is saved, and it goes on elsewhere")

    def ended(self, trial: AnyTrial) -> None:
        """A trial ended, one way or another."""
        self._running.pop(trial.key, None)
        self._send_end(trial)
        if self.board is not None:
            self.board.ended(trial)

    def interrupted(self) -> None:
        """The sweep stops now: what runs is KILLED."""
        for key in self._running:
            self.tracker.end(key, "KILLED", "interrupted")

    def _run(self, trial: AnyTrial) -> TrialRun:
        return trial_run(trial, self._names.get(trial.key, trial.name))  # a search suggests others

    def _send(self, trial: AnyTrial, metrics: EpochMetrics) -> None:
        values = {name: value for name, value in metrics.items() if name not in ("epoch", "time", "epoch_seconds")}
        self.tracker.points(trial.key, int(metrics["epoch"]), values, round(metrics["time"] * 1000))

    def _send_end(self, trial: AnyTrial) -> None:
        state = self.ledger.state(trial.key)
        record = self.ledger.record(trial.key, FAILED if state is TrialState.FAILED else STOPPED)
        reason = "" if state is TrialState.DONE else record["reason"] if record else "interrupted"
        self.tracker.end(trial.key, STATUS.get(state, "KILLED"), reason)

    def _watch_collapse(self, trial: AnyTrial, metrics: EpochMetrics) -> None:
        if "embedding_rank" not in metrics:
            return
        in_a_row = self._collapsed.get(trial.key, 0) + 1 if is_collapsed(metrics) else 0
        self._collapsed[trial.key] = in_a_row
        if in_a_row == 2:
            self.warned(
                trial,
                f"the embeddings are collapsing at epoch {metrics['epoch']:.0f}: std {metrics['embedding_std']:.3g} "
                f"(spread out: 1), effective rank {metrics['embedding_rank']:.3g}",
            )


def trial_run(trial: AnyTrial, name: str) -> TrialRun:
    """Returns how MLflow describes a trial, under a name that tells it from others of its sweep."""
    return TrialRun(
        key=trial.key,
        name=name,
        params={name: str(value) for name, value in flatten(trial.config.to_dict()).items()},
        tags={"ray_ssl.method": trial.config.plain_method},
        artifacts={
            "config.json": json.dumps(trial.config.to_dict(), indent=1, sort_keys=True),
            "environment.json": json.dumps(driver_environment(), indent=1, sort_keys=True),
        },
    )


@cache
def driver_environment() -> dict[str, str]:
    """Returns the driver's host and the versions of what computes."""
    versions = {}
    for package in ("ray_ssl", "torch", "torchvision", "ray", "mlflow", "optuna", "numpy", "scikit-learn"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        **versions,
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "command": shlex.join(sys.argv),
    }
