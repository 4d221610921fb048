"""Ctrl-C and SIGTERM through the whole life of a sweep: the resume line alone, exit code 75, no process left."""

import itertools
import os
import signal
import subprocess
import time
from pathlib import Path

from ray_ssl.errors import EXIT_INTERRUPTED
from tests.sweeps.command import QUICK, run, start
from tests.sweeps.test_sweep import assert_every_point_once

HANDLERS = "handlers"
MOMENTS = (
    (HANDLERS, 0.0),
    (HANDLERS, 1.0),  # torch is being imported
    ("trials:", 1.0),  # Ray is starting
    ("trials:", 3.0),
    ("training:", 1.0),  # the trials' processes are starting
    ("started", 0.0),
    ("measuring", 2.0),
)
"""What is waited for, and seconds after it."""


def wait_for_moment(process: subprocess.Popen[str], what: str, seconds: float) -> None:
    if what == HANDLERS:
        wait_for_handlers(process)
    else:
        assert process.stdout is not None
        assert any(what in line for line in process.stdout), f"{what!r} was never printed"
    time.sleep(seconds)


def wait_for_handlers(process: subprocess.Popen[str]) -> None:
    """Waits until a command handles signals itself."""
    while not catches(process.pid, signal.SIGTERM):
        assert process.poll() is None
        time.sleep(0.01)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def members(group: int) -> list[str]:
    return subprocess.run(["pgrep", "-g", str(group)], capture_output=True, text=True).stdout.split()


def test_at_any_moment(tmp_path: Path) -> None:
    # Alternately: kill, and Ctrl-C, which a terminal sends to every process of the command.
    kinds = itertools.cycle((lambda p: p.send_signal(signal.SIGTERM), lambda p: os.killpg(p.pid, signal.SIGINT)))
    for (what, seconds), send in zip(MOMENTS, kinds, strict=False):
        process = start(tmp_path, *QUICK)
        wait_for_moment(process, what, seconds)
        send(process)
        _, err = process.communicate(timeout=200)
        said = err.splitlines()
        assert process.returncode == EXIT_INTERRUPTED, (what, seconds, err)
        assert said[:1] == ["interrupted; nothing that was finished is lost. To go on:"], (what, seconds, err)
        assert len(said) == 2 and " ".join(QUICK) in said[1], (what, seconds, err)
        deadline = time.monotonic() + 100
        while members(process.pid):
            assert time.monotonic() < deadline, f"left behind after {what} + {seconds} s: {members(process.pid)}"
            time.sleep(0.2)
    code, _, err = run(tmp_path, *QUICK)
    assert (code, err) == (0, "")
    assert_every_point_once(tmp_path, 4, 2)


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    arguments = [*QUICK, "--widths", "4", "--epochs", "30"]
    process = start(tmp_path, *arguments)
    wait_for_moment(process, "started", 0.5)
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.1)
    _, err = process.communicate(timeout=200)
    assert process.returncode == EXIT_INTERRUPTED
    assert len(err.splitlines()) == 2, err
    code, _, err = run(tmp_path, *arguments)  # the lease of a dead driver is no obstacle
    assert (code, err) == (0, "")
