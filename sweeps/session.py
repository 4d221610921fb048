"""What every kind of sweep does around its trials: follows them, draws, logs, ends MLflow's runs as they ended."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import publication
from analysis.command import finish, send_the_rest
from analysis.tracked import Tracking
from ray_ssl.capacity import Capacity
from ray_ssl.follower import Follower
from ray_ssl.launch import run_trials
from ray_ssl.ledger import Ledger, Trial
from ray_ssl.progress import Board
from ray_ssl.storage import describe_os_error
from ray_ssl.tracking import Status, Tracker
from ray_ssl.trial import Loop, pretraining
from sweeps import report
from sweeps.report import AnySource
from sweeps.run_options import RunOptions
from sweeps.wanted import runs

INTERRUPTED_CLOSE_SECONDS = 5.0


@dataclass(frozen=True)
class Logged:
    """A run of a sweep's command that MLflow hears of.

    Attributes:
        ledger: Leased.
        tracker: Connected.
        tracking: Where it is connected to.
        params: Of the sweep's own run.
    """

    ledger: Ledger
    tracker: Tracker
    tracking: Tracking
    params: dict[str, str]

    def run(
        self, source: AnySource, work: Callable[[Follower], list[str]], only: Callable[[], Trial | None] = lambda: None
    ) -> tuple[int, list[str]]:
        """Does the work, then draws and logs; returns the number of measurements, and what could not be analysed.

        Args:
            source: Of the trials.
            work: Runs and measures what is missing; returns what could not be analysed, one line each.
            only: After it, the trial that is drawn alone; see `finish`.

        Raises:
            KeyboardInterrupt: Stopped by the user, as everything else after MLflow's runs are ended.
        """
        follower = Follower(self.tracker, self.ledger, source.trials)
        with tempfile.TemporaryDirectory(prefix="ray_ssl_") as scratch:
            try:
                follower.catch_up()
                self.tracker.parent_params(self.params)
                errors = work(follower)
                num_rows = self._finish(Path(scratch), only(), errors)
                status: Status = "FAILED" if errors or report.unfinished(self.ledger, source.trials) else "FINISHED"
                self.tracker.parent_end(status)
            except BaseException:
                follower.interrupted()
                self.tracker.parent_end("KILLED")
                self.tracker.close(INTERRUPTED_CLOSE_SECONDS)
                raise
            num_unsent = send_the_rest(self.tracker, self.tracking)
        if not num_unsent:
            publication.record_sent(self.ledger, self.tracking, self.params, status)
        return num_rows, errors

    def _finish(self, scratch: Path, only: Trial | None, errors: list[str]) -> int:
        """Draws and logs; returns the number of measurements. A full disk is one more of the errors."""
        try:
            return finish(self.ledger, self.tracker, scratch, only)
        except OSError as error:
            errors.append(f"the figures: {describe_os_error(error)}")
            return 0


def train(
    request: RunOptions,
    source: AnySource,
    ledger: Ledger,
    data: Any,
    room: Capacity,
    follower: Follower,
    num_workers: int = 1,
    scheduler: Any = None,
    cost: Callable[[Any], float | None] | None = None,
    loop: Loop = pretraining,
) -> None:
    """Runs what `source` gives, inside a Ray session, and shows it; for the arguments see `run_trials` and `Board`."""
    hint = _idle_hint(source.num_trials, room.num_concurrent, request)
    together = min(source.num_trials, room.num_concurrent)
    print(f"training: {source.num_trials} trial(s), {together} side by side{hint}", flush=True)
    waiting = [t for t in source.trials if runs(ledger.state(t.key), request)]
    with Board(source.num_trials, ledger, waiting, room.num_concurrent, cost) as follower.board:
        run_trials(source, num_workers, ledger, data, request.machine, room, follower, scheduler, loop)


def _idle_hint(num_trials: int, num_concurrent: int, request: RunOptions) -> str:
    idle = num_concurrent // num_trials
    return f" (--cpus-per-worker {request.machine.cpus_per_worker * idle} would use all CPUs)" if idle > 1 else ""


def print_nothing_to_do(ledger: Ledger, source: AnySource) -> None:
    """Says that no trial is left to run, and whether some failed."""
    failed = len(report.unfinished(ledger, source.trials))
    what = f"{failed} trial(s) failed, the others are" if failed else "every trial is"
    print(f"nothing to do: {what} trained and measured", flush=True)
