"""The argument parser of every command: errors are one line, with a suggestion for what was mistyped."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from ray_ssl.errors import EXIT_BAD_INPUT, did_you_mean


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with a suggestion for a mistyped flag or name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_HelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with code 2."""
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: error: {message} (see --help)\n")

    def hide(self, flags: Collection[str]) -> None:
        """Leaves flags, which are only there to be refused by name, out of `--help` and of suggestions."""
        for action in self._actions:
            if set(action.option_strings) & set(flags):
                action.help = argparse.SUPPRESS

    def parse_strictly(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Parses all arguments; a flag that does not exist is refused with a suggestion."""
        namespace, unknown = self.parse_known_args(arguments)
        if unknown:
            first = unknown[0]
            shown = [action for action in self._actions if action.help != argparse.SUPPRESS]
            known = [flag for action in shown for flag in action.option_strings]
            hint = did_you_mean(first.partition("=")[0], known) if first.startswith("-") else ""
            self.error(f"unknown argument {first!r}{hint if 'did you' in hint else ''}")
        return namespace

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError:
            wanted = {int: "a whole number", float: "a number"}.get(action.type)  # type: ignore[call-overload]
            if wanted is None:
                raise
            raise argparse.ArgumentError(action, f"{arg_string!r} is not {wanted}") from None

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            hint = did_you_mean(str(value), map(str, action.choices))
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{hint}")


def add_address_flag(parser: argparse._ActionsContainer) -> None:
    """Adds `--address` of commands that run on Ray; see `ray_ssl.cluster.MachineOptions`."""
    parser.add_argument(
        "--address",
        default="auto",
        metavar="ADDRESS",
        help="Ray cluster; auto: a running one, else this machine; local: this machine (default: auto)",
    )


def usual_storage(folder: str = "") -> str:
    """Returns the folder that RAY_SSL_STORAGE names, else results; or a folder in it."""
    default = os.environ.get("RAY_SSL_STORAGE") or "results"
    if not folder:
        return default
    from ray_ssl.storage import Storage  # pyarrow takes a while to import

    return Storage(default).child(folder).uri


def add_storage_flag(parser: argparse._ActionsContainer, what: str = "folder of all results", folder: str = "") -> None:
    """Adds `--storage`, by default the folder that RAY_SSL_STORAGE names, else results.

    Args:
        parser: Takes it.
        what: Is in it; for `--help`.
        folder: In that folder, which is the default instead.
    """
    inside = f"/{folder}" if folder else ""
    parser.add_argument(
        "--storage",
        default=usual_storage(folder),
        metavar="URI",
        help=f"{what}: a local path, s3://... or gs://... (default: $RAY_SSL_STORAGE{inside}, else results{inside})",
    )


class _HelpFormatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=min(118, _terminal_width()))


def _terminal_width() -> int:
    return max(60, shutil.get_terminal_size((100, 24)).columns - 2)
