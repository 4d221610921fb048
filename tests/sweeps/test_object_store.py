"""The whole job with its results on a busy S3 server: killed, resumed, and equal to a run on a local disk."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
from pyarrow import fs

from analysis.table import KEY, read_table
from analysis.tracked import original, place
from ray_ssl import object_store
from ray_ssl.batches import Share, StreamSource, read_here
from ray_ssl.checkpoints import (
    CARD,
    MANIFEST,
    MODEL,
    OPTIMISER,
    load_newest_state,
    save_checkpoint,
    save_state,
    saved_epochs,
)
from ray_ssl.data import load_dataset
from ray_ssl.data.streamed import StreamedSet
from ray_ssl.data_config import DataConfig
from ray_ssl.distributed import World
from ray_ssl.errors import UserError
from ray_ssl.lease import Lease
from ray_ssl.ledger import SWEEP, Ledger
from ray_ssl.storage import _FILESYSTEMS, Storage
from sweeps.data_card import source_hash
from tests.ray_ssl.test_batches import write_set
from tests.ray_ssl.test_checkpoints import checkpoint, equal
from tests.sweeps.command import QUICK, kill, run, start
from tests.sweeps.faulty_s3 import FaultyServer
from tests.sweeps.streamed import STREAMED

ONE = [*QUICK, "--widths", "4", "--name", "swept"]


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    server = FaultyServer(every=10)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bucket(server: FaultyServer) -> Iterator[str]:
    """A URI format whose {} is a folder in a bucket of that server."""
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        where = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        fs.S3FileSystem(endpoint_override=f"{host}:{port}", scheme="http", allow_bucket_creation=True).create_dir(
            "bucket"
        )
        yield f"s3://bucket/{{}}?{where}"


def numbers(storage: Storage) -> pd.DataFrame:
    table = read_table(storage.filesystem, storage.path("measurements"))
    return table.sort_values(list(KEY)).reset_index(drop=True)


def test_files_are_written_listed_and_deleted(bucket: str) -> None:
    storage = Storage.at(bucket.format("files"))
    storage.check_writable()
    assert storage.names() == storage.names("nothing") == []
    assert storage.read_sealed("a/one.json") is None
    storage.write_sealed("a/one.json", {"x": 1})
    assert storage.child("a").read_sealed("one.json") == {"x": 1}
    assert storage.create("a/two", b"first")
    assert not storage.create("a/two", b"second")
    assert storage.read("a/two") == b"first"
    assert storage.names("a") == ["one.json", "two"]
    storage.delete("a/one.json")
    storage.delete("a/one.json")
    assert storage.names("a") == ["two"]
    storage.delete_folder("a")
    storage.delete_folder("a")
    assert not storage.exists("a/two")


def test_of_several_writers_at_once_one_creates_a_file(bucket: str) -> None:
    storage = Storage.at(bucket.format("created"))
    with ThreadPoolExecutor(8) as pool:
        for number in range(10):
            writers = [f"{number} by {writer}".encode() for writer in range(8)]
            # All find none there; what decides is the server.
            with mock.patch.object(Storage, "exists", return_value=False):
                wrote = list(pool.map(lambda content, name=str(number): storage.create(name, content), writers))
            assert sum(wrote) == 1, number
            assert storage.read(str(number)) == writers[wrote.index(True)]


def test_throttling_and_failures_of_the_server_are_borne(bucket: str, server: FaultyServer) -> None:
    trial, before = Storage.at(bucket.format("borne")), server.num_errors
    for number in range(1, 6):
        save_state(trial, number, checkpoint(number))
    assert trial.names("state") == ["step-0000000004", "step-0000000005"]
    found = load_newest_state(trial, pytest.fail)
    assert found is not None and equal(found, checkpoint(5))
    assert server.num_errors - before >= 5


def test_a_server_that_is_busy_for_long_is_borne_as_well(bucket: str, server: FaultyServer) -> None:
    store, before = Storage.at(bucket.format("busy")), server.num_errors
    store.write("a", b"1")
    server.every, every = 2, server.every
    try:
        assert all(store.names() == ["a"] for _ in range(200))
    finally:
        server.every = every
    assert server.num_errors >= before + 150


@pytest.mark.parametrize("name", [MODEL, OPTIMISER, CARD, MANIFEST])
def test_a_failed_upload_is_no_checkpoint(bucket: str, server: FaultyServer, name: str) -> None:
    trial = Storage.at(bucket.format(f"failed-{name}"))
    save_state(trial, 1, checkpoint(1))
    server.refused = f"2/{name}"
    with mock.patch.object(object_store, "MAX_ATTEMPTS", 2), mock.patch.dict(_FILESYSTEMS, clear=True):
        with pytest.raises(OSError, match=r"(?i)try again|internal"):
            save_state(trial, 2, checkpoint(2))
        with pytest.raises(OSError, match=r"(?i)try again|internal"):
            save_checkpoint(trial, "checkpoints/epoch-000002", checkpoint(2))
    server.refused = ""
    assert saved_epochs(trial) == []
    found = load_newest_state(trial, lambda said: None)
    assert found is not None and equal(found, checkpoint(1))


def test_images_on_it_are_those_of_a_local_disk(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "set", 100)
    store = Storage.at(bucket.format("set"))
    for name in ("train.parquet", "test.parquet"):
        store.write(f"data/{name}", (tmp_path / "set" / name).read_bytes())
    # The server's address stands in the URI, or in the environment as Amazon's own tools have it.
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{bucket.partition('override=')[2].partition('&')[0]}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for uri in (store.uri, "s3://bucket/set"):
        there, here = (DataConfig(dataset=f"parquet:{where}") for where in (uri, tmp_path / "set"))
        streamed = [config.model_copy(update={"stream": True, "stream_window": 30}) for config in (there, here)]
        assert load_dataset(there).fingerprint == load_dataset(here).fingerprint
        (a, b), share = map(load_dataset, streamed), Share(0, 25, World(0, 1))
        assert (a.name, a.fingerprint) == ("set", b.fingerprint)
        assert isinstance(a.train, StreamedSet)
        assert isinstance(b.train, StreamedSet)
        for one, other in zip(*(StreamSource(x, share, read_here).batches(1) for x in (a.train, b.train)), strict=True):
            assert one.images.equal(other.images)
    kept = source_hash(there)
    assert kept == source_hash(there) is not None
    store.write("data/train.parquet", b"no Parquet")
    assert source_hash(there) != kept
    with pytest.raises(UserError, match=r"^parquet: s3://bucket/set/data/train\.parquet cannot be read as Parquet"):
        load_dataset(there)
    for uri, reason in (("s3://bucket/none", "does not exist"), ("s3://missing/set", "missing/set")):
        with pytest.raises(UserError, match=reason) as caught:
            load_dataset(DataConfig(dataset=f"parquet:{uri}"))
        assert "\n" not in str(caught.value)


def test_one_driver_holds_the_lease(bucket: str) -> None:
    sweep = Ledger(Storage.at(bucket.format("leased"))).sweep
    with Lease(sweep) as lease:
        assert lease.is_held()
    assert not sweep.exists("lease.json")


def ours(err: str) -> list[str]:
    """Lines that are not Arrow's own about a request that it makes again, which cannot be turned off."""
    return [line for line in err.splitlines() if not (line.startswith("/arrow/cpp/") and ", retry = " in line)]


def test_a_sweep_of_streamed_images_is_killed_and_resumed_as_on_a_local_disk(
    bucket: str, streamed: tuple[Path, str], tmp_path: Path
) -> None:
    local, _ = streamed
    uri, images = bucket.format("results"), Storage.at(bucket.format("streamed/set"))
    for name in ("train.parquet", "test.parquet"):
        images.write(name, (local / "set" / name).read_bytes())
    line = [*STREAMED, "--dataset", f"parquet:{images.uri}", "--storage", uri]
    sweep = Storage.at(uri).child("swept")
    process = start(tmp_path, *line)
    deadline = time.monotonic() + 120
    while not any(sweep.names(f"{key}/state") for key in sweep.names()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kill(process)
    code, out, err = run(tmp_path, *line)
    assert (code, ours(err)) == (0, [])
    assert "1 to resume" in out
    pd.testing.assert_frame_equal(numbers(sweep), numbers(Storage.at(local / "results" / "swept")))
    assert {"accuracy_by_epoch.png", "accuracy_by_epoch.svg"} <= set(sweep.names("figures"))
    code, out, err = run(tmp_path, *line)
    assert (code, ours(err)) == (0, [])
    assert "nothing to do" in out


def test_a_bucket_that_is_not_there_is_one_line(bucket: str, tmp_path: Path) -> None:
    code, _, err = run(tmp_path, *ONE, "--storage", bucket.replace("//bucket/", "//missing/").format("results"))
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "missing" in err


def test_a_copy_on_it_is_told_from_another_address_of_the_folder(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, copy = (Storage.at(bucket.format(f"{name}/s")) for name in ("one", "copy"))
    for sweep in (one, copy):
        sweep.write_sealed(SWEEP, {"question": "q", "shared": {}})
    known = {"uri": "http://server", "experiment": "e", "artifact_root": None, "folder": place(one)}
    assert original(one, known) is None
    assert original(copy, known) == one
    monkeypatch.setattr("analysis.tracked.place", lambda folder: "/mounted/s")
    assert original(one, known) is None
    assert not [name for name in one.names() if name.startswith(".same")]
