"""Sweeps that tests of several files look at: made once, whichever process comes to them first."""

from pathlib import Path

import pytest
from filelock import FileLock

from tests.ray_ssl.test_batches import write_set
from tests.sweeps.command import run
from tests.sweeps.streamed import STREAMED

OUT = "out.txt"


@pytest.fixture(scope="session")
def streamed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> tuple[Path, str]:
    """A folder with the images in "set" and the finished sweep in "results", and what it printed; to be read alone."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "streamed"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / OUT).exists():
            folder.mkdir()
            code, out, err = run(folder, *STREAMED, "--dataset", write_set(folder / "set"))
            assert (code, err) == (0, "")
            (folder / OUT).write_text(out)
    return folder, (folder / OUT).read_text()
