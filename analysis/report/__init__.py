"""The report of a sweep: `report.html` in its folder, one page that works from a file, without a network.

`facts` gathers what the records say, `page` puts them, the table's numbers and the figures together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.report.facts import gather
from analysis.report.page import render
from ray_ssl.ledger import Ledger


def make_report(ledger: Ledger, measurements: Any, figures: Path) -> bytes:
    """Returns the report of a sweep, or of a folder of encoders.

    Args:
        ledger: Of the sweep.
        measurements: Its table, see `analysis.table`; it may be empty.
        figures: Local folder of the figures; it may be missing.
    """
    files = {path.name: path.read_bytes() for path in figures.iterdir()} if figures.is_dir() else {}
    return render(gather(ledger), measurements, files).encode()
