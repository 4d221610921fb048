"""`python -m analysis.figures FIGURE SWEEP_FOLDER ...`: draws figures of sweeps from their tables alone.

FIGURE is fig1 to fig5 (all panels of that figure of arXiv 2305.15614), one panel such as fig2_left, any other figure
such as accuracy_by_epoch, or all. Each is written as PNG, SVG and CSV (the plotted numbers).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray_ssl.entry import run_command

PROGRAM = "python -m analysis.figures"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code (see `ray_ssl.errors`)."""
    return run_command(_answer, ("python", "-m", "analysis.figures"), arguments)


def named(figure: str) -> list[str]:
    """Returns the modules of a figure: all, the panels of one of the paper's, or the one of that name.

    Raises:
        UserError: There is none.
    """
    from ray_ssl.errors import UserError, did_you_mean
    from ray_ssl.plugins import plugin_names

    names = plugin_names("analysis.figures")
    found = [name for name in names if figure in ("all", name) or name.startswith(f"{figure}_")]
    whole = {name.partition("_")[0] for name in names if name.startswith("fig")}
    if not found or not (figure in ("all", *names) or figure in whole):
        raise UserError(f"unknown figure {figure!r}{did_you_mean(figure, ['all', *whole, *names])}")
    return found


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    from ray_ssl.flags import Parser

    parser = Parser(prog=PROGRAM, description=__doc__)
    parser.add_argument("figure", metavar="FIGURE", help="fig1 ... fig5, the name of one figure, or all")
    parser.add_argument(
        "sweep", metavar="SWEEP_FOLDER", nargs="+",
        help="folder of a sweep: a path, s3://... or gs://...; of several, their tables are drawn together",
    )  # fmt: skip
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="where the files are put (default: SWEEP_FOLDER/figures; with --trials or several sweeps a folder in it: "
        "they are not the sweep's own)",
    )
    parser.add_argument(
        "--trials", nargs="+", metavar="KEY", help="draw these trials alone, by key or its beginning (default: all)"
    )
    return parser.parse_strictly(arguments)


def _of_trials(table: Any, keys: Sequence[str], sweep: str) -> Any:
    """The rows of trials.

    Raises:
        UserError: A key that no row or more than one trial has.
    """
    from ray_ssl.errors import UserError

    known = sorted(table["trial_key"].unique())
    for key in keys:
        found = [name for name in known if name.startswith(key)]
        if len(found) != 1:
            what = "begins several trials" if found else "is no measured trial"
            raise UserError(f"--trials: {key!r} {what} of {sweep!r}, which has {' '.join(known)}")
    return table[table["trial_key"].str.startswith(tuple(keys))]


def _check_order(flags: argparse.Namespace) -> None:
    """Raises UserError where a sweep's folder stands where the figure is to stand."""
    from ray_ssl.errors import UserError
    from ray_ssl.plugins import plugin_names

    if not ("/" in flags.figure or Path(flags.figure).is_dir()) or flags.figure in plugin_names("analysis.figures"):
        return
    try:
        named(flags.sweep[0])
        meant = f"{flags.sweep[0]} {' '.join([flags.figure, *flags.sweep[1:]])}"
    except UserError:
        meant = "FIGURE SWEEP_FOLDER"
    raise UserError(f"{flags.figure!r} is no figure, the figure comes first: {PROGRAM} {meant}")


def _out(folder: str) -> Any:
    """The folder of --out.

    Raises:
        UserError: Nothing can be written there.
    """
    from ray_ssl.errors import UserError
    from ray_ssl.storage import Storage

    out = Storage.at(folder, "--out")
    if out.is_local and out.local_path.is_file():
        raise UserError(f"--out: {folder!r} is a file: give a folder")
    try:
        out.check_writable()
    except UserError as error:
        raise UserError(f"--out: {error}") from None
    return out


def _said(name: str) -> str:
    """A figure as it is named in a line, "fig2 left"."""
    return name.replace("_", " ") if name.startswith("fig") else name


def _warn(sweeps: list[Any]) -> None:
    """Says what of the sweeps should not be drawn as it is."""
    from analysis.connectivity.compared import outdated
    from analysis.flags import unlike
    from analysis.survey import mixed_trainings
    from ray_ssl.ledger import Ledger

    for line in (*(line for sweep in sweeps for line in outdated(sweep)), *unlike(sweeps)):
        print(f"warning: {line}", flush=True)
    for line in mixed_trainings([Ledger(sweep) for sweep in sweeps]):
        print(f"warning: {line}; where their seeds differ they are drawn as seeds of one network", flush=True)


def _answer(arguments: list[str]) -> int:
    flags = _parse(arguments)
    _check_order(flags)
    names = named(flags.figure)
    import pandas as pd

    from analysis.command import quiet, read_measurements
    from analysis.figures.base import draw_one, is_of_networks, lacks, no_networks, why_not_drawn
    from analysis.flags import each_once
    from analysis.publication import figures_folder
    from analysis.stored import read_projections
    from analysis.survey import unmeasured_trials
    from ray_ssl.errors import EXIT_DONE, UserError
    from ray_ssl.ledger import Ledger
    from ray_ssl.plugins import plugin_names
    from ray_ssl.storage import Storage

    quiet()
    for folder in flags.sweep:
        if folder in plugin_names("analysis.figures") and not Path(folder).exists():
            raise UserError(f"{folder!r} is a figure where a sweep's folder is to stand: one figure a command, or all")
    folders = each_once(flags.sweep)
    sweeps = [Storage.at(folder) for folder in folders]
    typed = folders[0] if len(sweeps) == 1 else "SWEEP_FOLDER"
    tables: list[Any] = [read_measurements(sweep, with_points=True) for sweep in sweeps]
    table: Any = pd.concat(tables, ignore_index=True)
    points_of: list[Any] = [read_projections(sweep) for sweep in sweeps]
    points: Any = pd.concat(points_of, ignore_index=True)
    whole = (table, points) if flags.trials else None
    unmeasured = [one for sweep in sweeps for one in unmeasured_trials(Ledger(sweep), table)]
    _warn(sweeps)
    if flags.trials:
        table = _of_trials(table, flags.trials, typed)
        points = points[points["trial_key"].isin(table["trial_key"])]
    out = _out(flags.out) if flags.out else sweeps[0].child(figures_folder(folders, flags.trials or ()))
    written = 0
    together = {name for name in names if is_of_networks(name, table)} if len(names) > 1 else set[str]()
    with tempfile.TemporaryDirectory(prefix="ray_ssl_") as scratch:
        for name in names:
            paths = draw_one(name, table, Path(scratch), points)
            for path in paths:
                out.write(path.name, path.read_bytes())
                print(out.address(path.name), flush=True)
            written += len(paths)
            several = zip(tables, points_of, folders, strict=True) if paths and len(tables) > 1 else ()
            for one, of_one, folder in several:
                if lacking := lacks(name, one, folder, projections=of_one):
                    print(f"without {folder}: {name} {lacking}", flush=True)
            if not paths and name not in together:
                print(f"{_said(name)} "
                      f"{why_not_drawn(name, table, typed, points, unmeasured, whole)}", flush=True)  # fmt: skip
    if together:
        said = ", ".join(_said(name) for name in names if name in together)
        print(f"{len(together)} figures are {no_networks(typed, whole is not None)}: {said}", flush=True)
    if not written:
        raise UserError(f"nothing of {flags.figure} can be drawn from {typed!r}: the lines above say why")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
