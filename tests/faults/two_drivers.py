"""Two drivers on one sweep: one wins, the other names it; a stale lease is taken over, a revived driver writes no more.

The racers are processes of their own, which try for one sweep after the other at the same moment.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from ray_ssl.errors import EXIT_INTERRUPTED
from ray_ssl.lease import LEASE, LEASE_STALE_SECONDS, Lease
from ray_ssl.storage import Storage, seal
from tests.faults.counts import Counts

LETTER = "h"
NUM_RACES = {False: 12, True: 200}
NUM_REVIVALS = {False: 1, True: 10}
NUM_RACERS = 2
MAX_SECONDS = 5.0
KINDS = ("no lease", "torn", "of a dead process", "not renewed", "of another boot", "just given back")

_RACER = """
import sys, time
from ray_ssl.errors import UserError
from ray_ssl.lease import Lease
from ray_ssl.storage import Storage
for line in sys.stdin:
    folder, start = line.split()
    time.sleep(max(0.0, float(start) - time.time()))
    began = time.perf_counter()
    try:
        with Lease(Storage(folder)) as lease:
            print("won", lease.is_held(), flush=True)
            sys.stdin.readline()
    except UserError as error:
        print(f"lost {time.perf_counter() - began:.3f} {error}", flush=True)
        sys.stdin.readline()
    print("over", flush=True)
"""

_REVIVED = """
import sys, time
import ray_ssl.lease
ray_ssl.lease.LEASE_BEAT_SECONDS = 0.2
from ray_ssl.lease import Lease, LostLeaseError
from ray_ssl.storage import Storage
with Lease(Storage(sys.argv[1])) as lease:
    print("holds", flush=True)
    for number in range(10**9):
        try:
            lease.storage.child("trial").write("record", f"old {number}".encode())
        except LostLeaseError:
            print("refused", flush=True)
        time.sleep(0.001)
"""

Process = subprocess.Popen[str]


def _start(code: str, *arguments: str) -> Process:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def run(full: bool, seed: int) -> Counts:
    """Races, and drivers that wake up after their lease was taken over."""
    counts, rng = Counts(), random.Random(seed)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        racers = [stack.enter_context(_start(_RACER)) for _ in range(NUM_RACERS)]
        try:
            for number in range(NUM_RACES[full]):
                kind = KINDS[number % len(KINDS)]
                counts.case(f"race {number}, lease: {kind}", _race(Path(name) / str(number), kind, racers, rng))
        finally:
            for racer in racers:
                racer.kill()
        for number in range(NUM_REVIVALS[full]):
            counts.case(f"revival {number}", _revival(Path(name) / f"revived{number}"))
    return counts


def _race(folder: Path, kind: str, racers: list[Process], rng: random.Random) -> str | None:
    """Lets the racers try for one sweep at once; returns what is wrong with the outcome."""
    sweep = Storage.at(folder)
    before = _lease_before(kind)
    if before is not None:
        sweep.write(LEASE, before)
    start = time.time() + 0.05
    with ExitStack() as stack:
        if kind == "just given back":
            holder = stack.enter_context(Lease(sweep))
        for racer in racers:
            _say(racer, f"{folder} {start + rng.choice([0, rng.uniform(0, 0.01)])}")
        if kind == "just given back":
            time.sleep(max(0.0, start - time.time()))
            holder.__exit__()  # pyright: ignore[reportPossiblyUnboundVariable]
        said = [_hear(racer) for racer in racers]
    won = [racer for racer, words in zip(racers, said, strict=True) if words == "won True"]
    lost = [words for words in said if words.startswith("lost ")]
    winner = won[0].pid if won else os.getpid()
    problem = _problem(said, lost, winner, len(won), must_win=kind != "just given back")
    for racer in racers:
        _say(racer, "")
        assert _hear(racer) == "over"
    left = sweep.names()
    return problem or (f"left behind: {left}" if left else None)


def _problem(said: list[str], lost: list[str], winner: int, num_won: int, must_win: bool) -> str | None:
    if num_won > 1 or (must_win and num_won == 0) or num_won + len(lost) != len(said):
        return f"{num_won} won: {said}"
    for words in lost:
        seconds, _, message = words.removeprefix("lost ").partition(" ")
        if float(seconds) > MAX_SECONDS:
            return f"the loser took {seconds} s"
        named = f"process {winner} on {socket.gethostname()}, for "
        if num_won and len(lost) < len(said) and named not in message and f"process {os.getpid()} on" not in message:
            return f"it does not name {named!r}: {message}"
    return None


def _lease_before(kind: str) -> bytes | None:
    now = time.time()
    dead = subprocess.Popen(["true"])
    dead.wait()
    holder = {"host": socket.gethostname(), "pid": dead.pid, "boot": _boot(), "token": "t", "since": now - 9,
              "renewed": now}  # fmt: skip
    return {
        "torn": seal(holder)[:70],
        "of a dead process": seal(holder),
        "not renewed": seal(holder | {"host": "elsewhere", "renewed": now - LEASE_STALE_SECONDS - 1}),
        "of another boot": seal(holder | {"pid": os.getpid(), "boot": "another"}),
    }.get(kind)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _revival(folder: Path) -> str | None:
    """A driver is suspended, its lease gets stale and is taken over, and it wakes up; returns what is wrong."""
    sweep = Storage.at(folder)
    with _start(_REVIVED, str(folder)) as old:
        try:
            assert _hear(old) == "holds"
            time.sleep(0.05)
            old.send_signal(signal.SIGSTOP)
            os.waitpid(old.pid, os.WUNTRACED)
            holder = sweep.read_sealed(LEASE)
            assert holder is not None and holder["pid"] == old.pid
            sweep.write_sealed(LEASE, holder | {"renewed": holder["renewed"] - LEASE_STALE_SECONDS})
            with Lease(sweep) as new:
                record = new.storage.child("trial")
                record.write("record", b"new")
                old.send_signal(signal.SIGCONT)
                written = [record.read("record") for _ in range(100) if not time.sleep(0.002)]
                out, err = old.communicate(timeout=30)
                if not new.is_held():
                    return "the new driver lost its lease"
                # One write may have passed its check when the process was suspended; a read beside it may be torn.
                by_old = {content for content in [*written, record.read("record")] if content.startswith(b"old ")}
                if len(by_old) > 1:
                    return f"the old driver wrote again: {sorted(by_old)}"
        finally:
            old.kill()
    wanted = f"error: process {os.getpid()} on {socket.gethostname()} has taken this sweep over while this process was "
    if old.returncode != EXIT_INTERRUPTED or not err.startswith(wanted) or len(err.splitlines()) != 1:
        return f"exit code {old.returncode}, said {out[-200:]!r} {err!r}"
    return None


def _say(process: Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def _hear(process: Process) -> str:
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline().strip()
    assert line, process.stderr.read()
    return line
