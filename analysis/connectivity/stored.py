"""Errors of groups, kept in the folder of a sweep, so that an interrupted measurement goes on and none is repeated.

    SWEEP/connectivity.safetensors    float64: "SEED/between" [G, G] and "SEED/within" [G]; NaN is not measured yet
    SWEEP/connectivity.json           sealed: of which images, with which settings, the sha256 of the file above

The record is written last and is the commit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.numpy import load, save

from analysis.connectivity.groups import GroupErrors
from ray_ssl.storage import Storage

ERRORS: Final = "connectivity.safetensors"
RECORD: Final = "connectivity.json"


def read_errors(sweep: Storage, about: Mapping[str, Any]) -> dict[int, GroupErrors]:
    """Returns the errors by seed; none where there are none, torn or altered ones, or ones of something else.

    Args:
        sweep: Its folder.
        about: JSON values that identify images and settings.
    """
    record = sweep.read_sealed(RECORD)
    if record is None or record["about"] != about or not sweep.exists(ERRORS):
        return {}
    content = sweep.read(ERRORS)
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        return {}
    try:
        found = load(content)
    except SafetensorError:  # though the sum is right
        return {}
    return {seed: GroupErrors(found[f"{seed}/between"], found[f"{seed}/within"]) for seed in record["seeds"]}


def write_errors(sweep: Storage, about: Mapping[str, Any], errors: Mapping[int, GroupErrors]) -> None:
    """Writes errors by seed; those that were there are replaced."""
    content = save({f"{seed}/{name}": v for seed, one in errors.items() for name, v in one._asdict().items()})
    sweep.write(ERRORS, content)
    digest = hashlib.sha256(content).hexdigest()
    sweep.write_sealed(RECORD, {"sha256": digest, "seeds": sorted(errors), "about": dict(about)})
