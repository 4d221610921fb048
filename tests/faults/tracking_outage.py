"""A dead MLflow server: calls cost no time, the queue is bounded; every point is there once after it is back.

Under `--full` also a whole sweep: the server is killed, then the driver, both come back.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any
from unittest import mock

from ray_ssl import tracking
from ray_ssl.mlflow_store import Point, StoredRun
from ray_ssl.tracking import Tracker, TrialRun
from tests.faults.counts import Counts
from tests.sweeps.command import kill, start, wait_for
from tests.sweeps.command import run as run_sweep
from tests.sweeps.test_tracking_server import COMMAND, EPOCHS, Server, points

LETTER = "d"
NUM_OUTAGES = {False: 3, True: 100}
NUM_SWEEPS = {False: 0, True: 3}
MAX_SECONDS = 1e-4
"""Median time of a call: 1 % of a training step of 10 ms, and there is one call an epoch."""
MAX_BYTES = 300e6
METRICS = {f"metric{i}": 0.5 for i in range(12)}


class _Store:
    """MLflow's side, which is dead at times; it keeps what arrives, in order."""

    def __init__(self) -> None:
        self.is_dead = False
        self.runs: dict[str, StoredRun] = {}
        self.stored: dict[str, list[int]] = {}
        self.ends: dict[str, str] = {}

    def open(self, owner: bool) -> None:
        """Nothing to do."""

    def _answer(self) -> None:
        if self.is_dead:
            raise ConnectionError("dead")

    def begin(self, trial: TrialRun) -> None:
        self._answer()
        self.stored.setdefault(trial.key, [])

    def points(self, key: str, sent: list[Point]) -> None:
        self._answer()
        last = self.stored[key][-1] if self.stored[key] else -1
        self.stored[key] += [point.step for point in sent if point.step > last]

    def end(self, key: str, status: str, reason: str, end_ms: int) -> None:
        self._answer()
        self.ends[key] = status


def run(full: bool, seed: int) -> Counts:
    """Outages of a store in this process, the bound of the queue, and sweeps whose server and driver are killed."""
    counts, rng = Counts(), random.Random(seed)
    for number in range(NUM_OUTAGES[full]):
        counts.case(f"outage {number}", _outage(rng))
    with mock.patch.object(tracking, "_MAX_PENDING", tracking._MAX_PENDING if full else 2000):
        counts.case("a queue at its bound", _bound(counts))
    for number in range(NUM_SWEEPS[full]):
        with tempfile.TemporaryDirectory() as name:
            counts.case(f"sweep {number}", _sweep(Path(name), rng))
    return counts


def _tracker(store: Any) -> Tracker:
    tracker = Tracker("sqlite:////nowhere/mlflow.db", "x", "sweep")
    tracker._store = store
    tracker.connect()
    return tracker


def _send(tracker: Tracker, keys: list[str], num_steps: int, store: _Store, dead: range) -> float:
    """Sends what a driver sends of trials side by side, the store dead at some steps; the median seconds of a call."""
    for key in keys:
        tracker.begin(TrialRun(key, key))
    seconds = []
    for step in range(num_steps):
        store.is_dead = step in dead
        began = time.perf_counter()
        for key in keys:
            tracker.points(key, step, METRICS, step)
        seconds.append((time.perf_counter() - began) / len(keys))
        time.sleep(0.002)
    store.is_dead = False
    for key in keys:
        tracker.end(key, "FINISHED")
    return statistics.median(seconds)


def _outage(rng: random.Random) -> str | None:
    store, keys, num_steps = _Store(), [f"k{i}" for i in range(rng.randrange(1, 5))], rng.randrange(20, 60)
    first = rng.randrange(num_steps)
    with mock.patch.object(tracking, "_FIRST_PAUSE", 0.01), mock.patch.object(tracking._logger, "warning"):
        tracker = _tracker(store)
        seconds = _send(tracker, keys, num_steps, store, range(first, rng.randrange(first, num_steps)))
        unsent = tracker.close(20)
    if unsent or store.stored != {key: list(range(num_steps)) for key in keys}:
        return f"{unsent} unsent, stored {store.stored}"
    return f"a call took {seconds:.6f} s" if seconds > MAX_SECONDS else None


def _bound(counts: Counts) -> str | None:
    """A server that is dead for very long: memory is bounded, no run has a hole, and a later command sends the rest."""
    store, keys = _Store(), ["a", "b"]
    num_steps = tracking._MAX_PENDING
    store.is_dead = True
    with mock.patch.object(tracking, "_FIRST_PAUSE", 0.01), mock.patch.object(tracking._logger, "warning"):
        tracker = _tracker(store)
        tracemalloc.start()
        for key in keys:
            tracker.begin(TrialRun(key, key))
        for step in range(num_steps):
            for key in keys:
                tracker.points(key, step, METRICS, step)
        size, pending = tracemalloc.get_traced_memory()[0], tracker.pending()
        tracemalloc.stop()
        store.is_dead = False
        tracker.end("a", "FINISHED")
        unsent = tracker.close(60)
        if pending > tracking._MAX_PENDING or size > MAX_BYTES:
            return f"{pending} calls in {size / 1e6:.0f} MB are kept"
        sent = {key: len(steps) for key, steps in store.stored.items()}
        if any(steps != list(range(len(steps))) for steps in store.stored.values()) or "a" in store.ends:
            return f"a run has a hole: {sent}, {store.ends}"
        if unsent != 2 * num_steps + 3 - sum(sent.values()) - 2:
            return f"{unsent} are said to be unsent of {2 * num_steps}, {sent} arrived"
        again = _tracker(store)
        for key in keys:
            again.begin(TrialRun(key, key))
            for step in range(num_steps // 2 + 10):
                again.points(key, step, METRICS, step)
            while again.pending():
                time.sleep(0.01)
        unsent = again.close(60)
    counts.notes.append(f"{pending} calls wait in {size / 1e6:.0f} MB at most")
    return f"{unsent} unsent" if unsent or any(len(steps) < num_steps // 2 for steps in store.stored.values()) else None


def _sweep(folder: Path, rng: random.Random) -> str | None:
    server = Server(folder)
    server.start()
    try:
        command = [*COMMAND, "--tracking-uri", server.uri]
        process = start(folder, *command)
        wait_for(folder, "results/swept/*/done.json", process)
        server.kill()
        time.sleep(rng.uniform(0, 10))
        kill(process)
        time.sleep(rng.uniform(0, 120))
        server.start()
        code, _, err = run_sweep(folder, *command)
        if code or err:
            return f"exit code {code}: {err}"
        stored = points(server.uri)
    finally:
        server.kill()
    if set(stored.values()) != {1}:
        return f"twice: {[point for point, number in stored.items() if number > 1][:3]}"
    for width in (4, 5, 6):
        steps = sorted(step for run, name, step in stored if (run, name) == (f"vicreg 1-{width} seed 0", "loss"))
        if steps != list(range(1, EPOCHS + 1)):
            return f"width {width} has steps {steps}"
    return None
