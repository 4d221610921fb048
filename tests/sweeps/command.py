"""Runs a sweep's command as a user does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = [
    "--method", "vicreg",
    "--depths", "1", "--widths", "4", "6", "--num-images", "200", "--num-test-images", "60", "--epochs", "4",
    "--global-batch-size", "50", "--num-checkpoints", "3", "--projector-width", "16", "--embedding-dim", "8",
    "--address", "local", "--num-cpus", "2", "--state-seconds", "0",
]  # fmt: skip
QUICK = [*TINY, "--metrics", "linear_probe", "--num-cpus", "1"]
"""For what is not about metrics, figures or trials side by side: most of a tiny sweep's time is theirs, and that of
processes that start."""


def start(folder: Path, *arguments: str, module: str = "sweeps.depth_width") -> subprocess.Popen[str]:
    """Starts a command in `folder`, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments], cwd=folder, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def run(folder: Path, *arguments: str, module: str = "sweeps.depth_width") -> tuple[int, str, str]:
    """Returns exit code, standard output and standard error."""
    process = start(folder, *arguments, module=module)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[str], seconds: float = 120, count: int = 1) -> None:
    """Waits until so many files match."""
    deadline = time.monotonic() + seconds
    while _num_files(folder, pattern) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {pattern} after {seconds} s"
        time.sleep(0.02)


def _num_files(folder: Path, pattern: str) -> int:
    try:
        return len(list(folder.glob(pattern)))
    except FileNotFoundError:  # a temporary folder that glob came to as it went
        return 0


def kill(process: subprocess.Popen[str]) -> None:
    """Kills the driver and all its processes at once, as a lost machine would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
