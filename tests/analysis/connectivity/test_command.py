"""`python -m analysis connectivity`: rows of the table, interrupted and gone on with, one line where it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import __main__ as command
from analysis.command import read_measurements
from analysis.connectivity import networks
from analysis.connectivity.classifier import Examiner
from analysis.connectivity.stored import ERRORS, PAIRS, read_errors, record_name
from analysis.figures.base.numbers import Frame
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.data import load_dataset
from ray_ssl.ledger import Ledger, make_trials
from ray_ssl.storage import Storage

SHIFTED = {"data.shift": "domains:star5,disc,ring", "data.num_images": 48, "data.num_test_images": 24,
           "data.image_size": 16}  # fmt: skip
FLAGS = ["--steps", "1"]


def make_sweep(folder: Path, options: dict[str, object] = SHIFTED, seeds: tuple[int, ...] = (0, 1)) -> Ledger:
    """Trials that were not trained."""
    ledger = Ledger(Storage.at(folder))
    base = replace(PretrainConfig(), dict(options))
    fingerprint = load_dataset(base.data).fingerprint
    for trial in make_trials([replace(base, {"seed": seed}) for seed in seeds], fingerprint):
        ledger.write_config(trial)
    return ledger


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the networks that are trained; "stop" in it stops before the next one."""
    names: list[str] = []
    train: Callable = Examiner._train

    def counting(self: Examiner, problem):
        if "stop" in names:
            raise KeyboardInterrupt
        names.append(f"{self.seed}/{problem.name}")
        return train(self, problem)

    monkeypatch.setattr(Examiner, "_train", counting)
    return names


def measured(ledger: Ledger) -> Frame:
    table: Frame = read_measurements(ledger.sweep)
    return table.sort_values(["seed", "level", "metric"], ignore_index=True)


def test_every_trial_has_the_edges_of_its_seed_and_nothing_is_measured_twice(
    tmp_path: Path, counted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = make_sweep(tmp_path)
    assert command.main(["connectivity", str(tmp_path), *FLAGS]) == 0
    table = measured(ledger)
    assert counted == ["0/joint", "1/joint"]
    assert table.groupby("seed").size().to_dict() == {0: 12, 1: 12}  # 3 pairs, 4 edges
    assert set(table["level"]) == {"class:0-1", "class:0-2", "class:1-2"} and set(table["layer"]) == {-2}
    out = capsys.readouterr().out
    assert f"python -m analysis {tmp_path} --metrics transfer_pairs" in out and "connectivity_rho" in out
    make_sweep(tmp_path, seeds=(0, 1, 2))  # one more trial
    assert command.main(["connectivity", str(tmp_path), *FLAGS]) == 0
    assert counted == ["0/joint", "1/joint", "2/joint"]
    pd.testing.assert_frame_equal(measured(ledger)[:24], table)
    assert command.main(["connectivity", str(tmp_path), *FLAGS]) == 0
    assert "nothing to measure" in capsys.readouterr().out and len(counted) == 3


def test_interrupted_and_gone_on_with_equals_uninterrupted(tmp_path: Path, counted: list[str]) -> None:
    flags = [*FLAGS, "--way", "pairs", "--pairs", "1"]
    whole, broken = make_sweep(tmp_path / "whole", seeds=(0,)), make_sweep(tmp_path / "broken", seeds=(0,))
    assert command.main(["connectivity", str(tmp_path / "whole"), *flags]) == 0
    every = list(counted)
    assert len(every) == 10  # four groups: each by itself, and every two
    counted.clear()
    original = networks.write_errors

    def stopping(*arguments):
        original(*arguments)
        counted.extend(["stop"] if len(counted) == 4 else [])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "write_errors", stopping)
        with pytest.raises(KeyboardInterrupt):
            command.main(["connectivity", str(tmp_path / "broken"), *flags])
    counted.remove("stop")
    assert command.main(["connectivity", str(tmp_path / "broken"), *flags]) == 0
    assert counted == every
    columns = ["trial_key", "level", "metric", "value"]
    pd.testing.assert_frame_equal(measured(broken)[columns], measured(whole)[columns])


def test_altered_errors_are_measured_again_and_those_of_other_settings_when_they_are_deleted(
    tmp_path: Path, counted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = make_sweep(tmp_path, seeds=(0,))
    command.main(["connectivity", str(tmp_path), *FLAGS])
    first = measured(ledger)
    content = bytearray(ledger.sweep.read(ERRORS))
    content[-1] ^= 1
    ledger.sweep.write(ERRORS, bytes(content))
    command.main(["connectivity", str(tmp_path), *FLAGS])
    assert counted == ["0/joint"] * 2
    pd.testing.assert_frame_equal(measured(ledger), first)
    capsys.readouterr()
    assert command.main(["connectivity", str(tmp_path), "--steps", "2"]) == 2
    record = tmp_path / record_name(PAIRS)
    assert capsys.readouterr().err == (
        f"error: --steps 2: this is measured with --steps 1 here, and would be replaced: give the same, or delete "
        f"{ledger.sweep.address(record.name)} first\n"
    )
    assert len(counted) == 2
    pd.testing.assert_frame_equal(measured(ledger), first)
    record.unlink()
    assert command.main(["connectivity", str(tmp_path), "--steps", "2"]) == 0
    assert counted == ["0/joint"] * 3 and not np.allclose(measured(ledger)["value"], first["value"])
    assert read_errors(ledger.sweep, {"data_fingerprint": "other"}) == {}


@pytest.mark.parametrize(
    ("options", "flags", "words"),
    [
        ({**SHIFTED, "data.shift": ""}, [], "the sweep's images need a --shift"),
        (SHIFTED, ["--pairs", "4"], "--pairs 4 is more than there are: 3 classes make 3 pairs"),
        (SHIFTED, ["--pairs", "0"], "--pairs is at least 1, given 0"),
        (SHIFTED, ["--steps", "0"], "--steps is at least 1, given 0"),
        ({**SHIFTED, "data.num_test_images": 10}, [], "1 class(es) have them"),
    ],
)
def test_what_cannot_be_is_one_line(
    options: dict[str, object], flags: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sweep(tmp_path, options, seeds=(0,))
    assert command.main(["connectivity", str(tmp_path), *flags]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_a_folder_without_trials_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["connectivity", str(tmp_path)]) == 2
    assert "is no sweep folder" in capsys.readouterr().err
