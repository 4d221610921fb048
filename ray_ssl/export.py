"""`python -m ray_ssl.export CHECKPOINT OUT`: the backbone of a checkpoint as one file, and a card that describes it.

See `ray_ssl.encoder_file`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ray_ssl.entry import run_command
from ray_ssl.errors import EXIT_DONE, UserError
from ray_ssl.flags import Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code (see `ray_ssl.errors`)."""
    return run_command(_answer, ("python", "-m", "ray_ssl.export"), arguments)


def _answer(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m ray_ssl.export",
        description="Writes the backbone of a checkpoint as OUT/model.safetensors, with OUT/card.json, and prints "
        "three lines of Python that load it with torch, torchvision and safetensors alone. Of res_lh, which "
        "torchvision lacks, they read the network's source, which goes beside the weights.",
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT",
        help="folder TRIAL_KEY/checkpoints/epoch-N of a sweep: a path, s3://... or gs://...",
    )  # fmt: skip
    parser.add_argument("out", metavar="OUT", help="local folder, new or empty")
    flags = parser.parse_strictly(arguments)
    if "://" in flags.out:
        raise UserError(f"OUT is a local folder, given {flags.out!r}")
    from ray_ssl.encoder_file import export  # takes seconds

    print(export(flags.checkpoint, Path(flags.out)))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
