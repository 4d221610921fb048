"""A command that finds everything done says so without images, Ray, MLflow or figures, unless one of them is amiss."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.sweeps.command import ROOT, TINY, run
from tests.sweeps.test_sweep import assert_every_point_once, sweep_folder

HEAVY = ("ray", "mlflow", "matplotlib", "torchvision", "torch._dynamo")
SHORT = [*TINY, "--widths", "4"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    code, _, err = run(folder, *SHORT)
    assert (code, err) == (0, "")
    return folder


def run_and_list_imports(folder: Path, *arguments: str, sweep: str = "depth_width") -> tuple[int, str, list[str]]:
    """Exit code, output, and which of the heavy packages were imported."""
    code = f"""
import json, sys
from sweeps.cli import main
from sweeps.{sweep} import SWEEP
code = main(SWEEP, {list(arguments)!r})
print(json.dumps([code, [name for name in {HEAVY!r} if name in sys.modules]]))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, text=True, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    out, _, last = done.stdout.rstrip().rpartition("\n")
    exit_code, heavy = json.loads(last)
    return exit_code, out, heavy


def test_nothing_heavy_is_imported_where_nothing_is_to_be_done(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    code, out, heavy = run_and_list_imports(finished, *SHORT)
    assert code == 0
    assert "trials: 1 done\nnothing to do: every trial is trained and measured\n" in out
    for line in ("results  ", "table  ", "figures  ", "report  ", "MLflow  ", "next:", "took "):
        assert line in out
    assert heavy == []
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()} == before


def test_a_bad_flag_is_refused_without_them(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = f"""
import sys
from sweeps.cli import main
from sweeps.depth_width import SWEEP
try:
    main(SWEEP, ["--dephts", "2"])
except SystemExit:
    print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, env=environment)
    assert done.stdout == "[]\n"


def test_what_is_amiss_is_put_right(finished: Path) -> None:
    figure = sweep_folder(finished) / "figures" / "accuracy_by_epoch.png"
    (config,) = sweep_folder(finished).glob("*/config.json")
    content, whole = figure.read_bytes(), config.read_bytes()
    figure.unlink()
    config.write_bytes(whole[: len(whole) // 2])
    code, _, err = run(finished, *SHORT)
    assert (code, err) == (0, "")
    assert figure.read_bytes() == content and config.read_bytes() == whole

    with closing(sqlite3.connect(finished / "results" / "mlflow.db")) as database, database:
        database.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name LIKE 'vicreg%'")
    code, _, err = run(finished, *SHORT)
    assert (code, err) == (0, "")
    assert_every_point_once(finished, 4, 1)

    (finished / "results" / "mlflow.db").unlink()
    code, _, err = run(finished, *SHORT)
    assert (code, err) == (0, "")
    assert_every_point_once(finished, 4, 1)
    assert run_and_list_imports(finished, *SHORT)[2] == []
