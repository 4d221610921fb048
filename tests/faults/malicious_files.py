"""Malicious files: pickles in the place of a checkpoint's files, records, Parquet and foreign encoders: nothing runs.

Each payload makes a file where it is unpickled; that it would do so is checked first.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import struct
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from analysis.parts import part_name
from analysis.table import KIND, SCHEMA
from analysis.weights import read_weights
from ray_ssl.checkpoints import CARD, MANIFEST, MODEL, OPTIMISER, load_newest_state, save_state
from ray_ssl.data import load_dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.encoder_file import read_checkpoint
from ray_ssl.errors import UserError
from ray_ssl.ledger import CONFIG, DONE, FAILED, STOPPED, SWEEP, Ledger
from ray_ssl.storage import Storage, unseal
from ray_ssl.sweep.garbage import find
from ray_ssl.sweep.overview import list_sweeps, show
from ray_ssl.targets import LABELS, RECORD, read_targets
from tests.analysis.payload import Payload
from tests.faults.counts import Counts
from tests.ray_ssl.test_checkpoints import checkpoint, equal

LETTER = "g"
PROTOCOLS = {False: (4,), True: (0, 1, 2, 3, 4, 5)}

Attempt = tuple[str, Callable[[], None]]
"""What is malicious, and what a user does with it; it may raise UserError."""


def run(full: bool, seed: int) -> Counts:
    """Puts payloads of several pickle protocols wherever a file is read."""
    counts = Counts()
    for protocol in PROTOCOLS[full]:
        for make in (_checkpoint_files, _hostile_safetensors, _records, _targets, _parquet, _encoders, _images):
            with tempfile.TemporaryDirectory() as name:
                folder, target = Path(name) / "files", Path(name) / "was run"
                folder.mkdir()
                payloads = _payloads(target, protocol)
                for what, use in make(folder, payloads, random.Random(seed)):
                    counts.case(f"protocol {protocol}, {make.__name__[1:]}, {what}", _problem(use, target))
    return counts


def _payloads(target: Path, protocol: int) -> dict[str, bytes]:
    """Pickles that were seen to work, alone and behind what a plain file begins with."""
    plain = pickle.dumps(Payload(target), protocol)
    pickle.loads(plain)
    assert target.exists()
    target.unlink()
    saved = target.with_name("saved")
    torch.save(Payload(target), saved)
    found = {"a pickle": plain, "a torch file": saved.read_bytes()}
    saved.unlink()
    return found


def _problem(use: Callable[[], None], target: Path) -> str | None:
    try:
        with warnings.catch_warnings(), mock.patch("analysis.parts.log.warning"):
            warnings.simplefilter("ignore")
            use()
        problem = None
    except UserError as error:
        problem = None if str(error) else "no reason is given"
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if target.exists():
        target.unlink()
        problem = "IT WAS RUN"
    return problem


def _checkpoint_files(folder: Path, payloads: dict[str, bytes], rng: random.Random) -> Iterator[Attempt]:
    """In the newest training state, and in a checkpoint; also with a manifest that vouches for it."""
    trial = Storage.at(folder)

    def use() -> None:
        try:
            read_checkpoint(f"{folder}/state/step-0000000020")
        except UserError:
            pass
        else:
            raise AssertionError("it was read")
        found = load_newest_state(trial, lambda text: None)
        assert found is not None and equal(found, checkpoint(1)), "the state before it was not used"

    for name in (MODEL, OPTIMISER, CARD, MANIFEST):
        for what, content in payloads.items():
            for is_vouched in (False, True):
                save_state(trial, 10, checkpoint(1))
                save_state(trial, 20, checkpoint(2))
                path = f"state/step-0000000020/{name}"
                manifest = unseal(trial.read(f"state/step-0000000020/{MANIFEST}"))
                assert manifest is not None
                digest = hashlib.sha256(content).hexdigest()
                trial.write(path, content)
                if is_vouched and name == MANIFEST:
                    trial.write(path, digest.encode() + b"\n" + content)
                elif is_vouched:
                    manifest["sha256"][name] = digest
                    trial.write_sealed(f"state/step-0000000020/{MANIFEST}", manifest)
                yield f"{what} as {name}{', vouched for' if is_vouched else ''}", use


def _hostile_safetensors(folder: Path, payloads: dict[str, bytes], rng: random.Random) -> Iterator[Attempt]:
    """Headers that lie about sizes and places, with a manifest that vouches for them."""
    trial = Storage.at(folder)

    def use() -> None:
        found = load_newest_state(trial, lambda text: None)
        assert found is not None and equal(found, checkpoint(1)), "the state before it was not used"

    def header(**tensor: Any) -> bytes:
        text = json.dumps({"backbone.w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | tensor}).encode()
        return struct.pack("<Q", len(text)) + text + bytes(4)

    for what, content in {
        "a header of 2^63 bytes": struct.pack("<Q", 1 << 63) + b"{}",
        "a tensor beyond the end": header(shape=[1 << 40], data_offsets=[0, 4 << 40]),
        "offsets that go back": header(data_offsets=[4, 0]),
        "a shape of another size": header(shape=[2]),
        "a negative shape": header(shape=[-1]),
        "another type": header(dtype="OBJECT"),
        "nested lists": struct.pack("<Q", 100_000) + b"[" * 100_000,
    }.items():
        save_state(trial, 10, checkpoint(1))
        save_state(trial, 20, checkpoint(2))
        trial.write(f"state/step-0000000020/{MODEL}", content)
        manifest = unseal(trial.read(f"state/step-0000000020/{MANIFEST}"))
        assert manifest is not None
        manifest["sha256"][MODEL] = hashlib.sha256(content).hexdigest()
        trial.write_sealed(f"state/step-0000000020/{MANIFEST}", manifest)
        yield what, use


def _records(folder: Path, payloads: dict[str, bytes], rng: random.Random) -> Iterator[Attempt]:
    """In the place of a record, plain and sealed: what lists and explains sweeps reads them all."""
    key = "0" * 16
    ledger = Ledger(Storage.at(folder))

    def use() -> None:
        list_sweeps([ledger])
        show([ledger])
        list(find(ledger))

    for name in (CONFIG, DONE, FAILED, STOPPED):
        for what, content in payloads.items():
            for sealed in (content, hashlib.sha256(content).hexdigest().encode() + b"\n" + content):
                ledger.sweep.write(f"{key}/{name}", sealed)
                yield f"{what} as {name}{', sealed' if sealed is not content else ''}", use
        ledger.sweep.delete(f"{key}/{name}")
    for what, content in payloads.items():
        ledger.sweep.write(SWEEP, content)
        yield f"{what} as {SWEEP}", use


def _targets(folder: Path, payloads: dict[str, bytes], rng: random.Random) -> Iterator[Attempt]:
    sweep = Storage.at(folder)

    def use() -> None:
        assert read_targets(sweep) is None, "they were read"

    for what, content in payloads.items():
        for name in (LABELS, RECORD):
            sweep.write(name, content)
            yield f"{what} as {name}", use
        sweep.write(LABELS, content)
        digest = hashlib.sha256(content).hexdigest()
        sweep.write_sealed(RECORD, {"sha256": digest, "data_fingerprint": "x", "sets": {}})
        yield f"{what} as {LABELS}, vouched for", use


def _parquet(folder: Path, payloads: dict[str, bytes], rng: random.Random) -> Iterator[Attempt]:
    """Metadata that some versions of Arrow and pandas unpickle, in a part of the table and in a set of images."""
    sweep, name = Storage.at(folder), part_name("0" * 16, 1, "ncc")

    def read_part() -> None:
        KIND.present(sweep.filesystem, sweep.path("measurements"))
        KIND.read(sweep.filesystem, sweep.path("measurements"))

    def read_images() -> None:
        load_dataset(DataConfig(dataset=f"parquet:{folder}/images"))

    for what, content in payloads.items():
        for place, metadata in (
            (
                "extension type",
                {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": content},
            ),
            ("pandas", {"pandas": content}),
            ("huggingface", {"huggingface": content}),
            ("settings", {"settings": content, "format": KIND.format}),
        ):
            fields = [field.with_metadata(metadata) for field in SCHEMA]
            columns = [pa.array([None], field.type) for field in SCHEMA]
            table = pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=metadata))
            image = pa.schema([pa.field("image", pa.binary(), metadata=metadata), pa.field("label", pa.int64())])
            images = pa.Table.from_pydict({"image": [content], "label": [0]}, image.with_metadata(metadata))
            for place_of, written in ((f"measurements/{name}", table), ("images/train-0.parquet", images)):
                (folder / place_of).parent.mkdir(exist_ok=True)
                pq.write_table(written, folder / place_of)
            yield f"{what} in the metadata of {place} of a part", read_part
            yield f"{what} in the metadata of {place} of images, and as an image", read_images
        (folder / "measurements" / name).write_bytes(content)
        yield f"{what} as a part", read_part


def _encoders(folder: Path, payloads: dict[str, bytes], rng: random.Random) -> Iterator[Attempt]:
    for suffix in (".pt", ".pth", ".ckpt", ".pth.tar", ".bin", ".safetensors"):
        for what, content in payloads.items():
            path = folder / f"encoder{suffix}"
            path.write_bytes(content)

            def use(path: Path = path) -> None:
                read_weights(path)
                raise AssertionError("it was read")

            yield f"{what} as encoder{suffix}", use


def _images(folder: Path, payloads: dict[str, bytes], rng: random.Random) -> Iterator[Attempt]:
    """As pictures of a folder of classes."""

    def use() -> None:
        load_dataset(DataConfig(dataset=f"folder:{folder}"))
        raise AssertionError("it was read")

    for what, content in payloads.items():
        for number, suffix in enumerate((".png", ".jpg", ".npy", ".pkl")):
            for label in ("a", "b"):
                (folder / label).mkdir(exist_ok=True)
                (folder / label / f"{number}{suffix}").write_bytes(content)
        yield f"{what} as a picture", use
