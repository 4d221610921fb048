"""Errors a user can mend, and the exit codes of every command."""

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

EXIT_DONE: Final = 0
EXIT_SOME_FAILED: Final = 1
EXIT_BAD_INPUT: Final = 2
EXIT_INTERRUPTED: Final = 75  # EX_TEMPFAIL of sysexits.h: running the same command again goes on


class UserError(ValueError):
    """Something the user gave is wrong. One line: what is wrong, what was given, what would be right.

    Commands print it without a traceback and exit with `EXIT_BAD_INPUT`.
    """


def print_error(message: object) -> None:
    """Prints one line on standard error."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr, flush=True)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Returns "; did you mean 'x'?" for the closest known name, or the known names where none is close."""
    names = {name.lower(): name for name in sorted(known)}
    close = get_close_matches(given.lower(), names, n=1)
    return f"; did you mean {names[close[0]]!r}?" if close else f"; known: {', '.join(names.values())}"
