"""Where sweeps and trials are found in a storage folder."""

from __future__ import annotations

import shlex

from ray_ssl.errors import UserError, did_you_mean
from ray_ssl.ledger import MEASUREMENTS, SWEEP, AnyTrial, Ledger, no_sweep
from ray_ssl.storage import Storage


def storage_of_sweeps(uri: str) -> Storage:
    """Returns the storage folder.

    Raises:
        UserError: There is none, or it is a sweep's own folder.
    """
    storage = Storage.at(uri)
    if storage.exists(SWEEP):
        parent = storage.ancestor(1)
        raise UserError(f"{uri!r} is a sweep's own folder: give --storage {parent.uri}, and {storage.name} as SWEEP")
    if not storage.exists(""):
        raise UserError(f"there is no folder {uri!r}: give the --storage that the sweeps were given")
    return storage


def without_sweep(storage: Storage) -> list[Storage]:
    """Returns the folders in a storage folder that hold measurements and no sweep, sorted by name."""
    folders = [storage.child(name) for name in storage.names()]
    return [folder for folder in folders if folder.exists(MEASUREMENTS) and not folder.exists(SWEEP)]


def sweeps(storage: Storage, name: str | None = None, beside: bool = False) -> list[Ledger]:
    """Returns the sweeps in a storage folder, sorted by name, or the one of that name.

    Args:
        storage: The folder.
        name: Of a sweep in it; None: all.
        beside: There is something else to tell of, so that there may be none.

    Raises:
        UserError: There is none, or none of that name.
    """
    names = [child for child in storage.names() if storage.exists(f"{child}/{SWEEP}")]
    if name is not None and name not in names and storage.exists(f"{name}/{MEASUREMENTS}"):
        raise no_sweep(storage.child(name), storage.address(name))
    if not names and not beside:
        raise UserError(f"there is no sweep in {storage.uri}: give the --storage that the sweeps were given")
    if name is not None and name not in names:
        raise UserError(f"there is no sweep {name!r} in {storage.uri}{did_you_mean(name, names)}")
    return [Ledger(storage.child(child)) for child in ([name] if name is not None else names)]


def trials(storage: Storage, key: str) -> list[tuple[Ledger, AnyTrial]]:
    """Returns the trial of a key in each sweep that has it.

    Args:
        key: The key, or letters that it begins with.

    Raises:
        UserError: There is none, or several keys begin so.
    """
    ledgers = sweeps(storage)
    found = [(ledger, trial) for ledger in ledgers for trial in ledger.all_trials() if trial.key.startswith(key)]
    keys = sorted({trial.key for _, trial in found})
    if not keys:
        torn = [ledger.sweep.name for ledger in ledgers if any(k.startswith(key) for k in ledger.unreadable_trials())]
        raise UserError(
            f"the config.json of trial {key!r} in sweep {torn[0]} is torn or altered; the command that ran it writes "
            "it again"
            if torn
            else f"there is no trial {key!r} in {storage.uri}: python -m ray_ssl.sweep show --storage "
            f"{shlex.quote(storage.uri)} lists them"
        )
    if len(keys) > 1:
        raise UserError(f"{len(keys)} trials begin with {key!r}: {', '.join(keys[:5])}{' ...' if keys[5:] else ''}")
    return found
