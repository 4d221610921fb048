"""A folder that was moved is the same sweep; a copy of one that is still there is another."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.publication import TRACKING
from analysis.tracked import Tracking, original, place
from ray_ssl.errors import UserError
from ray_ssl.ledger import SWEEP, Ledger
from ray_ssl.storage import Storage
from ray_ssl.tracking import TrialRun, local_store

EXPERIMENT = "e"


def made(folder: Path, question: str = "q") -> Ledger:
    """A sweep without trials that remembers the default store of its results folder."""
    ledger = Ledger(Storage.at(folder))
    ledger.open(question, {"training.epochs": 20})
    Tracking(local_store(folder.parent)[0], EXPERIMENT, folder.name, local_store(folder.parent)[1]).remember(ledger)
    return ledger


def copied(one: Path, other: Path) -> Path:
    return Path(shutil.copytree(one, other))


def moved(one: Path, other: Path) -> Path:
    other.parent.mkdir(exist_ok=True)
    return one.rename(other)


def linked(one: Path, other: Path) -> Path:
    other.parent.mkdir(exist_ok=True)
    other.symlink_to(one)
    return other


def replaced(one: Path, other: Path) -> Path:
    """Moved, and in its old place is another sweep now."""
    moved(one, other)
    made(one, "something else")
    return other


@pytest.mark.parametrize(
    ("how", "is_copy"), [(copied, True), (moved, False), (linked, False), (replaced, False)]
)  # fmt: skip
@pytest.mark.parametrize("from_before", [False, True])
def test_a_copy_is_told_from_a_moved_folder(
    how: Callable[[Path, Path], Path], is_copy: bool, from_before: bool, tmp_path: Path
) -> None:
    first = made(tmp_path / "results" / "s").sweep
    known = first.read_sealed(TRACKING)
    assert known is not None and original(first, known) is None
    if from_before:
        first.write_sealed(TRACKING, {name: value for name, value in known.items() if name != "folder"})
    other = Storage.at(how(tmp_path / "results" / "s", tmp_path / "other" / "s"))
    known = other.read_sealed(TRACKING)
    assert known is not None
    found = original(other, known)
    assert found == (first if is_copy else None)


def test_a_copy_gets_a_store_of_its_own_and_says_so_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = made(tmp_path / "results" / "s")
    copy = Ledger(Storage.at(copied(tmp_path / "results" / "s", tmp_path / "other" / "s")))
    theirs = local_store(tmp_path / "results")[0]
    tracking = Tracking.recalled(copy, None)
    assert (tracking.uri, tracking.artifact_root) == local_store(tmp_path / "other")
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and f"a copy of {first.sweep.uri}: it is logged on its own, at sqlite" in said
    assert f"--tracking-uri {theirs} logs it into the original's runs" in said
    tracking.remember(copy)
    assert Tracking.recalled(copy, None) == tracking and capsys.readouterr().out == ""
    assert Tracking.recalled(first, None).uri == theirs
    assert Tracking.recalled(copy, theirs).uri == theirs  # asked for


def test_a_copy_that_is_logged_at_the_original_s_server_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Tracking("http://server:5000", EXPERIMENT, "s", None)
    first = made(tmp_path / "results" / "s")
    server.remember(first)
    copy = Ledger(Storage.at(copied(tmp_path / "results" / "s", tmp_path / "other" / "s")))
    server.remember(copy)
    assert "both are logged into the same runs of experiment e; another --experiment" in capsys.readouterr().out
    server.remember(first)
    assert capsys.readouterr().out == ""


def test_a_copy_whose_default_store_is_the_original_s_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in two buckets, whose default store is in the folder where the command is typed."""
    made(tmp_path / "results" / "s")
    copy = Ledger(Storage.at(copied(tmp_path / "results" / "s", tmp_path / "other" / "s")))
    monkeypatch.setattr("analysis.tracked.default_store", lambda storage: local_store(tmp_path / "results"))
    with pytest.raises(UserError, match=r"is a copy of .*results/s, .*: give it a store of its own, --tracking-uri "):
        Tracking.recalled(copy, None)


def test_moved_results_find_their_store(tmp_path: Path) -> None:
    """Alone it keeps the store that has its runs; with all results that goes with it, and is not made anew."""
    ledger = made(tmp_path / "results" / "s")
    tracker = Tracking.recalled(ledger, None).connect()
    tracker.begin(TrialRun("a" * 16, "one", artifacts={"config.json": "{}"}))
    assert tracker.close(30) == 0
    alone = Ledger(Storage.at(moved(tmp_path / "results" / "s", tmp_path / "other" / "s")))
    assert Tracking.recalled(alone, None).uri == local_store(tmp_path / "results")[0]
    moved(tmp_path / "other" / "s", tmp_path / "results" / "s")
    (tmp_path / "results").rename(tmp_path / "archive")
    whole = Ledger(Storage.at(tmp_path / "archive" / "s"))
    tracking = Tracking.recalled(whole, None)
    assert tracking.uri == local_store(tmp_path / "archive")[0]
    tracker = tracking.connect()
    tracker.begin(TrialRun("b" * 16, "two", artifacts={"config.json": "{}"}))
    assert tracker.close(30) == 0
    assert not (tmp_path / "results").exists()
    with sqlite3.connect(tmp_path / "archive" / "mlflow.db") as database:
        places = [Path(uri.removeprefix("file://")) for (uri,) in database.execute("SELECT artifact_uri FROM runs")]
    assert len(places) == 3 and all(one.is_relative_to(tmp_path / "archive") for one in places)
    assert sum((one / "config.json").is_file() for one in places) == 2


def test_a_place_is_the_same_however_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert place(Storage(str(tmp_path / "link"))) == place(Storage(f"file://{tmp_path}/a")) == str(tmp_path / "a")
    assert (
        place(Storage("s3://key:secret@bucket/a/s?region=x")) == place(Storage("s3://bucket/a/s")) == "s3://bucket/a/s"
    )


def test_a_folder_that_cannot_be_reached_counts_as_moved(tmp_path: Path) -> None:
    sweep = made(tmp_path / "results" / "s").sweep
    known = {"uri": "http://server", "experiment": EXPERIMENT, "artifact_root": None}
    for stood in ("/nowhere/s", "gopher://x/s", "s3://"):
        assert original(sweep, known | {"folder": stood}) is None
    assert sweep.read_sealed(SWEEP) is not None
