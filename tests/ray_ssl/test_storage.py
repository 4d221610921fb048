"""Where files are: children and ancestors of local paths and URIs, and what an error says of its file."""

import errno
from pathlib import Path

import pytest
from pyarrow import fs

from ray_ssl.storage import Storage, describe_os_error


@pytest.mark.parametrize("name", ["re?s", "a?b?c", "50%", "#1", "a b", "x=1&y"])
def test_a_local_path_is_taken_letter_by_letter(tmp_path: Path, name: str) -> None:
    storage = Storage.at(tmp_path / name)
    child = storage.child("sweep").child("trial")
    child.write("a.txt", b"x")
    assert (tmp_path / name / "sweep" / "trial" / "a.txt").read_bytes() == b"x"
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (storage.name, child.name) == (name, "trial")
    assert child.ancestor(2) == storage and child.ancestor(1).names() == ["trial"]


def test_a_uri_keeps_its_query() -> None:
    storage = Storage("s3://bucket/results?region=x")
    assert storage.child("sweep") == Storage("s3://bucket/results/sweep?region=x")
    assert storage.child("sweep").address("report.html") == "s3://bucket/results/sweep/report.html?region=x"
    assert storage.child("sweep").ancestor(1) == storage and storage.name == "results"


def test_an_error_names_the_file_it_is_about(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "x"
    with pytest.raises(OSError, match="Not a directory") as ours:
        inside.read_bytes()
    with pytest.raises(OSError, match="Not a directory") as arrows:
        fs.LocalFileSystem().open_input_stream(str(inside))
    for caught in (ours, arrows):
        assert describe_os_error(caught.value) == f"Not a directory: '{inside}'"
    assert describe_os_error(OSError(errno.EIO, "no file in it")) == "Input/output error"
    assert describe_os_error(OSError(errno.ENOSPC, "full", "x")).startswith("the disk is full")
