"""A table does not mix numbers of images."""

from pathlib import Path

import pytest

from analysis import stored, table
from analysis.flags import refuse_other_numbers
from analysis.pipeline import MEASUREMENTS
from analysis.settings import AnalysisSettings, check_pair
from analysis.tasks import find_tasks
from ray_ssl.errors import UserError
from ray_ssl.storage import Storage
from tests.analysis.written_tables import write_part


def test_mutual_information_is_of_what_it_was_asked_for(tmp_path: Path) -> None:
    usual, other = AnalysisSettings(), AnalysisSettings(mine_input="stem", mine_layer="all")
    assert usual.of("mine") != other.of("mine") and usual.of("ncc") == other.of("ncc")
    storage = Storage.at(tmp_path)
    about = table.Checkpoint("sweep", "0" * 16, "vicreg", 1, 4, 0, "shapes", 1)
    folder = storage.path(MEASUREMENTS)
    write_part(storage.filesystem, folder, about, "mine", [], other.of("mine") | {"estimator": "older"})
    assert not stored.present(storage, {"mine": other.of("mine")})  # other critics: measured again
    refuse_other_numbers(storage, usual, ["ncc"])  # and no hindrance to other metrics
    with pytest.raises(UserError, match=r"^mine in this table"):
        refuse_other_numbers(storage, AnalysisSettings(100, 50), ["ncc"])
    layers = ("stem", "representation")
    check_pair(other, ["mine"], layers)
    check_pair(AnalysisSettings(mine_input="stemm"), ["ncc"], layers)
    for bad, message in (
        (AnalysisSettings(mine_input="stemm"), "--mine-input is pixels or the name of a layer, given 'stemm'.*stem"),
        (AnalysisSettings(mine_layer="pixels"), "--mine-layer is all or the name of a layer"),
        (AnalysisSettings(mine_input="stem", mine_layer="stem"), "are two layers, given 'stem' for both"),
    ):
        with pytest.raises(UserError, match=message):
            check_pair(bad, ["mine"], layers)


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
