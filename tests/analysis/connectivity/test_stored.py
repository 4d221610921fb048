"""Errors of groups in the folder of a sweep: what is killed while they are written loses none of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.connectivity.compared import unfinished
from analysis.connectivity.estimated import IMAGE, file_name
from analysis.connectivity.groups import GroupErrors
from analysis.connectivity.stored import read_errors, write_errors
from analysis.tasks import IMAGE_GRAPH
from ray_ssl.storage import Storage

ABOUT = {"groups": IMAGE, "num_test": [4, 4, 4]}
NAME = file_name(IMAGE)


def errors(value: float) -> GroupErrors:
    between = np.full((3, 3), value)
    np.fill_diagonal(between, np.nan)
    return GroupErrors(between, np.full(3, 0.5))


@pytest.mark.parametrize("num_kills", [1, 2])
def test_killed_between_the_files_all_that_was_committed_is_there(
    num_kills: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Storage.at(tmp_path)
    write_errors(sweep, ABOUT, {0: errors(0.1)}, NAME)
    for _ in range(num_kills):
        with monkeypatch.context() as patch:
            patch.setattr(Storage, "write_sealed", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                write_errors(sweep, ABOUT, {0: errors(0.1), 1: errors(0.2)}, NAME)
        assert list(read_errors(sweep, ABOUT, NAME)) == [0]
    write_errors(sweep, ABOUT, {0: errors(0.1), 1: errors(0.2)}, NAME)
    assert list(read_errors(sweep, ABOUT, NAME)) == [0, 1]
    (tmp_path / f"{NAME}.safetensors").write_bytes(b"torn")
    assert read_errors(sweep, ABOUT, NAME) == {}  # the file before is of another record


def test_an_estimate_that_lacks_seeds_is_said(tmp_path: Path) -> None:
    sweep, tasks = Storage.at(tmp_path / "a sweep"), [f"estimated_alignment@{IMAGE_GRAPH}"]
    assert unfinished(sweep, tasks, {0, 1}) == []  # there is none
    begun = errors(0.2)
    begun.within[1] = np.nan
    write_errors(sweep, ABOUT, {0: errors(0.1), 1: begun}, NAME)
    (line,) = unfinished(sweep, tasks, {0, 1})
    assert "of groups image is estimated with 1 of 2 seeds" in line and "connectivity '" in line
    write_errors(sweep, ABOUT, {0: errors(0.1), 1: errors(0.2)}, NAME)
    assert unfinished(sweep, tasks, {0, 1}) == []
