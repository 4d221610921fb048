"""What every sweep's command is asked besides what it trains: where results go, how it runs, on which machine."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ray_ssl.errors import UserError
from ray_ssl.naming import NOT_IN_NAMES

if TYPE_CHECKING:  # it takes a while to import
    from ray_ssl.cluster import MachineOptions

_MAX_CPUS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The part of a request that all kinds of sweeps share.

    Attributes:
        machine: Where it runs.
        storage: Folder of all sweeps.
        name: Of the sweep's folder in it.
        tracking_uri: Of MLflow; None: the SQLite file in `storage`.
        experiment: Of MLflow.
        command: The line that was typed.
        search: "grid", or what suggests trials.
        scheduler: "none", or what stops weak trials early.
    """

    machine: MachineOptions
    storage: str
    name: str
    tracking_uri: str | None
    experiment: str
    retry_failed: bool
    dry_run: bool
    command: str
    search: str = "grid"
    scheduler: str = "none"


def run_options(sweep: str, name: str, given: dict[str, Any], typed: Sequence[str]) -> dict[str, Any]:
    """Returns what the flags of `add_run_flags` say, as arguments of `RunOptions`.

    Args:
        sweep: Name of the sweep.
        name: Of its folder.
        given: Values of all flags.
        typed: The words of the command's flags.

    Raises:
        UserError: A folder, an address or a number that cannot be; nothing was made.
    """
    from ray_ssl.cluster import MachineOptions

    tracking_uri = _check_places(given["storage"], given["name"], given["tracking_uri"])
    machine = {name: given[name] for name in ("address", "num_cpus", "cpus_per_worker", "state_seconds")}
    return {
        "machine": MachineOptions(**machine, gpus_per_worker=given["gpus_per_worker"]), "storage": given["storage"],
        "name": name, "tracking_uri": tracking_uri, "experiment": given["experiment"] or sweep,
        "retry_failed": given["retry_failed"], "dry_run": given["dry_run"], "command": shlex.join([*program(), *typed]),
    }  # fmt: skip


def program() -> list[str]:
    """What was typed before the flags."""
    return [*(["python"] if sys.argv[0].endswith(".py") else []), sys.argv[0]]


def _check_places(storage: str, name: str | None, tracking_uri: str | None) -> str | None:
    """Returns the MLflow address that was given, its path made absolute.

    Raises:
        UserError: It or the sweep's folder cannot be; nothing was made.
    """
    from ray_ssl.mlflow_client import checked_address, default_store
    from ray_ssl.storage import Storage

    if name is not None and (name.strip() in ("", ".", "..") or set(name) & set(NOT_IN_NAMES)):
        raise UserError(f"--name is one folder inside --storage, without {' '.join(NOT_IN_NAMES)}, given {name!r}")
    if tracking_uri is not None:
        return checked_address(tracking_uri)
    address, _ = default_store(Storage.at(storage))
    try:
        checked_address(address)
    except UserError as error:
        raise UserError(f"{error}: give another --storage, or --tracking-uri sqlite:////FOLDER/mlflow.db") from None
    return None


def check_cpus(given: dict[str, Any]) -> None:
    """Raises UserError for no CPUs, or more than there can be."""
    for name in ("cpus_per_worker", "num_cpus"):
        if given[name] is not None and not 1 <= given[name] <= _MAX_CPUS:
            raise UserError(f"--{name.replace('_', '-')} is at least 1 and at most {_MAX_CPUS}, given {given[name]}")
