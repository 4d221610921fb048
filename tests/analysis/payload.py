"""A pickle that does harm where it is unpickled: it makes a file."""

from pathlib import Path
from typing import Any


class Payload:
    """Makes `target` when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)
