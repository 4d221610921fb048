"""What a sweep of 1,000 trials and 10,000 checkpoints costs its driver, and how that grows.

`index`: from the command to its plan, over a folder where nine of ten trials are done and measured, without an index of
the parts (a folder of an earlier version); `plan`: the same with it; `mlflow`: bringing an empty MLflow up to date with
the folder; `table`: reading the measurements; `schedule`: trials of one step through Ray Tune.
CPU seconds of the driver (which do not depend on what else runs on the machine much) and seconds that passed.

    python -m tests.benchmarks.scale [index] [plan] [mlflow] [table] [schedule] [--trials 1000]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

from analysis.command import quiet
from analysis.pipeline import MEASUREMENTS
from analysis.table import read_table
from analysis.tracked import Tracking
from ray_ssl.capacity import capacity, cluster_nodes
from ray_ssl.cluster import MachineOptions, ray_session
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.data import load_dataset
from ray_ssl.follower import Follower
from ray_ssl.launch import run_trials
from ray_ssl.ledger import DONE, AnyTrial, Ledger, make_trials
from ray_ssl.search import GridSource
from ray_ssl.storage import Storage
from ray_ssl.tracking import Tracker
from sweeps import run
from sweeps.cli import Request, parse
from sweeps.depth_width import SWEEP
from tests.benchmarks.synthetic_sweep import make_sweep

MAX_PLAN_SECONDS, MAX_TRIAL_SECONDS = 5.0, 0.3
PARTS = ("index", "plan", "mlflow", "table", "schedule")
TRIVIAL = [
    "--method", "vicreg", "--depths", "1", "--widths", "4", "--num-images", "200", "--num-test-images", "60",
    "--global-batch-size", "50", "--num-checkpoints", "10", "--projector-width", "16", "--embedding-dim", "8",
    "--epochs", "20", "--address", "local", "--name", "swept",
]  # fmt: skip


class Clock:
    """CPU seconds of this process, and seconds that passed, since it was made."""

    def __init__(self) -> None:
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float]:
        return time.process_time() - self.cpu, time.perf_counter() - self.wall


class Planned(Exception):
    """The plan is printed; what comes next is training."""


def plan(folder: Path, request: Request, ledger: Ledger) -> tuple[float, float]:
    """Seconds from the parsed command to its plan, without MLflow."""

    def stop(*args: Any) -> Any:
        raise Planned

    clock, out = Clock(), io.StringIO()
    with (
        mock.patch.object(run, "_train_and_analyse", stop),
        mock.patch.object(Tracking, "connect", return_value=mock.MagicMock(Tracker)),
        contextlib.redirect_stdout(out),
        contextlib.suppress(Planned),
    ):
        run.run(request)
    assert "to resume" in out.getvalue(), out.getvalue()
    return clock.read()


def mlflow(folder: Path, request: Request, ledger: Ledger) -> tuple[float, float]:
    """Seconds to send an empty database all of it."""
    clock = Clock()
    tracker = Tracking.named(Storage.at(folder), ledger, None, "scale").connect()
    Follower(tracker, ledger).catch_up()
    assert tracker.close(3600) == 0
    return clock.read()


def table(folder: Path, request: Request, ledger: Ledger) -> tuple[float, float]:
    """Seconds to read all measurements."""
    clock = Clock()
    read_table(ledger.sweep.filesystem, ledger.sweep.path(MEASUREMENTS))
    return clock.read()


@contextlib.contextmanager
def made(num_trials: int) -> Iterator[tuple[Path, Request, Ledger]]:
    """A synthetic sweep."""
    with tempfile.TemporaryDirectory() as name:
        storage = ["--storage", name, "--seeds", *map(str, range(num_trials))]
        request = parse(SWEEP, [*TRIVIAL, *storage])
        ledger, dataset = Ledger(Storage.at(name).child(request.name)), load_dataset(request.base.data)
        trials = make_trials(request.grid.configs(), dataset.fingerprint)
        make_sweep(request, ledger, trials, dataset, num_unfinished=num_trials // 10)
        yield Path(name), request, ledger


def schedule(num_trials: int) -> tuple[list[float], float]:
    """CPU seconds of the driver for each tenth of the trials, and seconds that passed, through Ray Tune and MLflow."""
    base = PretrainConfig.from_dict(
        {
            "backbone": {"name": "res_lh", "depth": 1, "width": 4},
            "method": {"name": "vicreg", "projector_width": 16, "embedding_dim": 8},
            "training": {"epochs": 1, "global_batch_size": 50, "num_checkpoints": 2},
            "data": {"num_images": 50, "num_test_images": 20},
        }
    )
    dataset, machine = load_dataset(base.data), MachineOptions(address="local")
    trials = make_trials([replace(base, {"seed": seed}) for seed in range(num_trials)], dataset.fingerprint)
    marks: list[float] = []

    class Timed(Follower):
        num_ended = 0

        def ended(self, trial: AnyTrial) -> None:
            super().ended(trial)
            self.num_ended += 1
            if self.num_ended % (num_trials // 10) == 0:
                marks.append(time.process_time())

    with tempfile.TemporaryDirectory() as name:
        ledger = Ledger(Storage.at(name).child("sweep"))
        tracker = Tracking.named(Storage.at(name), ledger, None, "scale").connect()
        with ray_session(machine, dataset.train.images.nbytes, nested_train=False):
            room, clock = capacity(machine, 1, cluster_nodes(machine)), Clock()
            marks.append(time.process_time())
            run_trials(GridSource(trials, trials), 1, ledger, dataset, machine, room, Timed(tracker, ledger))
            _, wall = clock.read()
        assert tracker.close(3600) == 0
        assert all(ledger.record(trial.key, DONE) for trial in trials)
    return [after - before for before, after in pairwise(marks)], wall


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--trials", type=int, default=1000, metavar="N", help="a multiple of 10 (default: 1000)")
    flags = parser.parse_args()
    quiet()
    too_slow = []
    measures: dict[str, Callable[..., tuple[float, float]]] = {
        "index": plan,
        "plan": plan,
        "mlflow": mlflow,
        "table": table,
    }
    if measures.keys() & set(flags.parts):
        with made(10) as warm:
            plan(*warm)  # imports
        for num_trials in (flags.trials // 4, flags.trials):
            with made(num_trials) as sweep:
                if "index" not in flags.parts and "plan" in flags.parts:
                    plan(*sweep)
                for part in (part for part in measures if part in flags.parts):
                    cpu, wall = measures[part](*sweep)
                    print(f"{part:9}{num_trials:6} trials: {cpu:6.1f} s CPU, {wall:6.1f} s", flush=True)
                    if part == "plan" and cpu > MAX_PLAN_SECONDS:
                        too_slow.append(f"a plan over {num_trials} trials takes more than {MAX_PLAN_SECONDS:g} s")
    if "schedule" in flags.parts:
        tenths, wall = schedule(flags.trials)
        each = [10 * seconds / flags.trials for seconds in tenths]
        mean = sum(each) / len(each)
        print(f"schedule {flags.trials:6} trials: {mean:.3f} s CPU of the driver each (first tenth {each[0]:.3f}, last "
              f"{each[-1]:.3f}), {wall / flags.trials:.3f} s each passed")  # fmt: skip
        if mean > MAX_TRIAL_SECONDS:
            too_slow.append(f"a trial takes more than {MAX_TRIAL_SECONDS} s of the driver")
    for line in too_slow:
        print(f"TOO SLOW: {line}")
    return 1 if too_slow else 0


if __name__ == "__main__":
    raise SystemExit(main())
