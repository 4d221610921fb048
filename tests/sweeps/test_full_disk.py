"""A full disk: refused where foreseen, else said in one line; nothing is lost, and later the run goes on."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_ssl.errors import EXIT_BAD_INPUT
from tests.sweeps.command import run, start, wait_for

MODEL = "--method vicreg --depths 1 --widths 8 --num-images 500 --num-test-images 60 --epochs 40"
SIZES = "--projector-width 512 --embedding-dim 512 --global-batch-size 50 --learning-rate 0.001"
BLOCK = bytes(1 << 16)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def resize(disk: Path, megabytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Somebody else takes all the space."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(BLOCK):
                pass
        except OSError:
            return filler
    raise AssertionError("the disk did not become full")


def test_a_full_disk_stops_a_trial_and_space_lets_it_go_on(small_disk: Path, tmp_path: Path) -> None:
    command = [*MODEL.split(), *SIZES.split(), "--metrics", "rank", "--storage", str(small_disk)]
    command += ["--address", "local", "--num-cpus", "1"]
    command += ["--state-seconds", "0", "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    code, out, err = run(tmp_path, *command)
    assert code == EXIT_BAD_INPUT
    assert "does not fit on the disk: 0.269 million parameters x 4 bytes" in err
    assert err.endswith(" MB free\n")

    resize(small_disk, 40)
    process = start(tmp_path, *command)
    wait_for(small_disk, "*/*/state/step-*/manifest.json", process)
    filler = fill(small_disk)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "the disk is full; make space and run the same command again" in err
    assert "Traceback" not in out + err

    filler.unlink()
    code, out, err = run(tmp_path, *command)
    assert code == 0, err
    assert "1 to resume" in out
