"""How every command begins and ends: Ctrl-C and SIGTERM are its own, and what a user can mend is one line."""

from __future__ import annotations

import gc
import os
import select
import shlex
import sys
import time
from collections.abc import Callable, Sequence

from ray_ssl import interrupts
from ray_ssl.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, UserError, print_error

_began = time.monotonic()

GC_THRESHOLD = 20_000
"""New objects between two searches for garbage. What a command imports makes a million that stay: with Python's 700,
a fifth of the time of its imports went by in a thousand searches."""


def seconds_since_start() -> float:
    """Returns how long the command has run, its imports included."""
    return time.monotonic() - _began


def run_command(
    answer: Callable[[list[str]], int], program: Sequence[str], arguments: Sequence[str] | None = None
) -> int:
    """Runs a command; returns its exit code (see `ray_ssl.errors`).

    Args:
        answer: Does what the flags ask for, and returns the exit code. It imports what takes seconds itself, so that
            Ctrl-C is handled from the first moment.
        program: What is typed before the flags, e.g. ("python", "-m", "analysis").
        arguments: The flags; None: those of this process, whose Ctrl-C and SIGTERM are then handled here.
    """
    global _began
    _began = time.monotonic()
    if arguments is not None:
        return _answer_or_say_why(answer, list(arguments))
    gc.set_threshold(GC_THRESHOLD)
    typed = sys.argv[1:]
    line = shlex.join([*program, *typed])
    interrupts.install(f"interrupted; nothing that was finished is lost. To go on:\n  {line}")
    try:
        code = _answer_or_say_why(answer, typed)
    except (Exception, KeyboardInterrupt):
        if not interrupts.received():  # else what it interrupted ended in an error of its own
            raise
        interrupts.leave()
    interrupts.finish(code)
    return code


def _answer_or_say_why(answer: Callable[[list[str]], int], arguments: list[str]) -> int:
    try:
        return answer(arguments)
    except UserError as error:
        reason = str(error)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            return EXIT_INTERRUPTED
        from ray_ssl.storage import describe_os_error  # takes a while to import

        reason = describe_os_error(error)
    if interrupts.received():
        raise KeyboardInterrupt
    print_error(reason)
    return EXIT_BAD_INPUT


def _reader_is_gone() -> bool:
    """Whether whoever read what is printed has ended, as `head` does; what is left to print then goes nowhere."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if not output.poll(0):  # POLLERR is told unasked
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True
