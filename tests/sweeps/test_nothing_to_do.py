"""A command that finds everything done says so without images, Ray, MLflow or figures, unless one of them is amiss."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.sweeps.command import QUICK, ROOT, run
from tests.sweeps.test_sweep import assert_every_point_once, sweep_folder

HEAVY = ("ray", "mlflow", "matplotlib", "torchvision", "torch._dynamo")
SHORT = [*QUICK, "--widths", "4"]


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


def checksums(sweep: Path) -> dict[str, str]:
    return {str(f.relative_to(sweep)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sweep.glob(
        "*/checkpoints/*/model.safetensors")}  # fmt: skip


def test_a_damaged_checkpoint_is_set_aside_and_comes_back_with_the_same_command(finished: Path) -> None:
    sweep = sweep_folder(finished)
    analysis = [str(sweep), "--metrics", "linear_probe", "--address", "local"]
    before = checksums(sweep)
    parts = {part.name: part.read_bytes() for part in (sweep / "measurements").iterdir()}
    for part in (sweep / "measurements").iterdir():
        part.unlink()
    model = next(sweep.glob("*/checkpoints/epoch-000001/model.safetensors"))
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    card = next(sweep.glob("*/checkpoints/epoch-000004/card.json"))
    card.write_bytes(card.read_bytes()[:100])

    code, out, err = run(finished, *analysis, module="analysis")
    assert code == 1
    said = sorted(err.splitlines())
    assert len(said) == 2
    for line, epoch in zip(said, (1, 4), strict=True):
        assert f"vicreg 1-4 seed 0 ({model.parts[-4]}), epoch {epoch}: damaged checkpoint (checkpoints/epoch-0" in line
        assert "is torn or altered), set aside in " in line
        assert line.endswith("; the sweep's command trains it again")
    assert "measured 1/3, 2 failed" in out
    measured = {part.name.split("-")[1] for part in (sweep / "measurements").iterdir()
                if not part.name.endswith("-training.parquet")}  # fmt: skip
    assert measured == {"000000"}
    aside = next(sweep.glob("*/damaged/checkpoints/epoch-000001/model.safetensors"))
    assert aside.read_bytes() == bytes(content)
    assert not model.exists()

    code, out, err = run(finished, *analysis, module="analysis")
    assert (code, err) == (0, "")  # told once
    code, out, err = run(finished, *SHORT)
    assert (code, err) == (0, "")
    assert "trials: 1 to train again" in out
    assert "its checkpoint of epoch 1, 4 is damaged or missing" in out
    assert "measured 2/2" in out
    assert checksums(sweep) == before
    assert {part.name: part.read_bytes() for part in (sweep / "measurements").iterdir()} == parts
    assert_every_point_once(finished, 4, 1)
    code, out, err = run(finished, *SHORT)
    assert "nothing to do: every trial is trained and measured" in out


def test_a_copy_is_measured_and_resumed_beside_its_original(finished: Path, tmp_path: Path) -> None:
    """And a moved folder goes on as itself."""
    original = sweep_folder(finished)
    (tmp_path / "results").mkdir()
    copy = Path(shutil.copytree(original, tmp_path / "results" / original.name))
    before = contents(finished / "results")
    code, out, err = run(tmp_path, str(copy), "--metrics", "ncc", module="analysis")
    assert (code, err) == (0, "") and f"note: this folder is a copy of {original}: it is logged on its own" in out
    code, out, err = run(tmp_path, *SHORT, "--metrics", "linear_probe", "ncc")
    assert (code, err) == (0, "") and "nothing to do" in out
    assert contents(finished / "results") == before
    assert_every_point_once(tmp_path, 4, 1)
    (tmp_path / "results").rename(tmp_path / "moved")
    code, out, err = run(tmp_path, f"moved/{original.name}", module="analysis")
    assert (code, err) == (0, "") and "note: this folder" not in out
    assert not (tmp_path / "results").exists()
    (tmp_path / "moved").rename(tmp_path / "results")
    assert_every_point_once(tmp_path, 4, 1)
    assert contents(finished / "results") == before


def contents(folder: Path) -> dict[str, str]:
    """sha256 of every file, of the database what is in it."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        found = {"mlflow.db": hashlib.sha256("".join(database.iterdump()).encode()).hexdigest()}
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("mlflow.db"))
    return found | {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
