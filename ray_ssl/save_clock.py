"""When the training state is saved: so often that little is lost, so seldom that it costs little."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_SAVE_SHARE = 0.01
"""Of the time, that saving the training state may take: who stops a short trial soon finds it where it was."""

_FIRST_SAVE_SECONDS = 0.05
"""What a save is taken for before one was timed."""


class SaveClock:
    """Knows how long ago the last save was, and how long it took.

    Args:
        longest: Seconds between two saves at most, see `pretrain`.
    """

    def __init__(self, longest: float) -> None:
        self.longest = longest
        self._saved_at, self._seconds = time.monotonic(), _FIRST_SAVE_SECONDS

    @property
    def is_due(self) -> bool:
        """Whether so long ago was the last save that another costs little."""
        return time.monotonic() - self._saved_at >= min(self.longest, self._seconds / _SAVE_SHARE)

    @property
    def is_due_within(self) -> bool:
        """Whether a save is due where none would be lost by waiting for the end of the epoch: the last was long ago."""
        interval = max(self.longest, self._seconds / _SAVE_SHARE)
        return self.longest > 0 and interval < time.monotonic() - self._saved_at

    @contextmanager
    def timed(self) -> Iterator[None]:
        """The block saves."""
        began = time.monotonic()
        yield
        self._saved_at = time.monotonic()
        self._seconds = self._saved_at - began
