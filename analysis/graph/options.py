"""Flags of an exact graph: of which images, by which views, how many eigenvectors."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeVar

from analysis.flags import add_config_flags, read_data_config, texts
from analysis.graph.views import ViewFamily
from ray_ssl.data.decode import TooManyError
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError

USUAL_K: Final = 20
USUAL_SIZES: Final = (5, 10, 20, 50, 100)
"""Where no numbers of eigenvectors are given; what a small graph does not have is left out."""

_COUNTS: Final = {"num_images": "1000", "num_test_images": "1000"}

T = TypeVar("T")


def add_graph_flags(parser: argparse.ArgumentParser) -> None:
    """Adds them in three groups."""
    add_config_flags(parser, "data", {"": DataConfig}, _COUNTS)
    usual = ViewFamily()
    views = parser.add_argument_group("views")
    for flag, default, text in (
        ("--crops", usual.crop_sizes, "sides of the square crops, pixels"),
        ("--shifts", usual.num_shifts, "positions of a crop along each axis"),
        ("--resolution", usual.resolution, "cells of a view along each axis"),
        ("--levels", usual.num_levels, "levels of a cell"),
    ):
        several: dict[str, Any] = {"nargs": "+"} if isinstance(default, tuple) else {}
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        views.add_argument(flag, type=int, default=default, metavar="N", help=f"{text} (default: {shown})", **several)
    views.add_argument("--no-flip", action="store_true", help="no mirrored views")
    views.add_argument("--no-stretch", action="store_true", help="levels of 0 .. 255, not of the view's own range")
    views.add_argument("--colour", action="store_true", help="levels of red, green and blue, not of grey")
    parser.add_argument_group("eigenvectors").add_argument(
        "--sizes", type=int, nargs="+", metavar="N",
        help="numbers of eigenvectors whose clusters and linear heads are compared (default: those of "
        f"{' '.join(map(str, USUAL_SIZES))} that the graph has)",
    )  # fmt: skip


def images_and_views(flags: argparse.Namespace) -> tuple[DataConfig, ViewFamily]:
    """Returns what the flags say of both.

    Raises:
        UserError: A value that cannot be.
    """
    if min(flags.sizes or (), default=2) < 2:
        raise UserError(f"--sizes are 2 or more, given {min(flags.sizes)}")
    family = ViewFamily(
        tuple(flags.crops), flags.shifts, not flags.no_flip, flags.resolution, flags.levels, not flags.no_stretch,
        flags.colour,
    )  # fmt: skip
    return read_data_config(_COUNTS | texts(flags, "data")), family


def that_fit(config: DataConfig, given: Collection[str], load: Callable[[DataConfig], T]) -> tuple[DataConfig, T]:
    """Returns what `load` makes of the images, and which they are; says so where there are fewer than usual.

    Args:
        config: The images.
        given: Its options that the user gave: a number that is not among them is the usual one, or all there are.
        load: Raises `TooManyError` where there are not so many.

    Raises:
        UserError: As `load`.
    """
    while True:
        try:
            return config, load(config)
        except TooManyError as error:
            if error.option in given:
                raise
            flag = f"--{error.option.replace('_', '-')}"
            print(f"images    {flag} not given: all {error.available} there are, not {error.asked}", flush=True)
            config = config.model_copy(update={error.option: error.available})


def ks_that_fit(asked: Sequence[int] | None, num_nodes: int) -> list[int]:
    """Returns numbers of features to learn; where none are asked for, the usual one, or as many as a small graph has.

    Raises:
        UserError: The graph does not have so many eigenvectors.
    """
    largest = _largest("--k", asked, num_nodes)
    return list(dict.fromkeys(asked)) if asked else [min(USUAL_K, largest)]


def sizes_that_fit(ks: Sequence[int], asked: Sequence[int] | None, num_nodes: int) -> list[int]:
    """Returns numbers of eigenvectors to compare, ascending: `ks`, and those asked for or of the usual ones those that
    fit.

    Raises:
        UserError: The graph does not have so many eigenvectors.
    """
    largest = _largest("--sizes", asked, num_nodes)
    return sorted({*ks, *(asked or (size for size in USUAL_SIZES if size <= largest))})


def _largest(flag: str, asked: Sequence[int] | None, num_nodes: int) -> int:
    """The largest number of eigenvectors, with which the one after it is looked at too."""
    largest = num_nodes - 1
    if largest < 2:
        raise UserError(f"the graph has {num_nodes} node(s), 3 are needed: take more images, or views of more cells")
    if max(asked or (), default=0) > largest:
        raise UserError(f"{flag} is {largest} at most, for the graph has {num_nodes} nodes, given {max(asked or ())}")
    return largest
