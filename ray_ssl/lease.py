"""One driver a sweep at a time: its lease, a file in the sweep's folder.

A driver that was suspended finds its lease taken over when it wakes up: it ends, and whatever it and its trials write
meanwhile through their `LeasedStorage` is refused.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from ray_ssl import interrupts
from ray_ssl.errors import UserError
from ray_ssl.storage import Storage, seal, unseal

LEASE = "lease.json"

LEASE_BEAT_SECONDS = 10.0
LEASE_STALE_SECONDS = 60.0
SETTLE_SECONDS = 2.0
"""After which an object store shows which of two drivers, that both found no lease, wrote the last one."""


class LostLeaseError(OSError):
    """Another driver has taken the sweep over."""


@dataclass(frozen=True)
class LeasedStorage(Storage):
    """Files of a sweep that can be written only while its lease is held; may travel to other processes.

    Attributes:
        sweep_uri: Where the lease is.
        token: Of the lease.
    """

    sweep_uri: str
    token: str

    def check_may_write(self) -> None:
        """Raises LostLeaseError where the lease is no longer held."""
        if not _is_held(Storage(self.sweep_uri), self.token):
            raise LostLeaseError(
                f"another driver has taken the sweep in {self.sweep_uri} over: nothing more is written"
            )


class Lease:
    """One driver a sweep: held while the `with` block runs, renewed by a thread.

    A lease whose holder is a dead process of this machine, or which was not renewed for a minute, is taken over.

    Args:
        sweep: The sweep's folder.
        on_loss: Called by the thread, with a line for people, when another driver has taken the lease over.
    """

    def __init__(self, sweep: Storage, on_loss: Callable[[str], None] = interrupts.abandon) -> None:
        self.sweep = sweep
        self.token = uuid4().hex
        self.since = time.time()
        self._on_loss = on_loss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    @property
    def storage(self) -> LeasedStorage:
        """The sweep's folder, for whoever may write only while the lease is held."""
        return LeasedStorage(self.sweep.uri, self.sweep.uri, self.token)

    def __enter__(self) -> Lease:
        """Takes the lease.

        Raises:
            UserError: Another driver holds it.
        """
        while not self._take():
            content = self._read()
            if content is None:
                continue
            holder = unseal(content)
            if holder is not None and not _is_stale(holder):
                raise _refusal(holder)
            self._remove_stale(content, holder)
        self._thread.start()
        return self

    def _take(self) -> bool:
        if not self.sweep.create(LEASE, self._content()):
            return False
        if not self.sweep.is_local:
            time.sleep(SETTLE_SECONDS)
        return self.sweep.is_local or self.is_held()

    def _read(self) -> bytes | None:
        try:
            return self.sweep.read(LEASE)
        except FileNotFoundError:
            return None

    def _remove_stale(self, content: bytes, holder: dict[str, Any] | None) -> None:
        """Deletes a stale lease; of several drivers that found it stale, one does, and never a newer lease."""
        claim = f"lease-claim-{holder['token'] if holder else 'torn'}.json"
        if not self.sweep.create(claim, self._content()):
            other = self.sweep.read_sealed(claim)
            if other is not None and _is_stale(other):
                self.sweep.delete(claim)
            time.sleep(0.1)
            return
        if self._read() == content:
            self.sweep.delete(LEASE)
        self.sweep.delete(claim)

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.is_held():
            self.sweep.delete(LEASE)

    def is_held(self) -> bool:
        """Returns whether the lease is still ours; another driver may have taken it while we were suspended."""
        return _is_held(self.sweep, self.token)

    def _renew(self) -> None:
        while not self._stop.wait(LEASE_BEAT_SECONDS):
            try:
                if not self.is_held():
                    return self._on_loss(self._loss())
                self.sweep.replace(LEASE, self._content())
            except OSError:  # a full disk, a server that does not answer: there are five more beats
                continue

    def _loss(self) -> str:
        holder = self.sweep.read_sealed(LEASE)
        who = f"process {holder['pid']} on {holder['host']}" if holder else "another driver"
        return f"{who} has taken this sweep over while this process was suspended; it ends here"

    def _content(self) -> bytes:
        place = {"host": socket.gethostname(), "pid": os.getpid(), "boot": _boot_time()}
        return seal({**place, "token": self.token, "since": self.since, "renewed": time.time()})


def refuse_beside_another(sweep: Storage) -> None:
    """Raises UserError where another driver is at work, before anything that takes long."""
    holder = driver_at_work(sweep)
    if holder is not None:
        raise _refusal(holder)


def _refusal(holder: dict[str, Any]) -> UserError:
    return UserError(
        f"another driver is at work on this sweep: process {holder['pid']} on {holder['host']}, for "
        f"{time.time() - holder['since']:.0f} s; wait for it or stop it, or give another --name"
    )


def _is_held(sweep: Storage, token: str) -> bool:
    """Whether the lease has this token; one that cannot be read is looked at again."""
    for pause in (0.05, 0.2, 0.8, 0.0):
        holder = sweep.read_sealed(LEASE)
        if holder is not None:
            return holder["token"] == token
        time.sleep(pause)
    return False


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
