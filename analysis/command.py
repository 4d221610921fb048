"""What both commands share, a sweep's and `python -m analysis`: measure, draw, log, with progress."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from analysis import publication, stored, table
from analysis.curves import add_curves
from analysis.headline import fully_measured, publish_headline
from analysis.pipeline import MEASUREMENTS, Outcome, analyse, warning_lines
from analysis.publication import FIGURES, REPORT
from analysis.publish import publish
from analysis.saturation import saturated_lines
from analysis.settings import AnalysisSettings
from analysis.survey import Work
from analysis.tracked import Tracking
from ray_ssl import interrupts
from ray_ssl.checkpoints import SET_ASIDE
from ray_ssl.data.base import Dataset
from ray_ssl.errors import UserError
from ray_ssl.ledger import AnyTrial, Ledger, Trial, TrialState, no_sweep
from ray_ssl.progress import REDRAW_SECONDS, duration, is_live
from ray_ssl.storage import Storage
from ray_ssl.tracking import Tracker

log = logging.getLogger("analysis")

NUM_BETWEEN_INDEXES = 500
"""Checkpoints after which the index of the parts is written: planning reads those that it lacks."""
CLOSE_SECONDS = 30.0
"""How long the end of a command waits for an MLflow server that takes nothing."""


def quiet() -> None:
    """Lets our own warnings through, one line each, and nobody else's chatter."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("warning: %(message)s"))  # nothing else is logged
    for name in ("ray_ssl", "analysis"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def analyse_with_progress(
    ledger: Ledger,
    work: Sequence[Work],
    dataset: Dataset,
    settings: AnalysisSettings,
    cpus_per_worker: int,
    images_per_block: int = 0,
) -> list[str]:
    """Measures inside a Ray session, as `analyse`; returns one line for each checkpoint that could not be measured."""
    if not work:
        return []
    told: list[Outcome] = []
    with Counter(f"measuring {len(work)} checkpoint(s)", len(work)) as counter:
        outcomes = analyse(ledger, work, dataset, settings, cpus_per_worker, images_per_block)
        for number, outcome in enumerate(outcomes, start=1):
            interrupts.check()
            counter.advance(succeeded=not outcome.error)
            told += [one for one in (outcome, *outcome.earlier) if one.error or one.warned]
            if number % NUM_BETWEEN_INDEXES == 0:
                stored.present(ledger.sweep, remember=True)
    names = {trial.key: trial.name for trial in ledger.known_trials()} if told else {}
    for line in warning_lines(told, names):
        log.warning(line)
    return [f"{names.get(o.key, '?')} ({o.key}), epoch {o.epoch}: {_explain(o, ledger)}" for o in told if o.error]


def _explain(outcome: Outcome, ledger: Ledger) -> str:
    if not outcome.damaged:
        return outcome.error
    ways = {
        TrialState.DONE: "the sweep's command trains it again",
        TrialState.FAILED: "the sweep's command with --retry-failed trains it again",
    }
    way = ways.get(ledger.state(outcome.key), "its trial was stopped early and is not trained again")
    return f"{outcome.error}, set aside in {ledger.trial(outcome.key).address(SET_ASIDE)}; {way}"


class Counter:
    """A bar with an ETA on a terminal, plain lines otherwise."""

    def __init__(self, title: str, total: int, unit: str = "measured") -> None:
        self.title, self.total, self.unit, self.num_measured, self.num_failed = title, total, unit, 0, 0
        self.printed = time.monotonic()
        self.first: tuple[float, int] | None = None
        console = Console(file=sys.stdout)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # drawn where it changes: by itself it would be ten times a second
        self.bar = Progress(*columns, console=console, transient=True, auto_refresh=False) if is_live(console) else None
        self.drawn = 0.0

    def __enter__(self) -> Counter:
        print(self.title, flush=True)
        if self.bar is not None:
            self.bar.start()
            self.task = self.bar.add_task(self.unit, total=self.total)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.stop()
            self._print("")

    def advance(self, succeeded: bool, count: int = 1) -> None:
        """One more is over, or several."""
        self.num_measured += count * succeeded
        self.num_failed += count * (not succeeded)
        now = time.monotonic()
        if self.bar is not None:
            self.bar.advance(self.task, count)
            if now - self.drawn >= REDRAW_SECONDS:
                self.drawn = now
                self.bar.refresh()
            return
        count = self.num_measured + self.num_failed
        self.first = self.first or (now, count)
        if now - self.printed >= 15 or count == self.total:
            self.printed = now
            self._print(f", ETA {self._left(count, now)}" if count < self.total else "")

    def _left(self, count: int, now: float) -> str:
        """Time to the end, from what came after the first report: that one waited for the processes to start."""
        began, num_first = self.first or (now, count)
        return duration((now - began) / (count - num_first) * (self.total - count)) if count > num_first else "?"

    def _print(self, eta: str) -> None:
        failed = f", {self.num_failed} failed" if self.num_failed else ""
        print(f"{time.strftime('%H:%M:%S')} {self.unit} {self.num_measured}/{self.total}{failed}{eta}", flush=True)


def finish(ledger: Ledger, tracker: Tracker, scratch: Path, only: Trial | None = None) -> int:
    """Draws the figures from the table, writes the report, logs all; returns the number of measurements.

    Args:
        scratch: An empty folder that outlives the tracker.
        only: Draw this trial alone: a search over other options than the figures' axes must not be averaged.
    """
    sweep = ledger.sweep
    measurements: Any = table.read_table(sweep.filesystem, sweep.path(MEASUREMENTS))
    if add_curves(ledger, measurements):
        measurements = table.read_table(sweep.filesystem, sweep.path(MEASUREMENTS))
    points = stored.read_projections(sweep)
    drawn = publication.drawn_from(sweep, only)
    publish_headline(tracker, ledger, measurements)
    if measurements.empty and points.empty:
        _report(ledger, measurements, drawn, scratch)
        tracker.parent_artifact(scratch / REPORT)
        return 0
    publish(tracker, measurements[measurements.trial_key.isin(fully_measured(ledger, measurements))])
    update_figures(sweep, measurements, points, drawn, only, scratch / FIGURES)
    measurements.to_parquet(scratch / "measurements.parquet", index=False)
    _report(ledger, measurements, drawn, scratch)
    tracker.parent_artifact(scratch / REPORT)
    tracker.parent_artifact(scratch / FIGURES, FIGURES)
    tracker.parent_artifact(scratch / "measurements.parquet")
    for line in saturated_lines(measurements):
        print(line)
    return len(measurements)


def read_measurements(sweep: Storage, with_points: bool = False) -> Any:
    """Returns the table of a sweep, or of a folder of encoders.

    Args:
        sweep: Its folder.
        with_points: It may be empty where the folder has points of pictures in the plane.

    Raises:
        UserError: There are no measurements, or the folder holds something else.
    """
    measurements: Any = table.read_table(sweep.filesystem, sweep.path(MEASUREMENTS))
    if measurements.empty and not (with_points and not stored.read_projections(sweep).empty):
        ledger = Ledger(sweep)
        if not ledger.all_trials():
            raise no_sweep(sweep, sweep.uri)
        advice = f"python -m analysis {shlex.quote(sweep.uri)}" if ledger.known_trials() else "run its command again"
        raise UserError(f"{sweep.uri!r} has no measurements yet; to measure it: {advice}")
    return measurements


def _report(ledger: Ledger, measurements: Any, drawn: str, scratch: Path) -> None:
    """Puts the report into a local folder, where the figures are; writes it into the sweep's where it is outdated."""
    sweep = ledger.sweep
    made_from = publication.report_from(ledger, drawn)
    if publication.has_report(sweep, made_from):
        (scratch / REPORT).write_bytes(sweep.read(REPORT))
        return
    from analysis.report import make_report  # matplotlib takes a second to import

    content = make_report(ledger, measurements, scratch / FIGURES)
    (scratch / REPORT).write_bytes(content)
    sweep.write(REPORT, content)
    publication.record_report(sweep, made_from)


def send_the_rest(tracker: Tracker, tracking: Tracking) -> int:
    """Waits for MLflow while it takes what it lacks, and says so; returns how many calls it did not take."""

    def progress(num_calls: int) -> None:
        print(f"sending to MLflow: {num_calls} call(s) left", flush=True)

    num_unsent = tracker.close(CLOSE_SECONDS, progress)
    if num_unsent:
        print(
            f"warning: MLflow at {tracking.shown_uri} does not answer: nothing is lost, {num_unsent} call(s) can be "
            "made again from the results: start it and run the same command again",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return num_unsent


def update_figures(
    sweep: Storage, measurements: Any, points: Any, drawn: str, only: AnyTrial | None, folder: Path
) -> None:
    """Puts the figures into a local folder: the sweep's, or drawn anew, for both, where these are outdated.

    Args:
        drawn: See `publication.drawn_from`.
        only: Draw this trial alone.
    """
    if publication.fetch_figures(sweep, drawn, folder):
        return
    shown, shown_points = (
        rows if only is None else rows[rows.trial_key == only.key] for rows in (measurements, points)
    )
    paths = draw(sweep, shown, shown_points, folder)
    publication.record_drawn(sweep, drawn, paths, len(measurements), only)


def draw(sweep: Storage, measurements: Any, points: Any, folder: Path) -> list[str]:
    """Draws the figures into a local folder and the sweep's; returns the files' names."""
    from analysis.figures.base import draw_all  # matplotlib takes a second to import

    paths = draw_all(measurements, folder, points)
    for path in paths:
        sweep.write(f"{FIGURES}/{path.name}", path.read_bytes())
    return [path.name for path in paths]
