"""`python -m ray_ssl.sweep list | show [SWEEP] | explain TRIAL | gc [SWEEP]`: what lies in a storage folder.

See `ray_ssl.sweep.overview`, `ray_ssl.sweep.explain`, `ray_ssl.sweep.garbage`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ray_ssl.entry import run_command
from ray_ssl.errors import EXIT_DONE
from ray_ssl.flags import Parser, add_storage_flag

PROGRAM = ("python", "-m", "ray_ssl.sweep")
WHAT = {
    "list": "one line for every sweep",
    "show": "one line for every trial of a sweep, or of all sweeps",
    "explain": "why a trial failed or waits, its last log lines, the command that continues",
    "gc": "what can be deleted without losing a measurement or a resume",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code (see `ray_ssl.errors`)."""
    return run_command(_answer, PROGRAM, arguments)


def _answer(arguments: list[str]) -> int:
    flags = parse(arguments)
    from ray_ssl.sweep import explain, garbage, overview, places  # torch takes seconds

    storage = places.storage_of_sweeps(flags.storage)
    if flags.what == "list":
        others = places.without_sweep(storage)
        print(overview.list_sweeps(places.sweeps(storage, beside=bool(others)), others))
    elif flags.what == "show":
        print(overview.show(places.sweeps(storage, flags.name)))
    elif flags.what == "explain":
        print(explain.explain(places.trials(storage, flags.trial)))
    else:
        for ledger in places.sweeps(storage, flags.name):
            print(garbage.collect(ledger, flags.delete), flush=True)
    return EXIT_DONE


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the flags; "what" is one of `WHAT`."""
    meanings = "; ".join(f"{name}: {meaning}" for name, meaning in WHAT.items())
    program = " ".join(PROGRAM)
    if not arguments or arguments[0] not in WHAT:
        about = "Tells what lies in a storage folder. Changes nothing but by gc --delete."
        parser = Parser(prog=program, description=about, epilog=f"{program} WHAT --help tells more.")
        parser.add_argument("what", choices=tuple(WHAT), metavar="WHAT", help=meanings)
        parser.parse_args(arguments[:1])
    what = arguments[0]
    parser = Parser(prog=f"{program} {what}", description=f"Prints {WHAT[what]}.")
    if what == "explain":
        parser.add_argument("trial", metavar="TRIAL", help="key of a trial, or its first letters")
    elif what != "list":
        parser.add_argument("name", nargs="?", metavar="SWEEP", help="folder of a sweep in the storage (default: all)")
    if what == "gc":
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--dry-run", action="store_true", help="list it, delete nothing (this is the default)")
        group.add_argument("--delete", action="store_true", help="delete it")
    add_storage_flag(parser)
    flags = parser.parse_strictly(arguments[1:])
    flags.what = what
    return flags


if __name__ == "__main__":
    sys.exit(main())
