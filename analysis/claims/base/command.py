"""`python -m analysis claims SWEEP_FOLDER ...`: which published trends hold in these sweeps.

Of several sweeps each data set, such as each shift, has verdicts of its own; claims over several need them together.
Of an exact graph (`sweeps/graph.py`) those alone are checked that can be about one.
Nothing is measured: a claim whose measurements are missing says which command gives them. Verdicts are made of the
data alone; the exit code is 0 whatever they are. The same is written to claims.csv and claims.json among the figures,
of several sweeps in a folder of their own of the first; of --from-epoch N to claims-from-epoch-N.csv and .json.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import textwrap
from collections.abc import Sequence
from typing import Any, Final, cast

import pandas as pd

from analysis.claims.base.check import check
from analysis.claims.base.contract import UNKNOWN
from analysis.claims.base.standing import UNMEASURED, named_apart, shown, standing, tally
from analysis.command import read_measurements
from analysis.connectivity.compared import outdated
from analysis.finetuned_choice import of_epoch, which_checkpoints
from analysis.flags import each_once, unlike
from analysis.publication import figures_folder
from analysis.survey import mixed_trainings, trained_epochs, unmeasured_trials, untrained_keys
from ray_ssl.errors import EXIT_DONE
from ray_ssl.flags import Parser
from ray_ssl.ledger import Ledger
from ray_ssl.storage import Storage

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

_HEADS: Final = ("claim", "figure", "estimate", "95% interval", "bound", "trials", "over", "verdict")
_INDENT: Final = "      "


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses `python -m analysis claims SWEEP_FOLDER ...`."""
    parser = Parser(prog="python -m analysis claims", description=__doc__)
    parser.add_argument(
        "sweep",
        metavar="SWEEP_FOLDER",
        nargs="+",
        help="folder of a sweep or of an exact graph: a path, s3://... or gs://...",
    )
    parser.add_argument(
        "--from-epoch",
        type=int,
        metavar="N",
        help="judge fine-tuning of the encoders' checkpoints of this epoch of pretraining (default: the last)",
    )
    return parser.parse_strictly(arguments)


def run(flags: argparse.Namespace) -> int:
    """Checks every claim, prints the verdicts and writes them beside the figures; returns the exit code.

    Raises:
        UserError: No measurements there, or none of fine-tuning of that epoch's checkpoints.
    """
    folders = each_once(flags.sweep)
    sweeps = [Storage.at(folder) for folder in folders]
    table: Frame = pd.concat([read_measurements(sweep) for sweep in sweeps], ignore_index=True)
    typed = shlex.quote(folders[0]) if len(sweeps) == 1 else "SWEEP_FOLDER"
    untrained = set(table["trial_key"]) & {key for folder in sweeps for key in untrained_keys(Ledger(folder))}
    table = table[~table["trial_key"].isin(untrained)]
    table = table if flags.from_epoch is None else of_epoch(table, flags.from_epoch)
    unmeasured = [one for folder in sweeps for one in unmeasured_trials(Ledger(folder), table)]
    epochs = {key: one for folder in sweeps for key, one in trained_epochs(Ledger(folder)).items()}
    found = cast(Frame, check(table, typed, unmeasured=unmeasured, epochs=epochs))
    for line in (line for folder in sweeps for line in outdated(folder)):
        print(f"warning: {line}\n")
    for line in unlike(sweeps):
        print(f"warning: {line}\n")
    for line in mixed_trainings([Ledger(folder) for folder in sweeps]):
        print(
            f"warning: {line}; where their seeds differ they count as seeds of one network, and trainings are compared "
            "across them: check each sweep by itself\n"
        )
    if flags.from_epoch is not None:
        print(f"note: of fine-tuned encoders the checkpoints of epoch {flags.from_epoch} alone count\n")
    elif words := which_checkpoints(table):
        print(f"note: {words}\n")
    measured = found["num_trials"] > 0
    for (dataset, method), rows in named_apart(found)[measured].groupby(["dataset", "method"], sort=False):
        print(f"{method or 'methods compared'} on {dataset}\n{as_text(rows)}\n")
    lacking = found[~found["claim"].isin(found["claim"][measured])]
    for title in (UNKNOWN, UNMEASURED):
        rows = lacking[standing(lacking) == title]
        if not rows.empty:
            print(f"{title}:\n{lacking_as_text(rows)}\n")
    if waiting := sum(one.trained for one in unmeasured):
        print(f"{waiting} trained trial(s) of which nothing is measured count nowhere: python -m analysis {typed}\n")
    if untrained:
        keys = " ".join(sorted(untrained))
        print(f"{len(untrained)} trial(s) that failed or are not at their end count nowhere: {keys}\n")
    print(tally(found) or "no claim is about eigenvectors of an exact graph alone, nothing was learned on it")
    out = sweeps[0].child(figures_folder(folders))
    name = "claims" if flags.from_epoch is None else f"claims-from-epoch-{flags.from_epoch}"
    out.write(f"{name}.csv", found.to_csv(index=False, lineterminator="\n").encode())
    out.write(f"{name}.json", as_json(found).encode())
    print(f"claims    {out.address(f'{name}.csv')}, {name}.json")
    return EXIT_DONE


def as_text(found: Frame) -> str:
    """Returns an aligned table of verdicts, and below it what is lacking."""
    lines = [_HEADS, *(_cells(row) for _, row in found.iterrows())]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    lacking = found["verdict"] == UNKNOWN
    for title, rows in (("but", found[~lacking & (found["note"] != "")]), (UNKNOWN, found[lacking])):
        notes = [f"  {row['claim']}: {row['note']}" for _, row in rows.iterrows()]
        text += [f"{title}:", *notes] if notes else []
    return "\n".join(text)


def lacking_as_text(found: Frame) -> str:
    """Returns what would measure claims that are not, one command and its claims after the other."""
    claims: dict[str, list[str]] = {}
    for claim, note, command in zip(found["claim"], found["note"], found["command"], strict=True):
        claims.setdefault(command or note, []).append(claim)
    names = ((how, ", ".join(dict.fromkeys(found))) for how, found in claims.items())
    return "\n".join(f"  {how}\n{textwrap.fill(text, 110, initial_indent=_INDENT, subsequent_indent=_INDENT)}"
                     for how, text in names)  # fmt: skip


def as_json(found: Frame) -> str:
    """Returns the verdicts as a JSON list; what is not known is null."""
    rows = [{name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
            for row in found.to_dict("records")]  # fmt: skip
    return json.dumps(rows, indent=1, allow_nan=False) + "\n"


def _cells(row: Frame) -> tuple[str, ...]:
    known = not math.isnan(row["estimate"])
    interval = "" if math.isnan(row["low"]) else f"{shown(row['low'])} to {shown(row['high'])}"
    estimate = shown(row["estimate"]) if known else ""
    return (row["claim"], row["figure"], estimate, interval, row["bound"], str(row["num_trials"]), row["basis"],
            row["verdict"])  # fmt: skip
