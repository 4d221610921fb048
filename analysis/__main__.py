"""`python -m analysis SWEEP_FOLDER`, and with a word before it: advise, claims, connectivity, encoder, graph, report.

See `analysis.sweep`, `analysis.advice.command`, `analysis.encoder`, `analysis.claims`, `analysis.connectivity`,
`analysis.graph.command`, `analysis.report`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ray_ssl.entry import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code (see `ray_ssl.errors`)."""
    return run_command(_answer, ("python", "-m", "analysis"), arguments)


def _answer(arguments: list[str]) -> int:
    from analysis.command import quiet

    quiet()
    if arguments[:1] == ["advise"]:
        from analysis.advice import command
        from analysis.flags import advise_flags

        return command.run(advise_flags(arguments[1:]))
    if arguments[:1] == ["encoder"]:
        from analysis import encoder
        from analysis.flags import encoder_flags

        return encoder.run(encoder_flags(arguments[1:]))
    if arguments[:1] == ["graph"]:
        from analysis.graph import command

        return command.run(command.parse(arguments[1:]))
    if arguments[:1] == ["claims"]:
        from analysis.claims.base import command

        return command.run(command.parse(arguments[1:]))
    if arguments[:1] == ["connectivity"]:
        from analysis.connectivity import command

        return command.run(command.parse(arguments[1:]))
    if arguments[:1] == ["report"]:
        from analysis.report import command

        return command.run(command.parse(arguments[1:]))
    from analysis import sweep

    return sweep.run(sweep.parse(arguments))


if __name__ == "__main__":
    sys.exit(main())
