"""A full disk: said in one line, nothing lost, gone on with when there is space again."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sweeps.command import run

MODEL = [
    "--method",
    "vicreg",
    "--depths",
    "1",
    "--widths",
    "8",
    "--num-images",
    "500",
    "--num-test-images",
    "60",
    "--epochs",
    "4",
]
SIZES = ["--projector-width", "512", "--embedding-dim", "512", "--global-batch-size", "50", "--learning-rate", "0.001"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_stops_a_trial_and_space_lets_it_go_on(small_disk: Path, tmp_path: Path) -> None:
    command = [*MODEL, *SIZES, "--address", "local", "--storage", str(small_disk), "--state-seconds", "0"]
    command += ["--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    code, out, err = run(tmp_path, *command)
    assert code == 1
    assert "the disk is full; make space and run the same command again" in err
    assert "Traceback" not in out + err
    subprocess.run(["mount", "-o", "remount,size=300m", str(small_disk)], check=True)
    code, out, err = run(tmp_path, *command)
    assert code == 0, err
    assert "1 to resume" in out
