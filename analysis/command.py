"""What both commands share, a sweep's and `python -m analysis`: measure, draw, log, with progress."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from analysis import table
from analysis.figures.base import draw_all
from analysis.measure import AnalysisSettings
from analysis.pipeline import MEASUREMENTS, Outcome, Work, analyse, sweep_name
from analysis.publish import publish
from ray_ssl.data.base import Dataset
from ray_ssl.ledger import Ledger, Trial
from ray_ssl.mlflow_client import local_store, shown, ui_command
from ray_ssl.progress import duration
from ray_ssl.storage import Storage
from ray_ssl.tracking import Tracker

FIGURES = "figures"
TRACKING = "tracking.json"


def quiet() -> None:
    """Lets our own warnings through, one line each, and nobody else's chatter."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    for name in ("ray_ssl", "analysis"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


@dataclass(frozen=True)
class Tracking:
    """Where a sweep is logged."""

    uri: str
    experiment: str
    sweep: str
    artifact_root: str | None

    @classmethod
    def of_sweep(cls, storage: Storage, ledger: Ledger, uri: str | None, experiment: str) -> Tracking:
        """Returns the given server, or the SQLite file in the storage folder; remembers it for later analyses."""
        artifact_root = None
        if uri is None:
            home = storage.local_path if storage.is_local else Path("results").absolute()
            home.mkdir(parents=True, exist_ok=True)
            uri, artifact_root = local_store(home)
        tracking = cls(uri, experiment, sweep_name(ledger.sweep), artifact_root)
        known = {"uri": uri, "experiment": experiment, "artifact_root": artifact_root}
        if ledger.sweep.read_sealed(TRACKING) != known:
            ledger.sweep.write_sealed(TRACKING, known)
        return tracking

    def connect(self, owner: bool = True) -> Tracker:
        """Returns a connected tracker. Raises UserError where no server answers."""
        tracker = Tracker(self.uri, self.experiment, self.sweep, self.artifact_root)
        tracker.connect(owner)
        return tracker

    @property
    def shown_uri(self) -> str:
        """The address without a password."""
        return shown(self.uri)

    @property
    def ui_command(self) -> str:
        """What a user types to look at the runs."""
        return ui_command(self.uri, self.artifact_root)


def analyse_with_progress(
    ledger: Ledger, work: Sequence[Work], dataset: Dataset, settings: AnalysisSettings, cpus_per_worker: int
) -> list[str]:
    """Measures inside a Ray session; returns one line for each checkpoint that could not be measured."""
    if not work:
        return []
    errors: list[str] = []
    with _Counter(f"measuring {len(work)} checkpoint(s)", len(work)) as counter:
        for outcome in analyse(ledger, work, dataset, settings, cpus_per_worker):
            counter.advance()
            if outcome.error:
                errors.append(_explain(outcome))
    return errors


def _explain(outcome: Outcome) -> str:
    return f"{outcome.key} epoch {outcome.epoch}: {outcome.error}"


class _Counter:
    """A bar with an ETA on a terminal, plain lines otherwise."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.count = title, total, 0
        self.started = self.printed = time.monotonic()
        console = Console(file=sys.stdout)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None

    def __enter__(self) -> _Counter:
        print(self.title, flush=True)
        if self.bar is not None:
            self.bar.start()
            self.task = self.bar.add_task("measured", total=self.total)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self) -> None:
        """One more is done."""
        self.count += 1
        if self.bar is not None:
            self.bar.advance(self.task)
            return
        now = time.monotonic()
        if now - self.printed >= 15 or self.count == self.total:
            self.printed = now
            left = (now - self.started) / self.count * (self.total - self.count)
            eta = f", ETA {duration(left)}" if self.count < self.total else ""
            print(f"{time.strftime('%H:%M:%S')} measured {self.count}/{self.total}{eta}", flush=True)


def finish(ledger: Ledger, tracker: Tracker, scratch: Path, only: Trial | None = None) -> int:
    """Draws the figures from the table, logs both; returns the number of measurements.

    Args:
        scratch: An empty folder that outlives the tracker.
        only: Draw this trial alone: a search over other options than the figures' axes must not be averaged.
    """
    sweep = ledger.sweep
    measurements: Any = table.read_table(sweep.filesystem, sweep.path(MEASUREMENTS))
    if measurements.empty:
        return 0
    publish(tracker, measurements)
    shown_rows: Any = measurements if only is None else measurements[measurements.trial_key == only.key]
    for path in draw_all(shown_rows, scratch / FIGURES):
        sweep.write(f"{FIGURES}/{path.name}", path.read_bytes())
    measurements.to_parquet(scratch / "measurements.parquet", index=False)
    tracker.parent_artifact(scratch / FIGURES, FIGURES)
    tracker.parent_artifact(scratch / "measurements.parquet")
    return len(measurements)
