"""What the sweep of every panel trains and measures, before anything is trained; the training is test_randomness's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sweeps.run
from analysis.tasks import DATA, SAMPLE, TARGETS, find_tasks
from ray_ssl.data import load_dataset
from ray_ssl.ledger import make_trials
from ray_ssl.storage import Storage
from ray_ssl.targets import SPLITS, SplitFacts, Targets, TargetSet, write_targets
from sweeps.cli import Request, main, parse
from sweeps.reverse_engineering import SWEEP

LINE = [
    "--depths", "1", "2", "--widths", "6", "8", "--seeds", "0", "1", "--num-images", "40", "--num-test-images", "80",
    "--epochs", "3", "--projector-width", "16", "--embedding-dim", "8", "--randomness", "0", "1", "--train-on", "0",
    "--global-batch-size", "20", "--num-samples", "20",
]  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What would have run."""
    requests: list[Request] = []

    def note(request: Request) -> int:
        requests.append(request)
        return 0

    monkeypatch.setattr(sweeps.run, "run", note)
    return requests


def with_targets(folder: Path, *more: str) -> list[str]:
    """The line, with targets of two levels already in its folder."""
    request = parse(SWEEP, [*LINE, *more])
    dataset = load_dataset(request.base.data)
    labels = {split: np.zeros(len(getattr(dataset, split)), np.int64) for split in SPLITS}
    facts: dict[str, SplitFacts] = {split: SplitFacts(0.1, 0.0, 1, 1.0) for split in SPLITS}
    sets = {f"teacher-{level:.2f}": TargetSet(labels, facts, level, 3) for level in (0, 1)}
    write_targets(Storage.at(folder / request.name), Targets(dataset.fingerprint, sets))
    return [*LINE, *more, "--storage", str(folder)]


def test_every_network_is_trained_supervised_too_and_the_largest_on_a_target(
    tmp_path: Path, asked: list[Request]
) -> None:
    assert main(SWEEP, with_targets(tmp_path)) == 0
    (request,) = asked
    found = [
        (c.method.name + c.variant, c.backbone.model_dump()["depth"], c.backbone.model_dump()["width"], c.seed)
        for c in request.grid.configs()
    ]
    networks = [(depth, width, seed) for depth in (1, 2) for width in (6, 8) for seed in (0, 1)]
    methods = ("vicreg", "supervised", "supervised (no augmentation)")
    expected = [(method, *network) for method in methods for network in networks]
    expected += [("supervised on teacher-0.00", 2, 8, seed) for seed in (0, 1)]
    assert sorted(found) == sorted(expected)


def test_all_that_the_panels_need_is_measured(tmp_path: Path, asked: list[Request]) -> None:
    assert main(SWEEP, with_targets(tmp_path)) == 0
    tasks = asked[0].tasks
    assert {"mine", "umap", "umap@sample", "linear_probe", "ncc@sample", "cdnv@targets"} <= set(tasks)
    assert {task.partition("@")[2] or "data" for task in tasks} == {DATA, SAMPLE, TARGETS}
    of_trial = {t.name: asked[0].tasks_of(t) for t in make_trials(asked[0].grid.configs(), "data")}
    assert of_trial["vicreg 1-6 seed 0"] == tasks
    assert of_trial["supervised 2-8 seed 0 on teacher-0.00"] == find_tasks(None, [DATA, TARGETS])
    for reference in ("supervised 1-6 seed 0", "supervised 1-6 seed 0 (no augmentation)"):
        assert of_trial[reference] == find_tasks()


def test_what_was_asked_for_is_measured_of_all_networks(tmp_path: Path, asked: list[Request]) -> None:
    assert main(SWEEP, [*with_targets(tmp_path), "--metrics", "ncc", "--levels", "data"]) == 0
    assert {asked[0].tasks_of(trial) for trial in make_trials(asked[0].grid.configs(), "data")} == {("ncc",)}


def test_the_teacher_is_the_largest_network_unless_told(tmp_path: Path, asked: list[Request]) -> None:
    assert main(SWEEP, [*LINE, "--storage", str(tmp_path)]) == 2  # nothing was trained, so that its labels are lacking
    assert asked[0].base.backbone.model_dump()["depth"] == 2
    assert asked[0].base.backbone.model_dump()["width"] == 8
    other = ["--teacher-depth", "3", "--teacher-width", "4", "--storage", str(tmp_path / "other")]
    assert main(SWEEP, [*LINE, *other]) == 2
    assert asked[1].base.backbone.model_dump()["depth"] == 3
    assert asked[1].base.backbone.model_dump()["width"] == 4


def test_a_wider_grid_keeps_the_folder_and_the_targets(tmp_path: Path, asked: list[Request]) -> None:
    line = with_targets(tmp_path)
    assert main(SWEEP, line) == 0
    assert main(SWEEP, [*line, "--depths", "1", "2", "4"]) == 0
    narrow, wide = asked
    assert narrow.name == wide.name and not wide.is_part
    before, after = ({c.to_json() for c in r.grid.configs() if c.trained_on == "class"} for r in (narrow, wide))
    assert before < after


def test_a_teacher_out_of_range_is_named_by_its_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SWEEP, [*LINE, "--teacher-depth", "0", "--storage", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "--teacher-depth takes a whole number of at least 1, given 0" in error and error.count("\n") == 1
