"""`python -m analysis graph`: its table, that it goes on where it stopped, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from analysis import encoder
from analysis.__main__ import main
from analysis.figures import eigenvector_angles
from analysis.figures.base.numbers import Frame
from analysis.graph import command
from analysis.table import MEASUREMENTS, read_table
from ray_ssl.storage import Storage

FLAGS = ("--dataset", "shapes", "--num-images", "60", "--num-test-images", "40", "--resolution", "2", "--levels", "3",
         "--k", "4", "--sizes", "4", "8", "--steps", "12", "--num-seeds", "2")  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def drawn() -> Iterator[list[Storage]]:
    """Where figures and report would be made: every one of them takes seconds, and has tests of its own."""
    shown: list[Storage] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "show", lambda storage: shown.append(storage) or 0)
        yield shown


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    assert main(["graph", *FLAGS, "--storage", str(folder)]) == 0
    return folder


def read(folder: Path) -> Frame:
    storage = Storage.at(str(folder))
    return read_table(storage.filesystem, storage.path(MEASUREMENTS))


def test_table_holds_what_the_theory_compares(folder: Path) -> None:
    table = read(folder)
    assert set(table["method"]) == {"eigenvectors", "spectral table", "spectral network"}
    last = table[(table["method"] == "spectral table") & (table["epoch"] == 12) & (table["level"] == "none")]
    first = table[(table["method"] == "spectral table") & (table["epoch"] == 0) & (table["level"] == "none")]
    for metric, better in (("eigenvector_alignment", 1), ("spectral_loss", -1)):
        change = last[last["metric"] == metric]["value"].mean() - first[first["metric"] == metric]["value"].mean()
        assert change * better > 0
    losses = table.pivot_table(index=["trial_key", "epoch"], columns="metric", values="value")
    assert (losses["spectral_loss"] >= losses["least_loss"] - 1e-4).all()
    exact = table[table["method"] == "eigenvectors"]
    wide = exact.pivot_table(index=["width", "level"], columns="metric", values="value").dropna(subset=["head_error"])
    assert len(wide) == 4 and (wide["head_error"] <= wide["head_error_bound"]).all()
    assert np.isfinite(table["value"]).all()


def test_figure_has_both_rows(folder: Path) -> None:
    numbers = eigenvector_angles.numbers(read(folder))
    assert set(numbers["metric"]) == {"eigenvector_alignment", "eigenvector_cosine"} and set(numbers["n"]) == {2}
    figure = eigenvector_angles.draw(read(folder))
    assert figure is not None and len(figure.axes) == 2


def test_figures_and_report_are_made(folder: Path, drawn: list[Storage]) -> None:
    assert drawn[0].uri == Storage.at(str(folder)).uri


def test_nothing_is_measured_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read(folder)
    removed = sorted((folder / MEASUREMENTS).glob("*-000012-graph.parquet"))[0]
    removed.unlink()
    monkeypatch.setattr(command, "measure_eigenvectors", lambda *_: pytest.fail("measured again"))
    assert main(["graph", *FLAGS, "--storage", str(folder)]) == 0
    order = ["trial_key", "epoch", "level", "split", "metric"]
    ours, theirs = (table.sort_values(order, ignore_index=True) for table in (before, read(folder)))
    assert ours.equals(theirs)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--dataset says of which images"),
        ((*FLAGS, "--k", "1"), "--k and --sizes are 2 or more"),
        ((*FLAGS, "--sizes", "5000"), "k is 1 to the number of nodes"),
        ((*FLAGS, "--crops", "40"), "a crop of 40 pixels does not fit images of 32"),
        ((*FLAGS, "--resolution", "0"), "resolution of views is 1 or more, given 0"),
        ((*FLAGS, "--num-images", "x"), "num_images"),
    ],
)
def test_bad_input_is_one_line(
    flags: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["graph", *flags, "--storage", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
