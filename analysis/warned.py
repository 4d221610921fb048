"""Warnings of what is measured all the same: commands and actors print none by themselves, so they are collected."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from analysis.saturation import SaturatedWarning

_NUMBER = re.compile(r"\d[\d.,e+-]*")


def by_kind(found: Iterable[tuple[str, str]]) -> list[str]:
    """Returns a line for each kind of warning, those that differ in numbers alone: its first, and how many there are.

    Args:
        found: Where (empty: it need not be said) and what.
    """
    kinds: dict[str, list[str]] = {}
    for place, warning in found:
        kinds.setdefault(_NUMBER.sub("", warning), []).append(f"{place}: {warning}" if place else warning)
    return [one[0] + (f" (and {len(one) - 1} like it)" if len(one) > 1 else "") for one in kinds.values()]


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Fills the list with each different warning once, at the end; those that `saturated_lines` says are left out."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        yield found
    found += dict.fromkeys(
        str(one.message)
        for one in caught
        if issubclass(one.category, RuntimeWarning) and not issubclass(one.category, SaturatedWarning)
    )
