"""kill -9 at every step of writing, and of every process of a sweep: it ends as the uninterrupted one.

At every operation on a trial's files, before it, in the middle of it and after it: the weights, training states and
histories are the uninterrupted run's, and no more than what was trained since the last state is trained again. Under
`--full` also the driver, a trial's process and Ray's own processes at random moments of a sweep: its weights, table and
MLflow runs are those of an uninterrupted one.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from ray_ssl.checkpoints import checkpoint_folder, saved_epochs
from ray_ssl.storage import Storage
from tests.faults.counts import Counts
from tests.ray_ssl.killed_process import MOMENTS, NUM_EPOCHS, NUM_STEPS, STEP
from tests.ray_ssl.test_killed import METHODS, Process, helper, same
from tests.sweeps.command import TINY, start
from tests.sweeps.command import run as run_sweep
from tests.sweeps.test_sweep import assert_every_point_once, final_weights, table_of

LETTER = "a"
NUM_METHODS = {False: 1, True: len(METHODS)}
NUM_OPERATIONS = {False: 4, True: None}
NUM_SWEEP_KILLS = {False: 0, True: 50}
MIN_OPERATIONS = 28
"""A training has so many, or more."""
STEPS_PER_EPOCH = NUM_STEPS // NUM_EPOCHS
VICTIMS = {"driver": "", "trial": "ray::ImplicitFunc", "raylet": "raylet/raylet ", "GCS": "gcs_server "}
"""What the command lines of the processes contain."""
SWEEP = [*TINY, "--epochs", "8"]


def run(full: bool, seed: int) -> Counts:
    """Kills the writer at every operation, then the processes of sweeps at random moments."""
    counts, rng = Counts(), random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        with helper() as process:
            for method in rng.sample(METHODS, NUM_METHODS[full]):
                _every_operation(process, method, Path(name), NUM_OPERATIONS[full], rng, counts)
        if NUM_SWEEP_KILLS[full]:
            _sweeps(Path(name), NUM_SWEEP_KILLS[full], rng, counts)
    return counts


def _every_operation(
    process: Process, method: str, folder: Path, num: int | None, rng: random.Random, counts: Counts
) -> None:
    """Kills at every operation of a training, or at `num` of them."""
    whole = folder / f"{method}-whole"
    assert _train(process, method, whole) == (0, NUM_STEPS)
    numbers = range(1, 1000) if num is None else sorted(rng.sample(range(1, MIN_OPERATIONS + 1), num))
    for operation in numbers:
        for moment in MOMENTS if num is None else (rng.choice(MOMENTS),):
            killed = folder / f"{method}-{operation}-{moment}"
            code, before = _train(process, method, killed, f"{operation} {moment}")
            if code == 0:  # there are no more operations
                assert operation > MIN_OPERATIONS
                return
            assert code == -signal.SIGKILL, code
            what = f"{method}, killed {moment} operation {operation}"
            code, after = _train(process, method, killed)
            counts.case(what, f"exit code {code}" if code else _difference(whole, killed, before, after))
            subprocess.run(["rm", "-rf", str(killed)], check=True)


def _train(process: Process, method: str, folder: Path, die_at: str = "") -> tuple[int, int]:
    """The exit code of a child that trains, and how many steps it began."""
    assert process.stdin and process.stdout
    process.stdin.write(f"{method} {folder} 0 {die_at}\n")
    process.stdin.flush()
    process.stdout.readline()
    num_steps = 0
    while (line := process.stdout.readline().strip()) == STEP:
        num_steps += 1
    return int(line), num_steps


def _difference(whole: Path, killed: Path, before: int, after: int) -> str | None:
    """What is not as if nothing had happened."""
    a, b = Storage.at(whole), Storage.at(killed)
    if saved_epochs(a) != saved_epochs(b) or a.names("state") != b.names("state"):
        return f"it left {b.names()}, checkpoints {saved_epochs(b)}, states {b.names('state')}"
    for folder in [*map(checkpoint_folder, saved_epochs(a)), *(f"state/{name}" for name in a.names("state"))]:
        if not same(a, b, folder):
            return f"{folder} differs"
    again = before + after - NUM_STEPS
    return f"{again} steps were trained again" if again > STEPS_PER_EPOCH else None


def _sweeps(folder: Path, num: int, rng: random.Random, counts: Counts) -> None:
    """Kills one process of a sweep at a random moment, `num` times, each in a sweep of its own."""
    whole = folder / "whole"
    whole.mkdir()
    began = time.monotonic()
    code, _, err = run_sweep(whole, *SWEEP)
    assert (code, err) == (0, ""), err
    seconds = time.monotonic() - began
    for number in range(num):
        victim = list(VICTIMS)[number % len(VICTIMS)]
        place, moment = folder / str(number), rng.uniform(0, seconds)
        place.mkdir()
        process = start(place, *SWEEP)
        time.sleep(moment)
        killed = _kill(process, victim)
        out, err = process.communicate(timeout=900)
        for _ in range(3):  # a lost Ray ends the command; the same command goes on
            code, out, err = run_sweep(place, *SWEEP)
            if code == 0:
                break
        what = f"{victim} killed after {moment:.1f} of {seconds:.1f} s{'' if killed else ' (it was not there)'}"
        counts.case(what, f"exit code {code}: {(out + err)[-300:]}" if code else _sweep_difference(whole, place))
        subprocess.run(["rm", "-rf", str(place)], check=True)


def _kill(process: subprocess.Popen[str], victim: str) -> bool:
    """Kills one process of a command's; the driver with all that are its, as a lost machine would."""
    if process.poll() is not None:
        return False
    if victim == "driver":
        os.kill(process.pid, signal.SIGKILL)
        return True
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if VICTIMS[victim] in " ".join([*child.cmdline(), ""]):
                child.kill()
                return True
        except psutil.NoSuchProcess:
            continue
    return False


def _sweep_difference(whole: Path, killed: Path) -> str | None:
    if final_weights(whole) != final_weights(killed):
        return "weights differ"
    timed = ("images_per_second", "epoch_seconds", "time")
    tables = [table[~table.metric.isin(timed)].reset_index(drop=True) for table in map(table_of, (whole, killed))]
    if not tables[0].equals(tables[1]):
        return "the tables differ"
    try:
        assert_every_point_once(killed, 8, 2)
    except AssertionError as error:
        return f"MLflow: {error}"
    return None
