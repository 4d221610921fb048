"""One driver a sweep at a time: its lease, a file in the sweep's folder."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any
from uuid import uuid4

from ray_ssl.errors import UserError
from ray_ssl.storage import Storage, seal

LEASE = "lease.json"

LEASE_BEAT_SECONDS = 10.0
LEASE_STALE_SECONDS = 60.0


class Lease:
    """One driver a sweep: held while the `with` block runs, renewed by a thread.

    A lease whose holder is a dead process of this machine, or which was not renewed for a minute, is taken over.
    """

    def __init__(self, sweep: Storage) -> None:
        self.sweep = sweep
        self.token = uuid4().hex
        self.since = time.time()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        """Takes the lease.

        Raises:
            UserError: Another driver holds it.
        """
        while not self.sweep.create(LEASE, self._content()):
            holder = self.sweep.read_sealed(LEASE)
            if holder is not None and not _is_stale(holder):
                age = time.time() - holder["since"]
                raise UserError(
                    f"another driver is at work on this sweep: process {holder['pid']} on {holder['host']}, for "
                    f"{age:.0f} s; wait for it or stop it, or give another --name"
                )
            self._remove_stale(holder)
        self._thread.start()
        return self

    def _remove_stale(self, holder: dict[str, Any] | None) -> None:
        """Deletes a stale lease; of several drivers that found it stale, one does, and never a newer lease."""
        claim = f"lease-claim-{holder['token'] if holder else 'torn'}.json"
        if not self.sweep.create(claim, self._content()):
            other = self.sweep.read_sealed(claim)
            if other is not None and _is_stale(other):
                self.sweep.delete(claim)
            time.sleep(0.1)
            return
        if self.sweep.read_sealed(LEASE) == holder:
            self.sweep.delete(LEASE)
        self.sweep.delete(claim)

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.is_held():
            self.sweep.delete(LEASE)

    def is_held(self) -> bool:
        """Returns whether the lease is still ours; another driver may have taken it while we were suspended."""
        holder = self.sweep.read_sealed(LEASE)
        return holder is not None and holder["token"] == self.token

    def _renew(self) -> None:
        while not self._stop.wait(LEASE_BEAT_SECONDS):
            if not self.is_held():
                return
            self.sweep.write(LEASE, self._content())

    def _content(self) -> bytes:
        place = {"host": socket.gethostname(), "pid": os.getpid(), "boot": _boot_time()}
        return seal({**place, "token": self.token, "since": self.since, "renewed": time.time()})


def driver_at_work(sweep: Storage) -> dict[str, Any] | None:
    """Returns who holds the lease of a sweep ("host", "pid", "since" in seconds since 1970), None where nobody does."""
    holder = sweep.read_sealed(LEASE)
    return None if holder is None or _is_stale(holder) else holder


def _is_stale(holder: dict[str, Any]) -> bool:
    if holder["host"] == socket.gethostname():
        if holder["boot"] != _boot_time():
            return True
        try:
            os.kill(holder["pid"], 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # alive, another user's
    return time.time() - holder["renewed"] > LEASE_STALE_SECONDS


def _boot_time() -> str:
    """Identifies this machine's boot, so that a reused process number is not taken for the holder."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""
