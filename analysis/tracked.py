"""Where a sweep is logged after its folder was moved or copied: a copy must not write into the original's runs.

`tracking.json` in the folder says where it is logged, and where the folder stood then. One that is gone from there was
moved, and is the same sweep; where the same sweep still stands there, this folder is a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

from analysis.publication import TRACKING
from analysis.survey import sweep_name
from ray_ssl.errors import UserError
from ray_ssl.ledger import SWEEP, Ledger
from ray_ssl.mlflow_client import default_store, shown, ui_command
from ray_ssl.mlflow_probe import run_statuses
from ray_ssl.mlflow_store import PARENT
from ray_ssl.storage import Storage
from ray_ssl.tracking import Tracker

_SQLITE: Final = "sqlite:///"


@dataclass(frozen=True)
class Tracking:
    """Where a sweep is logged."""

    uri: str
    experiment: str
    sweep: str
    artifact_root: str | None

    @classmethod
    def named(cls, storage: Storage, ledger: Ledger, uri: str | None, experiment: str) -> Tracking:
        """Returns the given server or database, or the SQLite file in the storage folder."""
        artifact_root = None
        if uri is None:
            uri, artifact_root = default_store(storage)
        return cls(uri, experiment, sweep_name(ledger.sweep), artifact_root)

    @classmethod
    def recalled(cls, ledger: Ledger, uri: str | None) -> Tracking:
        """Returns where the sweep is logged, or the server or database that is given.

        A copy of another folder gets a store beside it, and says so, and what logs into the original's runs instead.

        Raises:
            UserError: None is given, and the sweep does not say.
        """
        sweep = ledger.sweep
        known = sweep.read_sealed(TRACKING)
        name = sweep_name(sweep)
        if known is None and uri is None:
            raise UserError(f"{sweep.uri} does not say where it is logged; give --tracking-uri")
        if known is None or uri is not None:
            return cls(uri or "", known["experiment"] if known else "analysis", name, None)
        first = original(sweep, known)
        store = _recalled(sweep, known) if first is None else default_store(sweep.ancestor(1))
        if first is not None and store[0] == known["uri"] and first.name == name:
            raise UserError(f"{shown(sweep.uri)} is a copy of {shown(first.uri)}, whose runs are in {shown(store[0])}: "
                            "give it a store of its own, --tracking-uri sqlite:////FOLDER/mlflow.db")  # fmt: skip
        if first is not None:
            print(f"note: this folder is a copy of {shown(first.uri)}: it is logged on its own, at {shown(store[0])}; "
                  f"--tracking-uri {shown(known['uri'])} logs it into the original's runs", flush=True)  # fmt: skip
        return cls(store[0], known["experiment"], name, store[1])

    def remember(self, ledger: Ledger) -> None:
        """Writes where the sweep is logged, for later analyses; says where it shares the runs of another folder."""
        known = {"uri": self.uri, "experiment": self.experiment, "artifact_root": self.artifact_root,
                 "folder": place(ledger.sweep)}  # fmt: skip
        before = ledger.sweep.read_sealed(TRACKING)
        if before == known:
            return
        shares = before is not None and all(before[name] == known[name] for name in ("uri", "experiment"))
        if before is not None and shares and (first := original(ledger.sweep, before)) is not None:
            print(f"note: this folder is a copy of {shown(first.uri)}: both are logged into the same runs of "
                  f"experiment {self.experiment}; another --experiment keeps them apart", flush=True)  # fmt: skip
        ledger.sweep.write_sealed(TRACKING, known)

    def connect(self, owner: bool = True, may_send: Callable[[], bool] = lambda: True) -> Tracker:
        """Returns a connected tracker; for the arguments see there. Raises UserError where no server answers."""
        tracker = Tracker(self.uri, self.experiment, self.sweep, self.artifact_root, may_send)
        tracker.connect(owner)
        return tracker

    @property
    def shown_uri(self) -> str:
        """The address without a password."""
        return shown(self.uri)

    @property
    def ui_command(self) -> str:
        """What a user types to look at the runs."""
        return ui_command(self.uri, self.artifact_root)


def place(folder: Storage) -> str:
    """Returns where a folder is, the same however it is opened: without login and query of an address."""
    if folder.is_local:
        return str(folder.local_path.resolve())
    scheme, address = folder.uri.partition("?")[0].split("://", 1)
    return f"{scheme}://{address.rpartition('@')[2]}"


def original(sweep: Storage, known: dict[str, Any]) -> Storage | None:
    """Returns the folder that a sweep's is a copy of; None where it is none, or where nobody can tell.

    Args:
        sweep: Its folder.
        known: Its `tracking.json`; of one from before it said so, the folder is taken to have stood beside its store.
    """
    stood = known.get("folder") or _beside(known, sweep)
    if stood is None or stood == place(sweep):
        return None
    try:
        there, record = _opened(stood, sweep), sweep.read_sealed(SWEEP)
        if record is None or there.read_sealed(SWEEP) != record or _is_same(sweep, there):
            return None
    except (OSError, ValueError):  # not to be reached from here, or no address
        return None
    return there


def _recalled(sweep: Storage, known: dict[str, Any]) -> tuple[str, str | None]:
    """Returns the store and the artifact root of a sweep that is no copy.

    A default store goes with its results folder: where the folder was moved, what holds the sweep's runs is taken, the
    store that it names or the one beside it; where neither does, the named one if it is still there.
    """
    uri, root = known["uri"], known["artifact_root"]
    if root is None or not uri.startswith(_SQLITE) or (known.get("folder") or _beside(known, sweep)) == place(sweep):
        return uri, root
    beside = default_store(sweep.ancestor(1))
    for store in ((uri, root), beside):
        if PARENT in (run_statuses(store[0], known["experiment"], sweep.name) or {}):
            return store
    return (uri, root) if Path(uri.removeprefix(_SQLITE)).is_file() else beside


def _beside(known: dict[str, Any], sweep: Storage) -> str | None:
    if known["artifact_root"] is None or not known["uri"].startswith(_SQLITE):
        return None
    return str(Path(known["uri"].removeprefix(_SQLITE)).parent.resolve() / sweep.name)


def _opened(stood: str, sweep: Storage) -> Storage:
    """The folder at a `place`, with the login and the query of this one's address where both have one."""
    if "://" not in stood or sweep.is_local:
        return Storage.at(stood)
    scheme, address = stood.split("://", 1)
    mine = urlsplit(sweep.uri)
    login, at, _ = mine.netloc.rpartition("@")
    return Storage.at(f"{scheme}://{login}{at}{address}{'?' * bool(mine.query)}{mine.query}")


def _is_same(one: Storage, other: Storage) -> bool:
    """Whether two addresses lead to one folder, as through a mount: what is written here is seen there."""
    if one.is_local and other.is_local:
        return one.local_path.samefile(other.local_path)
    probe = f".same-folder-{uuid4().hex}"
    one.write(probe, b"x")
    try:
        return other.exists(probe)
    finally:
        one.delete(probe)
