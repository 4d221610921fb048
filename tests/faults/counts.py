"""What a fault's cases came to."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Final

MAX_SHOWN: Final = 5


@dataclass
class Counts:
    """Counts of one fault.

    Attributes:
        cases: Faults that were made.
        caught: Those that were noticed, where there is something to notice; else those that did no harm.
        violations: One line for every case in which what is promised did not hold, with what makes it again.
        notes: What else was measured.
        seconds: It took.
    """

    cases: int = 0
    caught: int = 0
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def case(self, what: str, problem: str | None) -> None:
        """Counts one case.

        Args:
            what: Describes it, so that it can be made again.
            problem: What did not hold, or None.
        """
        self.cases += 1
        if problem is None:
            self.caught += 1
        else:
            self.violations.append(f"{what}: {problem}")
            print(f"VIOLATION {self.violations[-1]}", file=sys.stderr, flush=True)  # a full run takes long


def faults() -> dict[str, ModuleType]:
    """Returns the modules of all faults by letter: each has a LETTER, a docstring and `run(full, seed) -> Counts`."""
    package = __name__.rpartition(".")[0]
    names = [info.name for info in iter_modules(import_module(package).__path__) if not info.name.startswith("_")]
    modules = [import_module(f"{package}.{name}") for name in names if not name.startswith("test_")]
    return dict(sorted((module.LETTER, module) for module in modules if hasattr(module, "LETTER")))
