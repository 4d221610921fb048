"""A table does not mix numbers of images."""

from pathlib import Path

import pytest

from analysis import stored, table
from analysis.flags import refuse_other_numbers, unlike
from analysis.metrics.base import Measurement
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


def test_features_of_another_precision_are_measured_again_and_not_mixed(tmp_path: Path) -> None:
    storage, exact, rough = Storage.at(tmp_path), AnalysisSettings(), AnalysisSettings(feature_precision="bf16")
    about = table.Checkpoint("sweep", "0" * 16, "vicreg", 1, 4, 0, "shapes", 1)
    assert "feature_precision" not in exact.of("ncc")  # parts from before there was a choice stay valid
    for one, other in ((exact, rough), (rough, exact)):
        write_part(storage.filesystem, storage.path(MEASUREMENTS), about, "ncc", [], one.of("ncc"))
        assert stored.present(storage, {"ncc": one.of("ncc")}) and not stored.present(storage, {"ncc": other.of("ncc")})
        refuse_other_numbers(storage, one, ["cdnv"])
        was, now = one.feature_precision, other.feature_precision
        with pytest.raises(UserError, match=f"with --feature-precision {was}, now it would be .* {now}: give the same"):
            refuse_other_numbers(storage, other, ["cdnv"])


def test_sweeps_that_are_measured_with_other_numbers_are_named(tmp_path: Path) -> None:
    about = table.Checkpoint("sweep", "0" * 16, "vicreg", 1, 4, 0, "shapes", 1)
    sweeps = []
    for name, settings in (
        ("a", AnalysisSettings()), ("b", AnalysisSettings(feature_precision="bf16")), ("c", AnalysisSettings(100))
    ):  # fmt: skip
        sweeps.append(Storage.at(tmp_path / name))
        write_part(sweeps[-1].filesystem, sweeps[-1].path(MEASUREMENTS), about, "ncc", [], settings.of("ncc"))
    a, b, c = (sweep.uri for sweep in sweeps)
    stand = "their numbers stand together"
    assert unlike(sweeps[:1]) == unlike([sweeps[0], sweeps[0]]) == []
    assert unlike(sweeps) == [
        f"{a} is measured with --feature-precision fp32, {b} with --feature-precision bf16: {stand}",
        f"{a} is measured with --num-train-images 50000, {c} with --num-train-images 100: {stand}",
    ]


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
    with pytest.raises(UserError) as raised:
        refuse_other_numbers(storage, few, ["ncc"])
    assert str(raised.value) == (
        "cdnv in this table is measured with --num-train-images 50000 and --num-test-images 10000, now it would be "
        "with --num-train-images 100 and --num-test-images 50: give the same --num-train-images and --num-test-images, "
        "or --metrics and --levels that measure these again too"
    )
    with pytest.raises(
        UserError, match=r"^cdnv, ncc in this table .* or another --storage$"
    ):  # of the trial that stays
        refuse_other_numbers(storage, few, ["cdnv", "ncc"], ["1" * 16], "another --storage")


def test_information_between_several_layers_stands_in_one_table(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    folder = storage.path(MEASUREMENTS)
    first = table.Checkpoint("sweep", "0" * 16, "vicreg", 1, 4, 0, "shapes", 1)
    second = first._replace(trial_key="1" * 16)
    usual, every, between = (
        AnalysisSettings(),
        AnalysisSettings(mine_layer="all"),
        AnalysisSettings(mine_input="layer1.0", mine_layer="all"),
    )

    def write(about: table.Checkpoint, settings: AnalysisSettings, level: str, layers: range) -> None:
        found = (Measurement(level, "test", "mi_dv", layer + 0.5) for layer in layers)
        rows = [table.LayerMeasurement(i, f"block{i}", one) for i, one in zip(layers, found, strict=True)]
        stored.write(storage, about, "mine", rows, settings.of("mine"))

    write(first, usual, "none", range(2, 3))
    write(second, usual, "none", range(2, 3))
    write(first, every, "none", range(3))  # of one trial alone: interrupted, or --methods
    write(first, between, "layer-00", range(1, 3))
    found = table.read_table(storage.filesystem, folder)
    assert len(found) == 1 + 3 + 2
    assert set(found[found["level"] == "layer-00"]["trial_key"]) == {first.trial_key}
    for settings, trials in ((usual, [first, second]), (every, [first]), (between, [first])):
        present = stored.present(storage, {"mine": settings.of("mine")})
        assert present == {(trial.trial_key, 1, "mine") for trial in trials}
        refuse_other_numbers(storage, settings, ["ncc"])
        refuse_other_numbers(storage, settings, ["mine"], [second.trial_key])
    plain = Path(folder) / table.part_name(first.trial_key, 1, "mine")
    (Path(folder) / table.part_name(first.trial_key, 1, "mine", between.of("mine"))).rename(plain)  # as once named
    with pytest.raises(UserError, match=r"'mine_input': 'layer1\.0'.*'mine_input': 'pixels'"):
        table.read_table(storage.filesystem, folder)
