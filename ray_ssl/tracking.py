"""Curves, results and figures in MLflow: one parent run a sweep, one child run a trial, every point once.

The truth of a trial is its own history on disk; MLflow is a copy that can be brought up to date at any time by
sending everything again. One thread of the driver ships, so a slow or dead server delays nobody, and trials know
nothing of MLflow.

    tracker = Tracker(*local_store(storage), ...)
    tracker.connect()
    tracker.begin(trial)
    tracker.points(trial.key, step, metrics, timestamp_ms)     # the whole history, from its first step
    tracker.end(trial.key, "FINISHED")
    unsent = tracker.close(timeout=60)
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Final, Literal

from ray_ssl.mlflow_client import first_line, is_final, local_store, shown, ui_command
from ray_ssl.mlflow_store import PARENT, Point, Refused, RunStore, TrialRun, now_ms

__all__ = ["Status", "Tracker", "TrialRun", "local_store", "ui_command"]

Status = Literal["FINISHED", "FAILED", "KILLED"]

_COALESCE: Final = 200  # steps of one run shipped together
_MAX_PENDING: Final = 100_000  # calls, about 100 MB: more of a dead server's are not kept
_FIRST_PAUSE, _LAST_PAUSE = 0.5, 15.0  # seconds between two attempts on a dead server
_PROGRESS_SECONDS: Final = 10.0

_logger = logging.getLogger("ray_ssl")


class Tracker:
    """Ships one sweep to MLflow.

    After `connect` every method only queues: it returns at once, from any thread, and never raises for MLflow's
    sake. Each run's calls arrive in the order made. What MLflow refuses for good is dropped with one warning a run.
    Where a dead server makes the queue too long, the rest of a run is left out, and counts as not shipped.

    Args:
        uri: sqlite:////FOLDER/mlflow.db, http://HOST:PORT or another database that MLflow knows.
        experiment: Name of the MLflow experiment; created where there is none.
        sweep: Name of the sweep: two sweeps of one name in one experiment are the same sweep.
        artifact_root: Folder for the artifacts of a new experiment; None leaves it to the server, and is
            beside the file of a database.
        may_send: Asked before every call; where it says no, what is queued is left to another driver of the sweep.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        sweep: str,
        artifact_root: str | None = None,
        may_send: Callable[[], bool] = lambda: True,
    ):
        self._uri = uri
        self._may_send = may_send
        self._store = RunStore(uri, experiment, sweep, artifact_root)
        self._queues: dict[str, deque[Point | Callable[[], None]]] = {}  # by run; the first is served next
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._closing = self._stopped = False
        self._pause = 0.0  # seconds; grows while nothing arrives
        self._waiting: set[str] = set()  # runs whose newest attempt failed
        self._warned: set[str] = set()
        self._num_pending = self._num_left_out = 0
        self._cut_off: set[str] = set()  # runs of which a call was not kept: none after it may leave a hole

    def connect(self, owner: bool = True) -> None:
        """Opens MLflow, finds or creates the sweep's parent run, starts shipping. Takes 3 to 10 s.

        Args:
            owner: This process runs the sweep's trials. Runs that a killed driver left RUNNING become KILLED (and
                RUNNING again when begun), the parent becomes RUNNING. False for an analysis that may run beside it.

        Raises:
            UserError: The address is of no known kind, no server answers within about 10 s, the database cannot
                be written or has another version's schema, or the experiment was deleted.
        """
        self._store.open(owner)
        self._thread.start()

    def steps_shipped(self) -> dict[str, tuple[int, str]]:
        """Returns trial key -> (last step that arrived or -1, status of its run); asks nobody.

        For leaving out trials that are complete. Of any other trial send the whole history: what arrived is skipped.
        """
        return {key: (run.last_step, run.status) for key, run in list(self._store.runs.items()) if key != PARENT}

    def begin(self, trial: TrialRun) -> None:
        """Makes the trial's run RUNNING: found again by its key or created, described once."""
        self._put(trial.key, partial(self._store.begin, trial))

    def points(self, key: str, step: int, metrics: dict[str, float], timestamp_ms: int | None = None) -> None:
        """Logs the metrics of one step (usually an epoch), and the step itself as the metric `epoch`.

        Args:
            key: A trial that was begun.
            step: Rising from call to call; a step up to the last one shipped is skipped.
            metrics: Metric -> value. NaN stays; an infinite value becomes NaN and is named in a tag.
            timestamp_ms: When it was measured, in milliseconds since 1970 (default: now). With the time from the
                trial's history a repeated point is the same point to MLflow, even if a call of a killed process
                arrives late.
        """
        values = {name: float(value) for name, value in metrics.items()}
        self._put(key, Point(int(step), now_ms() if timestamp_ms is None else timestamp_ms, values))

    def analysis_points(self, key: str, metric: str, series: dict[int, float], timestamp_ms: int | None = None) -> None:
        """Logs the values of one metric that its run does not have yet; the run's status stays as it is.

        Args:
            key: A trial that has a run.
            metric: Its name.
            series: Step -> value, e.g. epoch -> NCC accuracy of the last layer, or layer index -> value.
            timestamp_ms: As in `points`.
        """
        values = {int(step): float(value) for step, value in series.items()}
        self._put(key, partial(self._store.series, key, metric, values, timestamp_ms or now_ms()))

    def end(self, key: str, status: Status, reason: str = "", end_ms: int | None = None) -> None:
        """Sets the final status of a trial's run, the reason as the tag `ray_ssl.reason`."""
        self._put(key, partial(self._store.end, key, status, reason, end_ms or now_ms()))

    def parent_params(self, params: dict[str, str]) -> None:
        """Logs parameters of the sweep. MLflow keeps the first value; a later one is the tag `ray_ssl.now.NAME`."""
        self._put(PARENT, partial(self._store.params, PARENT, dict(params)))

    def parent_artifact(self, path: Path, folder: str = "") -> None:
        """Uploads a file, or the files of a folder, to the sweep's run; replaces those of the same name."""
        self._put(PARENT, partial(self._store.artifact, PARENT, Path(path), folder))

    def parent_end(self, status: Status) -> None:
        """Sets the final status of the sweep's run."""
        self._put(PARENT, partial(self._store.end, PARENT, status))

    def pending(self) -> int:
        """Returns how many calls are not shipped yet."""
        with self._changed:
            return self._num_pending

    def close(self, timeout: float, progress: Callable[[int], None] | None = None) -> int:
        """Ships what is queued; the tracker takes nothing more. Never raises.

        Args:
            timeout: Seconds that this may take; with `progress`, since a call last arrived: a slow server gets
                everything, a dead one costs no more.
            progress: Told every 10 s how many calls are left.

        Returns:
            Number of calls that could not be shipped; running the sweep again ships them.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            told = time.monotonic()
            deadline, left = told + timeout, self._num_pending
            while self._queues and self._thread.is_alive() and (now := time.monotonic()) < deadline:
                if progress is not None and self._num_pending < left:
                    deadline, left = now + timeout, self._num_pending
                if progress is not None and now - told >= _PROGRESS_SECONDS:
                    progress(left)
                    told = now
                self._changed.wait(min(deadline - now, _PROGRESS_SECONDS))
            self._stopped = True
            self._changed.notify_all()
            return self._num_pending + self._num_left_out

    def _put(self, key: str, call: Point | Callable[[], None]) -> None:
        with self._changed:
            if key in self._cut_off or self._num_pending >= _MAX_PENDING:
                self._cut_off.add(key)
                self._num_left_out += 1
                return
            self._queues.setdefault(key, deque()).append(call)
            self._num_pending += 1
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queues or self._stopped)
                if self._stopped:
                    return
                key = next(iter(self._queues))
                calls = _next_calls(self._queues[key])
            done = self._ship(key, calls)
            with self._changed:
                queue = self._queues.pop(key)
                for _ in range(len(calls) if done else 0):
                    queue.popleft()
                    self._num_pending -= 1
                if queue:
                    self._queues[key] = queue  # behind the others
                self._changed.notify_all()
                if not done:
                    self._rest()

    def _rest(self) -> None:
        closing = self._closing  # ends a long pause, and none is long after it
        pause = _FIRST_PAUSE if closing else self._pause
        self._changed.wait_for(lambda: self._stopped or self._closing != closing, pause)

    def _ship(self, key: str, calls: list[Point | Callable[[], None]]) -> bool:
        """Returns whether these calls are dealt with: arrived, refused for good, or another driver's now."""
        try:
            if not self._may_send():
                return True
            points = [call for call in calls if isinstance(call, Point)]
            if points:
                self._store.points(key, points)
            for call in calls:
                if not isinstance(call, Point):
                    call()
        except Exception as error:  # the thread outlives whatever MLflow raises
            if isinstance(error, Refused) or is_final(error, self._uri):
                self._warn_refused(key, error)
                self._waiting.discard(key)
                return True
            if not self._waiting:
                _logger.warning(
                    "MLflow at %s does not take what is sent: it is kept, and sent later (%s)",
                    shown(self._uri),
                    first_line(error)[:200],
                )
            self._waiting.add(key)
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LAST_PAUSE)
            return False
        if self._waiting == {key}:
            _logger.warning("MLflow at %s takes everything again", shown(self._uri))
        self._waiting.discard(key)
        self._pause = 0.0
        return True

    def _warn_refused(self, key: str, error: Exception) -> None:
        if key not in self._warned:
            self._warned.add(key)
            run = f"trial {key}" if key else "the sweep"
            _logger.warning("MLflow refuses what is sent of %s, left out: %s", run, first_line(error)[:300])


def _next_calls(queue: deque[Point | Callable[[], None]]) -> list[Point | Callable[[], None]]:
    """Returns the points at the head of a queue, to go in one call, or the one other call there."""
    points = list(islice(takewhile(lambda call: isinstance(call, Point), queue), _COALESCE))
    return points or [queue[0]]
