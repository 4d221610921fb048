"""The command that continues a sweep."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection

from ray_ssl.ledger import Ledger, TrialState
from ray_ssl.mlflow_client import shown


def continue_line(ledger: Ledger, states: Collection[TrialState]) -> str:
    """Returns what goes on with trials in these states, "" where all are done or no command is recorded."""
    commands = ledger.commands()
    if not commands or set(states) == {TrialState.DONE}:
        return ""
    words = shlex.split(with_storage(ledger, commands[-1]["line"]))
    if TrialState.FAILED in states and "--retry-failed" not in words:
        words.append("--retry-failed")
    if TrialState.STOPPED in states and set(states) <= {TrialState.DONE, TrialState.STOPPED}:
        words = _without_scheduler(words)
    return f"cd {shlex.quote(commands[-1]['folder'])} && {shlex.join(words)}"


def with_storage(ledger: Ledger, line: str) -> str:
    """Returns a line that ran a sweep with its `--storage`: the default may be another in the next shell."""
    if re.search(r"\s--storage[\s=]", line):
        return line
    return f"{line} --storage {shlex.quote(shown(ledger.sweep.ancestor(1).uri))}"


def _without_scheduler(words: list[str]) -> list[str]:
    """The words of a command that trains what a scheduler stopped early to its last epoch."""
    kept = []
    for before, word in zip(["", *words], words, strict=False):
        if "--scheduler" not in (before, word) and not word.startswith("--scheduler="):
            kept.append(word)
    return kept
