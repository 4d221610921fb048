"""A table does not mix numbers of images."""

from pathlib import Path

import pytest

from analysis import table
from analysis.flags import refuse_other_numbers
from analysis.pipeline import MEASUREMENTS
from analysis.settings import AnalysisSettings
from analysis.tasks import find_tasks
from ray_ssl.errors import UserError
from ray_ssl.storage import Storage
from tests.analysis.written_tables import write_part


def test_other_numbers_of_images_are_for_all_metrics(tmp_path: Path) -> None:
    storage, usual, few = Storage.at(tmp_path), AnalysisSettings(), AnalysisSettings(100, 50)
    refuse_other_numbers(storage, few, ["cdnv"])  # nothing is there yet
    about = table.Checkpoint("sweep", "0" * 16, "vicreg", 1, 4, 0, "shapes", 1)
    for metric in ("cdnv", "ncc"):
        write_part(storage.filesystem, storage.path(MEASUREMENTS), about, metric, [], usual.of(metric))
    for metrics, settings in ((find_tasks(), few), (["cdnv"], usual), (["ncc", "cdnv"], few)):
        refuse_other_numbers(storage, settings, metrics)
    with pytest.raises(UserError, match=r"^ncc in this table .* --metrics and --levels"):
        refuse_other_numbers(storage, few, ["cdnv"])
