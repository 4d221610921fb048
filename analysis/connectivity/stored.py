"""Errors of groups, kept in the folder of a sweep, so that an interrupted measurement goes on and none is repeated.

    SWEEP/NAME.safetensors    float64: "SEED/between" [G, G] and "SEED/within" [G]; NaN is not measured yet
    SWEEP/NAME.before.safetensors    the same, as it was before
    SWEEP/NAME.json           sealed: of which images, with which settings, the sha256 of one of the files above

NAME is "connectivity" of pairs of classes in two domains, "connectivity-class" and "connectivity-image" of graphs. The
record is written last and is the commit: whoever is killed before it leaves what was committed in the file before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.numpy import load, save

from analysis.connectivity.groups import GroupErrors
from ray_ssl.storage import Storage

PAIRS: Final = "connectivity"
ERRORS: Final = f"{PAIRS}.safetensors"


def record_name(name: str) -> str:
    """Returns the file name of the record."""
    return f"{name}.json"


def read_errors(sweep: Storage, about: Mapping[str, Any], name: str = PAIRS) -> dict[int, GroupErrors]:
    """Returns the errors by seed; none where there are none, torn or altered ones, or ones of something else.

    Args:
        sweep: Its folder.
        about: JSON values that identify images and settings.
        name: Of the files.
    """
    record = sweep.read_sealed(record_name(name))
    return {} if record is None or record["about"] != about else read_recorded(sweep, record, name)


def read_recorded(sweep: Storage, record: Mapping[str, Any], name: str) -> dict[int, GroupErrors]:
    """Returns the errors by seed that a record is of; none where they are torn, altered or not there."""
    content = _committed(sweep, record, name)
    if content is None:
        return {}
    try:
        found = load(content)
    except SafetensorError:  # though the sum is right
        return {}
    return {seed: GroupErrors(found[f"{seed}/between"], found[f"{seed}/within"]) for seed in record["seeds"]}


def _committed(sweep: Storage, record: Mapping[str, Any], name: str) -> bytes | None:
    """The file that a record is of; None where there is none."""
    for file in (f"{name}.safetensors", f"{name}.before.safetensors"):
        content = sweep.read(file) if sweep.exists(file) else b""
        if hashlib.sha256(content).hexdigest() == record["sha256"]:
            return content
    return None


def write_errors(
    sweep: Storage, about: Mapping[str, Any], errors: Mapping[int, GroupErrors], name: str = PAIRS
) -> None:
    """Writes errors by seed; those of this name that were there are replaced."""
    content = save({f"{seed}/{name}": v for seed, one in errors.items() for name, v in one._asdict().items()})
    record = sweep.read_sealed(record_name(name))
    committed = None if record is None else _committed(sweep, record, name)
    if committed is not None:
        sweep.write(f"{name}.before.safetensors", committed)
    sweep.write(f"{name}.safetensors", content)
    digest = hashlib.sha256(content).hexdigest()
    sweep.write_sealed(record_name(name), {"sha256": digest, "seeds": sorted(errors), "about": dict(about)})
