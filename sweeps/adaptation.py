"""What the sweep on transfer does besides a grid: each pretraining on several domains, and baselines with labels."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from ray_ssl.errors import UserError, did_you_mean
from sweeps.cli import Extension, Request

if TYPE_CHECKING:
    from ray_ssl.config import PretrainConfig

BASELINES: Final = ("supervised", "dann", "self_training")
"""Methods with labels that the others are compared with; those that learn from labels alone see the source."""

DOMAINS_OPTION: Final = "training.train_domains"


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument_group("comparison").add_argument(
        "--baselines", nargs="*", default=list(BASELINES), metavar="NAME",
        help=f"what pretraining is compared with; nothing after the flag: nothing (default: {' '.join(BASELINES)})",
    )  # fmt: skip


def _shared(given: dict[str, Any], base: PretrainConfig) -> dict[str, Any]:
    """More baselines are more trials of the same study."""
    return {}


def _run(request: Request) -> int:
    """Runs the pretrainings on each choice of domains, and the baselines; returns the exit code.

    Raises:
        UserError: No shift, an unknown baseline.
    """
    from sweeps.run import run

    if not request.base.data.shift:
        raise UserError("sweeps/transfer.py needs a source and a target: give a --shift, e.g. --shift subpopulations")
    if request.search != "grid":
        raise UserError("sweeps/transfer.py compares trainings at equal budget: it takes no --search")
    for name in request.given["baselines"]:
        if name not in BASELINES:
            raise UserError(f"--baselines: there is no {name!r}{did_you_mean(name, BASELINES)}")
    return run(replace(request, grid=replace(request.grid, more=tuple(_more(request)))))


def _more(request: Request) -> Iterator[PretrainConfig]:
    """Besides the grid, which trains on all images: the same on fewer domains, and the baselines."""
    fewer = ("both", "source") if request.base.data.num_extra else ("source",)
    for point in request.grid.points():
        for domains in fewer:
            yield request.grid.config({**point, DOMAINS_OPTION: domains})
    seeds = request.grid.axes["seed"]
    both = "both" if request.base.data.num_extra else "all"
    # DANN has no use for images of an unknown domain; self-training has, and is compared at equal images too.
    seen = {"supervised": ["source"], "dann": [both], "self_training": sorted({both, "all"})}
    for name in request.given["baselines"]:
        for seed, domains in product(seeds, seen[name]):
            yield request.grid.config({"method.name": name, "seed": seed, DOMAINS_OPTION: domains})


ADAPTATION: Final = Extension(_add_flags, _shared, _run, BASELINES, (DOMAINS_OPTION,))
"""For `Sweep.extension`."""
