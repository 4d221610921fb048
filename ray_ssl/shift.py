"""The option `shift` taken apart: how a source and a target domain with shared labels are made."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ray_ssl.errors import did_you_mean

CORRUPTIONS: Final = ("grey", "blur", "edges", "noise", "invert")
"""What can be done to the target's images, see `ray_ssl.data.corruptions`."""
KINDS: Final = ("domains", "subpopulations", "to", *CORRUPTIONS)

_CORRUPTED: Final = re.compile(rf"(.+)-({'|'.join(CORRUPTIONS)}):([-+.\de]+)")


class Shift(NamedTuple):
    """One shift.

    Attributes:
        kind: One of `KINDS`.
        value: Of "domains" the classes, or ""; of "to" the data set of the target; of a corruption its strength.
    """

    kind: str
    value: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Of "domains": those asked for, or none for all."""
        return tuple(self.value.split(",")) if self.kind == "domains" and self.value else ()

    @property
    def target(self) -> str:
        """Of "to": the data set of the target, else the empty string."""
        return self.value if self.kind == "to" else ""

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.kind}:{self.value}" if self.value else self.kind

    @property
    def strength(self) -> float:
        """Of a corruption, 0..1."""
        return float(self.value)


def parse_shift(text: str) -> Shift:
    """Returns a shift that is not none; of a corruption with its strength in one way, so that equal ones have one name.

    Raises:
        ValueError: Unknown, or a value that is missing, too much or out of range.
    """
    kind, colon, value = text.partition(":")
    if kind not in KINDS:
        raise ValueError(f"unknown shift {text!r}{did_you_mean(kind, KINDS)}; there is {', '.join(KINDS)}")
    if kind == "subpopulations" and colon:
        raise ValueError(f"subpopulations takes no value, given {text!r}")
    if kind == "to" and not value:
        raise ValueError("to needs the data set of the target: to:parquet:PATH, to:folder:PATH or to:cifar10")
    if kind in CORRUPTIONS and not _is_share(value):
        raise ValueError(f"{kind} needs a strength of 0 to 1, e.g. {kind}:0.5, given {text!r}")
    if kind in CORRUPTIONS:
        value = repr(float(value) + 0.0).removesuffix(".0")  # + 0.0: no -0
    shift = Shift(kind, value)
    if colon and kind == "domains" and len(set(shift.classes)) < max(2, len(shift.classes)):
        raise ValueError(f"domains takes at least 2 different classes, e.g. domains:star5,disc, given {text!r}")
    return shift


def corruption_of(dataset: str) -> tuple[str, Shift | None]:
    """Returns the set whose images a data set of a table holds, by name, and what was done to its target.

    That is None of all other shifts, which have other images or labels than the set without them, and of none:
    "shapes-blur:0.5" is ("shapes", blur), "cifar100-subpopulations" remains.
    """
    found = _CORRUPTED.fullmatch(dataset)
    if found is None or not _is_share(found[3]):
        return dataset, None
    return found[1], parse_shift(f"{found[2]}:{found[3]}")


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
