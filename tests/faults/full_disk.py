"""A disk that becomes full: the last good state is intact, the message says so, and it goes on after space is made.

A trial trains on a small tmpfs (which needs the right to mount one), and somebody else takes the space at some epoch.
"""

from __future__ import annotations

import random
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import ray_ssl.lease
from ray_ssl.checkpoints import (
    DamagedCheckpointError,
    checkpoint_folder,
    load_checkpoint,
    load_newest_state,
    saved_epochs,
)
from ray_ssl.data.base import Dataset
from ray_ssl.lease import LEASE, Lease
from ray_ssl.ledger import Ledger, TrialState
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage, describe_os_error
from tests.faults.counts import Counts
from tests.ray_ssl.test_killed import equal
from tests.ray_ssl.test_pretrain import BATCH_SIZE, config, images

LETTER = "c"
NUM_CASES = {False: 3, True: 40}
NUM_LEASES = {False: 1, True: 5}
NUM_EPOCHS = 6
SIZE_BYTES = 2_000_000
PAGE = 4096


def run(full: bool, seed: int) -> Counts:
    """Fills disks under trials and under leases."""
    counts, rng = Counts(), random.Random(seed)
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name)) as disk:
        if disk is None:
            counts.notes.append("left out: it needs the right to mount a small disk")
            return counts
        dataset = Dataset("tiny", images(2 * BATCH_SIZE, 0), images(40, 1))
        wanted = config("vicreg", training__epochs=NUM_EPOCHS, training__num_checkpoints=NUM_EPOCHS + 1)
        with tempfile.TemporaryDirectory() as whole:
            pretrain(wanted, dataset, Storage.at(whole), lambda metrics: None, state_seconds=0)
            for number in range(NUM_CASES[full]):
                epoch, left = rng.randrange(1, NUM_EPOCHS), rng.randrange(0, 20) * PAGE
                case = _trial(wanted, dataset, disk / f"trial{number}", Storage.at(whole), epoch, left)
                counts.case(f"full after epoch {epoch} but for {left} bytes", case)
        for number in range(NUM_LEASES[full]):
            counts.case(f"lease {number}", _lease(disk / f"lease{number}"))
    return counts


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of its own; None where it cannot be mounted."""
    options = ["-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, left: int = 0) -> Path:
    """Somebody else takes the space, but for `left` bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(PAGE)):
                pass
        except OSError:
            file.truncate(max(0, file.tell() - left))
    return filler


def _trial(wanted: Any, dataset: Dataset, folder: Path, whole: Storage, epoch: int, left: int) -> str | None:
    trial, filler = Storage.at(folder), Path()

    def report(metrics: dict[str, float]) -> None:
        nonlocal filler
        if metrics["epoch"] == epoch and not filler.name:
            filler = fill(folder.parent, left)

    try:
        pretrain(wanted, dataset, trial, report, state_seconds=0)
        said = ""
    except OSError as error:
        said = describe_os_error(error)
    problem = None
    if said and said != "the disk is full; make space and run the same command again":
        problem = f"said {said!r}"
    warnings: list[str] = []
    if said:  # what is read may be set aside, for which there is no space now
        for saved in saved_epochs(trial):
            if saved > epoch:  # the one that was being written: it may be damaged, which is noticed
                with suppress(DamagedCheckpointError):
                    load_checkpoint(trial, checkpoint_folder(saved))
            elif not equal(load_checkpoint(trial, checkpoint_folder(saved)).model, _model(whole, saved)):
                problem = f"the checkpoint of epoch {saved} differs"
    filler.unlink(missing_ok=True)
    state = load_newest_state(trial, warnings.append)
    if said and (state is None or state.card["epoch"] < epoch):
        problem = f"the state of epoch {epoch} is lost"
    if any("goes on from the state before it" not in text for text in warnings):  # the one that was being written
        problem = f"said {warnings}"
    pretrain(wanted, dataset, trial, lambda metrics: None, state_seconds=0)
    if saved_epochs(trial) != saved_epochs(whole) or not equal(
        load_checkpoint(trial, checkpoint_folder(NUM_EPOCHS)).model, _model(whole, NUM_EPOCHS)
    ):
        problem = problem or "it did not end as the uninterrupted one"
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    return problem


def _model(trial: Storage, epoch: int) -> Any:
    return load_checkpoint(trial, checkpoint_folder(epoch)).model


def _lease(folder: Path) -> str | None:
    """A driver keeps its lease while the disk is full, and no record is half written over a whole one."""
    lost: list[str] = []
    ledger, key = Ledger(Storage.at(folder)), "0" * 16
    with mock.patch.object(ray_ssl.lease, "LEASE_BEAT_SECONDS", 0.01), Lease(ledger.sweep, lost.append) as lease:
        first = ledger.sweep.read_sealed(LEASE)
        filler = fill(folder.parent)
        for _ in range(30):
            if not lease.is_held():
                return "the lease was lost"
            lease._stop.wait(0.01)
        try:
            ledger.end(key, "failed.json", {"reason": "x" * 10 * PAGE})
            return "the disk was not full"
        except OSError:
            state = ledger.state(key)
        filler.unlink()
        lease._stop.wait(0.2)
        renewed = ledger.sweep.read_sealed(LEASE)
        if lost or first is None or renewed is None or renewed["renewed"] <= first["renewed"]:
            return f"the lease was not renewed after space was made: {lost}"
    return None if state is TrialState.NEW else f"a record that was not written counts as {state.value}"
