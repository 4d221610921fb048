"""Warnings of what is measured all the same: commands and actors print none by themselves, so they are collected."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from analysis.saturation import SaturatedWarning


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
