"""What can be deleted of a sweep without losing a measurement or a resume: only what no command would ever read.

Checkpoints for analysis are never among it, measured or not: the next metric is computed from them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import NamedTuple

from ray_ssl.checkpoints import MANIFEST, SET_ASIDE, DamagedCheckpointError, is_unfinished, load_checkpoint
from ray_ssl.lease import Lease
from ray_ssl.ledger import CONFIG, FAILED, STOPPED, Ledger, TrialState
from ray_ssl.storage import Storage, StoredFile
from ray_ssl.sweep.overview import bytes_text, driver_text, table
from ray_ssl.trial import ERROR_LOG

STALE_SECONDS = 3600.0
"""Age from which a temporary file is that of a killed command: they live for milliseconds."""
_TEMPORARY = re.compile(r"(?:.*/)?(?:\.[^/]+\.[0-9a-f]{32}|\.write-check-\d+|lease-claim-[^/]+\.json)")


class Garbage(NamedTuple):
    """Files of one kind in one folder, which go together.

    Attributes:
        why: Why they can be deleted.
        folder: That is deleted, or the file; relative to the sweep's folder.
        files: In it.
    """

    why: str
    folder: str
    files: list[StoredFile]


def collect(ledger: Ledger, delete: bool) -> str:
    """Lists or deletes the garbage of a sweep; returns what there is or was. A sweep with a driver is left alone.

    Raises:
        UserError: A driver began at this moment.
    """
    driver, name = driver_text(ledger), ledger.sweep.name
    if driver:
        return f"{name}: left alone, a driver is at work: {driver}"
    if not delete:
        return _report(name, list(find(ledger)), "could be deleted (--delete does it)")
    with Lease(ledger.sweep):
        found = list(find(ledger))
        for one in found:
            is_file = [file.name for file in one.files] == [one.folder]
            (ledger.sweep.delete if is_file else ledger.sweep.delete_folder)(one.folder)
    return _report(name, found, "deleted")


def find(ledger: Ledger) -> Iterator[Garbage]:
    """Yields what can be deleted; only where no driver is at work."""
    files = ledger.sweep.files()
    now = time.time()
    for file in files:
        if _TEMPORARY.fullmatch(file.name) and now - file.modified > STALE_SECONDS:
            yield Garbage("temporary file of a killed command", file.name, [file])
    for trial in ledger.all_trials():
        mine = [file for file in files if file.name.startswith(f"{trial.key}/")]
        yield from _of_trial(ledger, trial.key, mine)
    for key in ledger.unreadable_trials():
        mine = [file for file in files if file.name.startswith(f"{key}/")]
        if {file.name for file in mine} <= {f"{key}/{CONFIG}"}:
            yield Garbage("trial that was killed before it began", key, mine)


def _of_trial(ledger: Ledger, key: str, files: list[StoredFile]) -> Iterator[Garbage]:
    trial, is_done = ledger.trial(key), ledger.state(key) is TrialState.DONE
    for kind in ("state", "checkpoints"):
        for folder, inside in _folders(files, f"{key}/{kind}"):
            names = {file.name.removeprefix(f"{folder}/") for file in inside}
            if kind == "state" and is_done:
                yield Garbage("training state of a finished trial", folder, inside)
            elif is_unfinished(names) if kind == "state" else MANIFEST not in names:
                yield Garbage(f"{kind.removesuffix('s')} whose writing was killed", folder, inside)
        for folder, inside in _folders(files, f"{key}/{SET_ASIDE}/{kind}"):
            # A checkpoint's place among the damaged says that it is lost, until it is back.
            if kind == "state" or _is_whole(trial, f"{kind}/{folder.rpartition('/')[2]}"):
                yield Garbage("damaged, set aside, no longer needed", folder, inside)
    for name in (FAILED, STOPPED, ERROR_LOG) if is_done else ():
        yield from (Garbage("failure that was overcome", f.name, [f]) for f in files if f.name == f"{key}/{name}")


def _folders(files: list[StoredFile], parent: str) -> list[tuple[str, list[StoredFile]]]:
    """The folders directly inside another that hold any file, each with its files."""
    found: dict[str, list[StoredFile]] = {}
    for file in files:
        inner = file.name.removeprefix(f"{parent}/")
        if inner != file.name and "/" in inner:
            found.setdefault(f"{parent}/{inner.partition('/')[0]}", []).append(file)
    return sorted(found.items())


def _is_whole(trial: Storage, folder: str) -> bool:
    try:
        load_checkpoint(trial, folder)
    except DamagedCheckpointError:
        return False
    return True


def _report(sweep: str, found: list[Garbage], what: str) -> str:
    if not found:
        return f"{sweep}: nothing to delete"
    rows = [[one.folder, bytes_text(sum(file.size for file in one.files)), one.why] for one in found]
    total = bytes_text(sum(file.size for one in found for file in one.files))
    lines = "\n".join(f"  {line}" for line in table(rows).splitlines())
    return f"{sweep}: {total} in {len(found)} place(s) {what}\n{lines}"
