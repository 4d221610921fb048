"""`python -m tests.faults [--full] [LETTER ...]`: makes faults, counts what was caught, prints a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from ray_ssl.flags import Parser
from tests.faults.counts import MAX_SHOWN, Counts, faults


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 where all that is promised held, else 1."""
    known = faults()
    meanings = "; ".join(f"{letter}: {title(module)}" for letter, module in known.items())
    parser = Parser(prog="python -m tests.faults", description="Makes faults and counts what was caught.")
    parser.add_argument("letters", nargs="*", metavar="LETTER", help=f"which (default: all). {meanings}")
    parser.add_argument("--full", action="store_true", help="every case; else the small set of the tests")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random cases (default: 0)")
    flags = parser.parse_strictly(arguments)
    for letter in flags.letters:
        if letter not in known:
            parser.error(f"there is no fault {letter!r}: {', '.join(known)}")
    found: dict[str, Counts] = {}
    for letter in flags.letters or known:
        print(f"{letter} {title(known[letter])}", file=sys.stderr, flush=True)
        began = time.monotonic()
        found[letter] = known[letter].run(flags.full, flags.seed)
        found[letter].seconds = time.monotonic() - began
    print(f"{'fault':72} {'cases':>6} {'caught':>6} {'violations':>10} {'seconds':>8}")
    for letter, counts in found.items():
        print(f"{letter} {title(known[letter])[:70]:70} {counts.cases:6} {counts.caught:6} {len(counts.violations):10} "
              f"{counts.seconds:8.0f}")  # fmt: skip
        for note in counts.notes:
            print(f"    {note}")
        for violation in counts.violations[:MAX_SHOWN]:
            print(f"    VIOLATION {violation}")
    return 1 if any(counts.violations for counts in found.values()) else 0


def title(module: object) -> str:
    """Returns the first line of a fault's docstring."""
    return (module.__doc__ or "").partition("\n")[0].rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
