"""Names of the folders of studies: what is asked, of which data, and a hash of the options that identify the study."""

from __future__ import annotations

import hashlib
import json
import os
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
