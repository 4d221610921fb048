"""The table of measurements: whole parts come back exactly, torn ones count as missing, foreign ones are refused."""

import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs as pafs

from analysis.metrics.base import Measurement
from analysis.table import (
    KEY,
    KIND,
    SCHEMA,
    Checkpoint,
    LayerMeasurement,
    part_name,
    read_table,
)
from ray_ssl.errors import UserError
from tests.analysis.written_tables import write_part

FS = pafs.LocalFileSystem()


def checkpoint(trial_key: str = "00ff00ff00ff00ff", epoch: int = 3) -> Checkpoint:
    return Checkpoint("depth_width", trial_key, "vicreg", 2, 16, 0, "shapes", epoch)


def row(value: float, layer: int = 0) -> LayerMeasurement:
    return LayerMeasurement(layer, f"block{layer}", Measurement("class", "test", "linear_accuracy", value))


def write(
    folder: Path, *rows: LayerMeasurement, at: Checkpoint | None = None, module="linear_probe", **settings
) -> Path:
    return Path(write_part(FS, str(folder), at or checkpoint(), module, rows or (row(0.5),), settings))


def test_values_come_back_bit_exact_with_the_columns_of_the_schema(tmp_path):
    values = [0.1 + 0.2, 1e-300, float("inf"), float("nan")]
    write(tmp_path / "new" / "folder", *[row(v, layer) for layer, v in enumerate(values)])
    table = read_table(FS, str(tmp_path / "new" / "folder"))
    assert list(table.columns) == SCHEMA.names
    assert table["value"].to_numpy().tobytes() == np.array(values).tobytes()
    expected = {**checkpoint()._asdict(), "layer": 0, "layer_name": "block0", **row(values[0]).measurement._asdict()}
    assert table.iloc[0].to_dict() == expected
    assert [table[c].dtype for c in ("depth", "epoch", "value")] == [np.int32, np.int32, np.float64]


def test_a_missing_folder_is_an_empty_table_of_the_same_columns(tmp_path):
    table = read_table(FS, str(tmp_path / "none"))
    assert len(table) == 0 and list(table.columns) == SCHEMA.names
    assert KIND.present(FS, str(tmp_path / "none")) == set()


def test_a_part_name_says_what_is_present_even_without_rows(tmp_path):
    write(tmp_path, at=checkpoint(epoch=1_234_567))
    write_part(FS, str(tmp_path), checkpoint(epoch=0), "cdnv", [], {})
    key = checkpoint().trial_key
    assert KIND.present(FS, str(tmp_path)) == {(key, 1_234_567, "linear_probe"), (key, 0, "cdnv")}
    assert len(read_table(FS, str(tmp_path))) == 1


def test_a_part_is_written_by_a_single_call(tmp_path):
    calls = []

    class Stream:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            calls.append("close")

        def write(self, content):
            calls.append(bytes(content))

    class Store:
        def create_dir(self, folder, recursive):
            calls.append("folder")

        def open_output_stream(self, path):
            return Stream()

    write_part(Store(), "bucket/measurements", checkpoint(), "rank", [row(1.0)], {})  # type: ignore[arg-type]
    folder, content, close = calls
    assert (folder, close) == ("folder", "close") and content[:4] == content[-4:] == b"PAR1"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_torn_part_is_reported_once_and_counts_as_missing_until_it_is_written_again(tmp_path, caplog, share):
    whole, torn = write(tmp_path), write(tmp_path, row(0.7), at=checkpoint(epoch=4))
    torn.write_bytes(torn.read_bytes()[: int(share * torn.stat().st_size)])
    with caplog.at_level(logging.WARNING):
        assert [n for _, n, _ in KIND.present(FS, str(tmp_path))] == [3]
        assert read_table(FS, str(tmp_path))["epoch"].tolist() == [3]
    assert [str(torn) in r.getMessage() for r in caplog.records] == [True]
    write(tmp_path, row(0.7), at=checkpoint(epoch=4))
    assert read_table(FS, str(tmp_path))["epoch"].tolist() == [3, 4] and whole.exists()


def test_a_part_whose_middle_is_destroyed_is_torn_too(tmp_path):
    part = write(tmp_path, *[row(v, n) for n, v in enumerate(np.random.default_rng(0).random(500))])
    content = bytearray(part.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    part.write_bytes(content)
    assert KIND.present(FS, str(tmp_path)) == set() and len(read_table(FS, str(tmp_path))) == 0


def test_every_flipped_bit_of_a_part_is_noticed(tmp_path, caplog):
    part = write(tmp_path, row(0.25), row(float("nan"), layer=1), penalty=0.1)
    whole = part.read_bytes()
    for at in range(len(whole)):
        altered = bytearray(whole)
        altered[at] ^= 1 << at % 8
        assert KIND.parse(f"{at}/{part.name}", bytes(altered)) is None, at
    assert len(caplog.records) == len(whole)
    assert KIND.parse(str(part), whole) is not None


def test_a_part_with_zeros_in_it_is_torn_and_never_foreign(tmp_path):
    part = write(tmp_path)
    whole = part.read_bytes()
    for at in range(0, len(whole), 7):
        for length in (16, 64, 256):
            altered = whole[:at] + bytes(len(whole[at : at + length])) + whole[at + length :]
            assert altered == whole or KIND.parse(str(part), altered) is None, (at, length)


def test_a_part_is_plain_parquet_for_everybody(tmp_path):
    write(tmp_path, row(0.25), row(0.75, layer=1), at=checkpoint()._replace(seed=2**63 - 1))
    table = pd.read_parquet(tmp_path)
    assert list(table.columns) == SCHEMA.names and table["value"].tolist() == [0.25, 0.75]
    assert set(table["seed"]) == {2**63 - 1} == set(read_table(FS, str(tmp_path))["seed"])


@pytest.mark.parametrize("name", ["results.parquet", part_name("0" * 16, 0, "linear_probe")])
def test_a_foreign_parquet_file_is_refused_by_name_in_one_line(tmp_path, name):
    write(tmp_path)
    pq.write_table(pa.table({"x": [1]}), tmp_path / name)
    for read in (read_table, KIND.present):
        with pytest.raises(UserError) as error:
            read(FS, str(tmp_path))
        assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


def test_a_part_of_another_format_version_is_refused_by_name(tmp_path):
    part = write(tmp_path)
    table = pq.read_table(part)
    pq.write_table(table.replace_schema_metadata({"format": "1", "settings": "{}"}), part)
    with pytest.raises(UserError, match=f"{part.name} is of format 1 .* reads format 2"):
        read_table(FS, str(tmp_path))


def test_files_that_are_no_parquet_files_and_hidden_ones_are_left_alone(tmp_path):
    write(tmp_path)
    for name in ("notes.txt", "._x.parquet", "_SUCCESS"):
        (tmp_path / name).write_text("x")
    assert len(read_table(FS, str(tmp_path))) == 1


def test_duplicate_measurements_are_kept_once_the_last_by_part_name(tmp_path):
    write(tmp_path, row(0.1), row(0.2, layer=1), module="a_probe")
    write(tmp_path, row(0.3), module="b_probe")
    table = read_table(FS, str(tmp_path))
    assert dict(zip(table["layer"], table["value"], strict=True)) == {0: 0.3, 1: 0.2}
    assert len(table[list(KEY)].drop_duplicates()) == len(table)


def test_parts_of_other_settings_are_measured_again_and_never_mixed(tmp_path):
    first = write(tmp_path, penalty=0.1)
    second = write(tmp_path, at=checkpoint(epoch=4), penalty=0.2)
    write(tmp_path, module="rank", images=10)  # each module has its own settings
    with pytest.raises(UserError, match=f"{second.name}.*0.2.*{first.name}.*0.1"):
        read_table(FS, str(tmp_path))
    found = KIND.present(FS, str(tmp_path), {"linear_probe": {"penalty": 0.2}})
    assert {(epoch, module) for _, epoch, module in found} == {(4, "linear_probe"), (3, "rank")}
    assert len(KIND.present(FS, str(tmp_path))) == 3


def test_two_thousand_parts_read_faster_than_one_by_one_into_pandas(tmp_path):
    for i in range(2000):
        write(tmp_path, *[row(0.5, layer) for layer in range(8)], at=checkpoint(f"{i:016x}"))
    paths = sorted(tmp_path.iterdir())
    start = time.perf_counter()
    table = read_table(FS, str(tmp_path))
    together = time.perf_counter() - start
    start = time.perf_counter()
    for path in paths[:200]:
        pd.read_parquet(path)
    one_by_one = 10 * (time.perf_counter() - start)
    assert len(table) == 16_000 and len(set(table["trial_key"])) == 2000
    assert together < one_by_one
