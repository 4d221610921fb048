"""The index of the parts: what it knows is not read again, and it is never believed about what is altered."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from analysis import parts, stored
from analysis.metrics.base import Measurement
from analysis.table import KIND, Checkpoint, LayerMeasurement, read_table
from ray_ssl.errors import UserError
from ray_ssl.storage import Storage
from tests.analysis.written_tables import write_part

EPOCHS = range(4)
AN_HOUR_AGO = time.time_ns() - 3600 * 10**9


@pytest.fixture
def sweep(tmp_path: Path) -> Storage:
    storage = Storage.at(tmp_path)
    for epoch in EPOCHS:
        about = Checkpoint("s", "0" * 16, "vicreg", 1, 4, 0, "d", epoch)
        rows = [LayerMeasurement(0, "stem", Measurement("class", "test", "x", 0.5))]
        write_part(storage.filesystem, storage.path(KIND.name), about, "ncc", rows, {"penalty": epoch % 2})
    return storage


@pytest.fixture
def num_read() -> Iterator[mock.Mock]:
    with mock.patch.object(parts, "_read_bytes", wraps=parts._read_bytes) as read:
        yield read


def age(sweep: Storage) -> list[Path]:
    files = sorted((sweep.local_path / KIND.name).iterdir())
    for file in files:
        os.utime(file, ns=(AN_HOUR_AGO, AN_HOUR_AGO))
    return files


def epochs(sweep: Storage, penalty: int | None = None, remember: bool = False) -> list[int]:
    settings = None if penalty is None else {"ncc": {"penalty": penalty}}
    return sorted(epoch for _, epoch, _ in stored.present(sweep, settings, remember))


def test_what_it_knows_is_not_read_and_all_is_told_as_without_it(sweep: Storage, num_read: mock.Mock) -> None:
    age(sweep)
    without = [epochs(sweep, penalty) for penalty in (None, 0, 1, 2)]
    assert without == [[0, 1, 2, 3], [0, 2], [1, 3], []]
    epochs(sweep, remember=True)
    num_read.reset_mock()
    assert [epochs(sweep, penalty) for penalty in (None, 0, 1, 2)] == without
    assert num_read.call_count == 0


def test_young_parts_are_read_again(sweep: Storage, num_read: mock.Mock) -> None:
    epochs(sweep, remember=True)
    num_read.reset_mock()
    assert epochs(sweep) == [0, 1, 2, 3]
    assert num_read.call_count == len(EPOCHS)


def test_an_altered_part_is_read_and_does_not_count(sweep: Storage, num_read: mock.Mock) -> None:
    files = age(sweep)
    epochs(sweep, remember=True)
    files[1].write_bytes(files[1].read_bytes()[:-1] + b"x")
    files[2].unlink()
    num_read.reset_mock()
    assert epochs(sweep) == [0, 3]
    assert num_read.call_count == 1


def test_one_altered_behind_its_back_is_found_by_reading_the_table(sweep: Storage) -> None:
    files = age(sweep)
    epochs(sweep, remember=True)
    content = bytearray(files[1].read_bytes())
    content[len(content) // 2] ^= 1
    files[1].write_bytes(content)
    age(sweep)
    assert epochs(sweep) == [0, 1, 2, 3]  # planning believes it
    with pytest.raises(UserError, match="was measured with"):  # as these parts were; all are read before that is said
        read_table(sweep.filesystem, sweep.path(KIND.name))
    assert epochs(sweep) == [0, 2, 3]


@pytest.mark.parametrize("content", [b"", b"torn", b'{"format": "2"}'])
def test_a_torn_index_is_none(sweep: Storage, content: bytes) -> None:
    sweep.write(f"{KIND.name}-index.json", content)
    assert epochs(sweep) == [0, 1, 2, 3]
