"""What a person sees while trials run: a live table with an ETA on a terminal, plain lines otherwise."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ray_ssl.ledger import AnyTrial, Ledger, TrialState, names_apart
from ray_ssl.pace import Pace, finish_time
from ray_ssl.trainer import EpochMetrics

LINE_SECONDS = 15.0
"""Least time between two plain lines of one trial."""
REDRAW_SECONDS = 0.5
"""Least time between two redraws of what is live: over SSH a log may keep every one of them."""
MAX_ROWS = 20
_SHOWN = (("loss", "loss", ".4g"), ("knn_accuracy", "kNN", ".1%"), ("eigenvector_alignment", "alignment", ".4f"))
"""Metrics in a trial's lines, what they are called there, and how they are written."""


def duration(seconds: float) -> str:
    """Returns e.g. "42 s", "3 min 5 s", "2 h 10 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def is_live(console: Console) -> bool:
    """Returns whether lines can be redrawn on it: a terminal that knows how, and how wide it is.

    Of one that SSH makes for a command whose output goes into a file no width is known.
    """
    try:
        width = os.get_terminal_size(console.file.fileno()).columns
    except (OSError, ValueError):  # no terminal, or no file at all
        return False
    return width > 0 and console.is_terminal and not console.is_dumb_terminal


class _Live(Live):
    """Is redrawn only where it would look otherwise."""

    drawn: str = ""

    def refresh(self) -> None:
        """Redraws it."""
        options = self.console.options
        with self._lock:
            lines = self.console.render_lines(self.get_renderable(), options, pad=False)
            text = "\n".join("".join(segment.text for segment in line) for line in lines)
            if text != self.drawn:
                self.drawn = text
                super().refresh()


@dataclass
class _Row:
    trial: AnyTrial
    since: float = field(default_factory=lambda: time.monotonic())
    metrics: EpochMetrics = field(default_factory=dict)
    printed: float = 0.0
    began: float = field(default_factory=lambda: time.time())
    resumed_at: int = 0
    ended_at: float = 0.0
    """When its last epoch of this run ended, in seconds since 1970; 0 before the first."""

    @property
    def epoch(self) -> int:
        return int(self.metrics.get("epoch", 0))

    @property
    def num_left(self) -> int:
        return self.trial.config.num_epochs - self.epoch


class Board:
    """Shows running trials; a listener of `launch.run_trials`.

    Args:
        num_trials: How many will run.
        ledger: Says how a trial ended.
        waiting: Those of them that are known, in the order in which they begin.
        num_slots: How many run side by side.
        cost: See `Pace`.
    """

    def __init__(
        self,
        num_trials: int,
        ledger: Ledger,
        waiting: Sequence[AnyTrial] = (),
        num_slots: int = 1,
        cost: Callable[[Any], float | None] | None = None,
    ) -> None:
        self.num_trials, self.ledger, self.num_slots = num_trials, ledger, num_slots
        self.num_ended = 0
        self.pace = Pace(cost)
        self.waiting = {trial.key: trial for trial in waiting}
        self._names = names_apart(waiting)  # a search suggests others
        self.running: dict[str, _Row] = {}
        self.live: Live | None = None
        self.console = Console(file=sys.stdout, highlight=False)

    def __enter__(self) -> Board:
        if is_live(self.console):
            self.live = _Live(self, console=self.console, refresh_per_second=1 / REDRAW_SECONDS, transient=True)
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.stop()

    def name(self, trial: AnyTrial) -> str:
        """A trial's name, with the options that tell it from others of that name."""
        return self._names.get(trial.key, trial.name)

    def started(self, trial: AnyTrial) -> None:
        """A trial begins, or begins again."""
        self.waiting.pop(trial.key, None)
        self.running[trial.key] = _Row(trial)
        self._line(f"{self.name(trial)} ({trial.key}): started")

    def epoch(self, trial: AnyTrial, metrics: EpochMetrics) -> None:
        """A trial finished an epoch."""
        row = self.running[trial.key]
        num_done = max(1, int(metrics["epoch"]) - row.epoch)  # a training on a graph tells of few of its steps
        row.metrics = {**row.metrics, **metrics}
        if metrics["time"] < row.began:  # what was done before an interruption is told again first
            row.resumed_at = row.epoch
            return
        if row.ended_at:
            self.pace.epoch(trial.config, (metrics["time"] - row.ended_at) / num_done)
        elif "epoch_seconds" in metrics:
            self.pace.first_epoch(trial.config, metrics)
        row.ended_at = metrics["time"]
        if row.resumed_at:
            self._line(f"{self.name(trial)}: goes on after {trial.config.STEP} {row.resumed_at}")
            row.resumed_at = 0
        now = time.monotonic()
        if now - row.printed >= LINE_SECONDS:
            row.printed = now
            self._line(f"{self.name(trial)}: {self._describe(row)}; {self._overall()}")

    def ended(self, trial: AnyTrial) -> None:
        """A trial ended, one way or another."""
        row = self.running.pop(trial.key)
        self.num_ended += 1
        state = self.ledger.state(trial.key)
        took = duration(time.monotonic() - row.since)
        line = f"{self.name(trial)}: {state.value} after {took}"
        if state is TrialState.FAILED:
            record = self.ledger.record(trial.key, "failed.json") or {}
            line = f"{self.name(trial)} ({trial.key}): failed: {record.get('reason', '?')}"
        elif shown := [f"{name} {row.metrics[key]:{form}}" for key, name, form in _SHOWN if key in row.metrics]:
            line += f", {', '.join(shown)}"
        self._line(f"{line} [{self.num_ended}/{self.num_trials}]", always=True)

    def warn(self, text: str) -> None:
        """Shows a warning."""
        self._line(f"warning: {text}", always=True)

    def _line(self, text: str, always: bool = False) -> None:
        if self.live is None:
            print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
        elif always:
            self.live.console.print(text)

    def _describe(self, row: _Row) -> str:
        config = row.trial.config
        shown = [f"{name} {row.metrics[key]:{form}}" for key, name, form in _SHOWN if key in row.metrics]
        return ", ".join([f"{config.STEP} {row.epoch}/{config.num_epochs}", *shown, f"ETA {_show(self.eta(row))}"])

    def eta(self, row: _Row) -> float | None:
        """Seconds until a running trial ends; None before its first epoch."""
        return self._left(row) if row.ended_at else None

    def _left(self, row: _Row) -> float | None:
        seconds = self.pace.seconds(row.trial.config)
        if seconds is None:
            return None
        since = max(0.0, time.time() - row.ended_at) if row.ended_at else 0.0
        return max(0.0, row.num_left * seconds - min(seconds, since))

    def sweep_eta(self) -> float | None:
        """Seconds until the last trial ends; None until epochs were measured that speak for every running and waiting
        trial: of its own size, or of two sizes from which it can be told."""
        running = [self._left(row) for row in self.running.values()]
        waiting = [self._whole(trial) for trial in self.waiting.values()]
        known = [seconds for seconds in (*running, *waiting) if seconds is not None]
        if not running or len(known) < len(running) + len(waiting):
            return None
        suggested = self.num_trials - self.num_ended - len(running) - len(waiting)  # not known yet: like the others
        whole = [s for row in self.running.values() if (s := self._whole(row.trial)) is not None]
        waiting += [sum(whole) / len(whole)] * max(0, suggested)
        return finish_time([s or 0.0 for s in running], [s or 0.0 for s in waiting], self.num_slots)

    def _whole(self, trial: AnyTrial) -> float | None:
        seconds = self.pace.seconds(trial.config)
        return None if seconds is None else seconds * trial.config.num_epochs

    def _overall(self) -> str:
        return f"{self.num_ended}/{self.num_trials} trials, sweep ETA {_show(self.sweep_eta())}"

    def __rich__(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("trial", "epoch", "loss", "kNN", "images/s", "ETA"):
            table.add_column(name, justify="left" if name == "trial" else "right", min_width=8)
        for row in list(self.running.values())[:MAX_ROWS]:
            m = row.metrics
            table.add_row(
                self.name(row.trial),
                f"{row.epoch}/{row.trial.config.num_epochs}",
                f"{m['loss']:.4g}" if "loss" in m else "",
                f"{m['knn_accuracy']:.1%}" if "knn_accuracy" in m else "",
                f"{m['images_per_second']:.0f}" if "images_per_second" in m else "",
                _show(self.eta(row)),
            )
        hidden = len(self.running) - MAX_ROWS
        more = [Text(f"... and {hidden} more")] if hidden > 0 else []
        return Group(table, *more, Text(f"{self._overall()}   (Ctrl-C stops; the same command goes on)", style="dim"))


def _show(seconds: float | None) -> str:
    return "?" if seconds is None else duration(seconds)
