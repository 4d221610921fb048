"""Names of studies' folders (what is asked, of which data, a hash of what identifies the study), and of options."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # it takes a while to import
    from ray_ssl.data_config import DataConfig

NOT_IN_NAMES: Final = "/\\?#%"
"""They separate the parts of a path or a URI."""


def study_folder(question: str, data: DataConfig, options: dict[str, Any]) -> str:
    """Returns the name of a study's folder, "method-cifar100-c8fda2"; other options give another one."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:6]
    source = data.source if data.path == "" else os.path.basename(data.path.rstrip("/")) or "data"
    source = "".join("_" if letter in NOT_IN_NAMES else letter for letter in source)
    return f"{question}-{source}-{digest}"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested options by dotted path, e.g. {"backbone.depth": 5}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
