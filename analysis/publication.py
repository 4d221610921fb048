"""What was drawn and logged of a sweep, so that a command finds out in a moment that nothing is left to do.

`published.json` beside the trials: what the figures were drawn from, and what arrived at which MLflow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from pyarrow import fs

from analysis.stored import KINDS
from ray_ssl.follower import STATUS
from ray_ssl.ledger import COMMANDS, DATA, FAILED, SWEEP, AnyTrial, Ledger, TrialState
from ray_ssl.mlflow_probe import run_statuses
from ray_ssl.mlflow_store import PARENT
from ray_ssl.storage import Storage

PUBLISHED: Final = "published.json"
FIGURES: Final = "figures"
REPORT: Final = "report.html"
TRACKING: Final = "tracking.json"
_FIGURE_CODE: Final = Path(__file__).with_name("figures")
_REPORT_PARTS: Final = (".py", ".html", ".css", ".js")


def figures_folder(sweeps: Sequence[str], trials: Sequence[str] = ()) -> str:
    """Returns where in the first sweep's folder belongs what is made of several, or of some trials alone.

    A sweep's own figures are what its report shows.

    Args:
        sweeps: Their folders as typed.
        trials: Keys or their beginnings; none: all.
    """
    others = [folder.partition("?")[0].rstrip("/").rpartition("/")[2] for folder in sweeps[1:]]
    words = [*(["with", *others] if others else []), *(["trials", *trials] if trials else [])]
    return "/".join([FIGURES, *(["-".join(words)] if words else [])])


def drawn_from(sweep: Storage, only: AnyTrial | None) -> str:
    """Returns a hash of what the figures depend on: the parts of the tables, the code, the trial drawn alone."""
    folders = [fs.FileSelector(sweep.path(kind.name), allow_not_found=True) for kind in KINDS]
    found = [info for folder in folders for info in sweep.filesystem.get_file_info(folder)]
    parts = sorted((info.base_name, info.size, info.mtime_ns) for info in found)
    code = [path.read_text() for path in sorted(_FIGURE_CODE.rglob("*.py"))]
    return _digest([parts, code, only.key if only else ""])


def record_drawn(sweep: Storage, drawn: str, figures: list[str], num_rows: int, only: AnyTrial | None) -> None:
    """Remembers what the figures were drawn from."""
    alone = only.key if only else ""
    sweep.write_sealed(PUBLISHED, {"drawn": drawn, "figures": figures, "num_rows": num_rows, "only": alone})


def drawn_alone(ledger: Ledger) -> AnyTrial | None:
    """Returns the trial that the figures were drawn of alone; None where they are of all, or nobody recorded it."""
    key = (ledger.sweep.read_sealed(PUBLISHED) or {}).get("only")
    return next((trial for trial in ledger.all_trials() if trial.key == key), None)


def fetch_figures(sweep: Storage, drawn: str, folder: Path) -> bool:
    """Copies the figures into a local folder where they are up to date and all there; returns whether they are."""
    record = sweep.read_sealed(PUBLISHED) or {}
    if record.get("drawn") != drawn or not set(record["figures"]) <= set(sweep.names(FIGURES)):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    for name in record["figures"]:
        (folder / name).write_bytes(sweep.read(f"{FIGURES}/{name}"))
    return True


def report_from(ledger: Ledger, drawn: str) -> str:
    """Returns a hash of what the report depends on: what `drawn_from` covers, how the trials ended, records, code.

    Args:
        drawn: See `drawn_from`.
    """
    code = [p.read_text() for p in sorted(Path(__file__).parent.rglob("*")) if p.suffix in _REPORT_PARTS]
    records = [ledger.sweep.read_sealed(name) for name in (SWEEP, COMMANDS, DATA, TRACKING)]
    return _digest([drawn, _endings(ledger), records, code])


def record_report(sweep: Storage, made_from: str) -> None:
    """Remembers what the report was made from; it is not logged yet."""
    record = sweep.read_sealed(PUBLISHED) or {}
    kept = {name: value for name, value in record.items() if name != "sent"}
    sweep.write_sealed(PUBLISHED, kept | {"report": made_from})


def has_report(sweep: Storage, made_from: str) -> bool:
    """Returns whether the report is there and up to date."""
    record = sweep.read_sealed(PUBLISHED) or {}
    return record.get("report") == made_from and sweep.exists(REPORT)


class Destination(Protocol):
    """Where a sweep is logged; see `analysis.tracked.Tracking`."""

    @property
    def uri(self) -> str: ...
    @property
    def experiment(self) -> str: ...
    @property
    def sweep(self) -> str: ...


def record_sent(ledger: Ledger, to: Destination, params: dict[str, str], parent: str) -> None:
    """Remembers that everything arrived.

    Args:
        params: Of the sweep's run.
        parent: Status of the sweep's run.
    """
    record = ledger.sweep.read_sealed(PUBLISHED)
    if record is not None:
        sent = {"what": _to_send(ledger, to, params), "parent": parent}
        ledger.sweep.write_sealed(PUBLISHED, record | {"sent": sent})


def published_rows(ledger: Ledger, drawn: str, to: Destination, params: dict[str, str]) -> int | None:
    """Returns the number of measurements, or None unless all is drawn, logged, and still there.

    Args:
        drawn: See `drawn_from`.
        params: Of the sweep's run.
    """
    record = ledger.sweep.read_sealed(PUBLISHED) or {}
    sent = record.get("sent")
    if sent is None or record.get("drawn") != drawn or sent["what"] != _to_send(ledger, to, params):
        return None
    if not set(record["figures"]) <= set(ledger.sweep.names(FIGURES)):
        return None
    if not has_report(ledger.sweep, report_from(ledger, drawn)):
        return None
    there = run_statuses(to.uri, to.experiment, to.sweep)
    if there is None or there.get(PARENT) != sent["parent"]:
        return None
    wanted = {trial.key: STATUS.get(ledger.state(trial.key)) for trial in ledger.all_trials()}
    missing = [key for key, status in wanted.items() if status is not None and there.get(key) != status]
    return None if missing else record["num_rows"]


def _to_send(ledger: Ledger, to: Destination, params: dict[str, str]) -> str:
    """A hash of what MLflow gets of a sweep, besides what `drawn_from` covers, and of where it gets it."""
    return _digest([to.uri, to.experiment, *_endings(ledger), params])


def _endings(ledger: Ledger) -> tuple[dict[str, str], dict[str, str | None]]:
    """By trial, where it stands; and why it failed."""
    states = {trial.key: ledger.state(trial.key) for trial in ledger.all_trials()}
    reasons = {k: (ledger.record(k, FAILED) or {}).get("reason") for k, s in states.items() if s is TrialState.FAILED}
    return {key: state.value for key, state in states.items()}, reasons


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
