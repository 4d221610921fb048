"""Ctrl-C and SIGTERM: the first ends a command in good order, the second at once; both say how to go on.

Python raises KeyboardInterrupt wherever the main thread happens to be. Where nothing has been begun there is nothing
to put in order, so the process just ends (importing torch, for one, does not survive an exception in good order).
Where something has, the exception is raised; and where an exception would leave third-party code half done (Ray's
end) the signal is held until that is over.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NoReturn

from ray_ssl.errors import EXIT_INTERRUPTED

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR: Final = b"\x1b[?25h"


@dataclass
class _State:
    """Of this process: signal handlers are one a process."""

    process: int = 0
    farewell: str = ""
    num_received: int = 0
    num_orderly: int = 0
    num_held: int = 0
    exit_code: int = EXIT_INTERRUPTED
    finished: bool = False


_state = _State()


def install(farewell: str) -> None:
    """Takes the two signals of this process over, for the rest of its life.

    Args:
        farewell: Printed on standard error, once, by whatever ends the process early.
    """
    global _state
    _state = _State(os.getpid(), farewell)
    for number in SIGNALS:
        signal.signal(number, _handle)


def received() -> bool:
    """Returns whether a signal came."""
    return _state.num_received > 0


def check() -> None:
    """Raises KeyboardInterrupt if a signal came: third-party code may have swallowed the exception it raised."""
    if received() and not _state.num_held:
        raise KeyboardInterrupt


@contextmanager
def orderly() -> Iterator[None]:
    """A signal in this block raises KeyboardInterrupt, so that what was begun is ended; outside, nothing was begun."""
    _state.num_orderly += 1
    try:
        yield
    finally:
        _state.num_orderly -= 1


@contextmanager
def held() -> Iterator[None]:
    """A signal in this block raises KeyboardInterrupt at its end; a second one still ends the process at once."""
    _state.num_held += 1
    before = _state.num_received
    try:
        yield
    finally:
        _state.num_held -= 1
    if _state.num_received > before:
        check()


def leave() -> NoReturn:
    """Ends the process after its clean-up: says how to go on, and waits for no thread of a library."""
    sys.stdout.flush()
    _end()


def abandon(reason: str) -> NoReturn:
    """Ends the process as it is, from any thread, and says why in one line instead of how to go on."""
    _state.farewell, _state.finished, _state.exit_code = f"error: {reason}", False, EXIT_INTERRUPTED
    _end()


def finish(code: int) -> None:
    """The command is over: a signal during the interpreter's own end changes nothing any more."""
    _state.finished, _state.exit_code = True, code


def _handle(signum: int, frame: object) -> None:
    if os.getpid() != _state.process:  # a child that has not become another program yet
        os._exit(EXIT_INTERRUPTED)
    _state.num_received += 1
    if _state.finished or _state.num_received > 1 or not _state.num_orderly:
        _end()
    if not _state.num_held:
        raise KeyboardInterrupt


def _end() -> NoReturn:
    """Ends the process as it is; without its clean-up, what it leaves is what a killed driver leaves: no harm."""
    if not _state.finished:
        if os.isatty(1):
            os.write(1, _SHOW_CURSOR)  # a live table hid it
        os.write(2, _state.farewell.encode() + b"\n")  # not print: a handler may strike inside one
    os._exit(_state.exit_code)
