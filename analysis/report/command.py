"""`python -m analysis report SWEEP_FOLDER`: writes the report of a sweep again, from its table.

Figures that are older than the table are drawn again. Nothing is measured and nothing is logged; `python -m analysis
SWEEP_FOLDER` does both and writes the report too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis import publication, stored, table
from analysis.command import update_figures
from analysis.pipeline import MEASUREMENTS
from analysis.publication import FIGURES, REPORT
from analysis.report import make_report
from ray_ssl import interrupts
from ray_ssl.errors import EXIT_DONE
from ray_ssl.flags import Parser
from ray_ssl.ledger import Ledger, no_sweep
from ray_ssl.storage import Storage


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses `python -m analysis report SWEEP_FOLDER`."""
    parser = Parser(prog="python -m analysis report", description=__doc__)
    parser.add_argument(
        "sweep", metavar="SWEEP_FOLDER", help="folder of a sweep or of encoders: a path, s3://... or gs://..."
    )
    return parser.parse_strictly(arguments)


def run(flags: argparse.Namespace) -> int:
    """Writes the report; returns the exit code.

    Raises:
        UserError: There is neither a trial nor a measurement.
    """
    ledger = Ledger(Storage.at(flags.sweep))
    sweep = ledger.sweep
    measurements: Any = table.read_table(sweep.filesystem, sweep.path(MEASUREMENTS))
    if measurements.empty and not ledger.all_trials():
        raise no_sweep(ledger.sweep, flags.sweep)
    with interrupts.orderly(), tempfile.TemporaryDirectory(prefix="ray_ssl_") as scratch:
        folder = Path(scratch) / FIGURES
        points, only = stored.read_projections(sweep), publication.drawn_alone(ledger)
        drawn = publication.drawn_from(sweep, only)
        if len(measurements) or len(points):
            update_figures(sweep, measurements, points, drawn, only, folder)
        sweep.write(REPORT, make_report(ledger, measurements, folder))
    publication.record_report(sweep, publication.report_from(ledger, drawn))
    print(f"report    {sweep.address(REPORT)}")
    return EXIT_DONE
