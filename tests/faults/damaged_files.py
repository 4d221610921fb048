"""Files cut, deleted or altered by a bit: caught before they are parsed, set aside, the one before used.

Every file of a training state and of a checkpoint for analysis, the records of a trial, the targets of graded
randomness, and parts of the table.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from analysis.metrics.base import Measurement
from analysis.table import KIND, Checkpoint, LayerMeasurement
from ray_ssl import checkpoints, targets
from ray_ssl.checkpoints import (
    CARD,
    MANIFEST,
    MODEL,
    OPTIMISER,
    DamagedCheckpointError,
    load_checkpoint,
    load_newest_state,
    save_checkpoint,
    save_state,
    saved_epochs,
)
from ray_ssl.ledger import DONE, Ledger, TrialState
from ray_ssl.storage import Storage
from ray_ssl.targets import SplitFacts, Targets, TargetSet, read_targets, write_targets
from tests.analysis.written_tables import write_part
from tests.faults.counts import Counts
from tests.ray_ssl.test_checkpoints import checkpoint, equal

LETTER = "b"
NUM_BITS = {False: 2, True: 20}
NUM_ROUNDS = {False: 1, True: 10}
NEWEST = "state/step-0000000020"


def damages(content: bytes, num_bits: int, rng: random.Random) -> Iterator[tuple[str, bytes | None]]:
    """Every damage of a file: its name and what is left; None: nothing."""
    for share in (0, 50, 99):
        yield f"cut at {share} %", content[: len(content) * share // 100]
    yield "deleted", None
    for _ in range(num_bits):
        bit = rng.randrange(8 * len(content))
        altered = bytearray(content)
        altered[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", bytes(altered)


class ParsedError(AssertionError):
    """Damaged content came to a parser."""


@contextmanager
def nothing_parses(damaged: bytes | None) -> Iterator[None]:
    """Raises ParsedError where the damaged content, or its body, is given to a parser."""

    def guarded(parse: Callable[..., Any]) -> Callable[..., Any]:
        def checked(content: Any, *args: Any, **options: Any) -> Any:
            if damaged and isinstance(content, bytes) and content in (damaged, damaged.partition(b"\n")[2]):
                raise ParsedError("it was parsed")
            return parse(content, *args, **options)

        return checked

    with ExitStack() as stack:
        for module, name in ((checkpoints, "load"), (targets, "load"), (json, "loads")):
            stack.enter_context(mock.patch.object(module, name, guarded(getattr(module, name))))
        yield


def run(full: bool, seed: int) -> Counts:
    """Damages every file in every way; see `damages`."""
    counts, rng = Counts(), random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        for number in range(NUM_ROUNDS[full]):
            for case in (_states, _only_states, _kept_checkpoints, _records, _targets, _parts):
                folder = Path(name) / f"{number}-{case.__name__}"
                for what, problem in case(folder, NUM_BITS[full], rng):
                    counts.case(f"seed {seed}, {case.__name__[1:]}, {what}", problem)
    return counts


def _each(
    folder: Path, names: tuple[str, ...], num_bits: int, rng: random.Random, check: Callable[[str, bool], str | None]
) -> Iterator[tuple[str, str | None]]:
    """Damages each of these files of a folder in every way, and asks `check` (name, whether deleted) for a problem."""
    whole = folder.with_name(f"{folder.name}-whole")
    shutil.copytree(folder, whole)
    for name in names:
        for what, content in damages((whole / name).read_bytes(), num_bits, rng):
            shutil.rmtree(folder)
            shutil.copytree(whole, folder)
            (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
            try:
                with nothing_parses(content):
                    problem = check(name, content is None)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            yield f"{name} {what}", problem


def _states(folder: Path, num_bits: int, rng: random.Random) -> Iterator[tuple[str, str | None]]:
    trial = Storage.at(folder)
    first, second = rng.randrange(10**6), rng.randrange(10**6)
    save_state(trial, 10, checkpoint(first))
    save_state(trial, 20, checkpoint(second))

    def check(name: str, deleted: bool) -> str | None:
        said: list[str] = []
        found = load_newest_state(trial, said.append)
        if found is None or not equal(found, checkpoint(first)):
            return "the state before it was not used"
        if not trial.exists(f"damaged/{NEWEST}") or trial.exists(NEWEST):
            return "it was not set aside"
        if len(said) != 1 or "goes on from the state before it" not in said[0]:
            return f"said {said}"
        return None

    names = tuple(f"{NEWEST}/{name}" for name in (MODEL, OPTIMISER, CARD, MANIFEST))
    yield from _each(folder, names, num_bits, rng, check)


def _only_states(folder: Path, num_bits: int, rng: random.Random) -> Iterator[tuple[str, str | None]]:
    """There is no state before it: the trial trains from the start, and says so."""
    trial = Storage.at(folder)
    save_state(trial, 20, checkpoint(rng.randrange(10**6)))

    def check(name: str, deleted: bool) -> str | None:
        said: list[str] = []
        if load_newest_state(trial, said.append) is not None:
            return "a damaged state was used"
        return None if len(said) == 1 and "trains again from the start" in said[0] else f"said {said}"

    names = tuple(f"{NEWEST}/{name}" for name in (MODEL, OPTIMISER, CARD, MANIFEST))
    yield from _each(folder, names, num_bits, rng, check)


def _kept_checkpoints(folder: Path, num_bits: int, rng: random.Random) -> Iterator[tuple[str, str | None]]:
    trial = Storage.at(folder)
    save_checkpoint(trial, "checkpoints/epoch-000001", checkpoint(rng.randrange(10**6)))

    def check(name: str, deleted: bool) -> str | None:
        if name.endswith(MANIFEST) and deleted:
            return None if saved_epochs(trial) == [] else "it counts as a checkpoint"
        try:
            load_checkpoint(trial, "checkpoints/epoch-000001")
        except DamagedCheckpointError as error:
            return None if "epoch-000001" in str(error) else f"it is not named: {error}"
        return "it was loaded"

    names = tuple(f"checkpoints/epoch-000001/{name}" for name in (MODEL, OPTIMISER, CARD, MANIFEST))
    yield from _each(folder, names, num_bits, rng, check)


def _records(folder: Path, num_bits: int, rng: random.Random) -> Iterator[tuple[str, str | None]]:
    """A damaged end of a trial never counts: it goes on from its state."""
    ledger, key = Ledger(Storage.at(folder)), "0" * 16
    save_state(ledger.trial(key), 20, checkpoint(1))
    ledger.end(key, DONE, {"history": [{"epoch": 1.0, "loss": rng.random()}]})

    def check(name: str, deleted: bool) -> str | None:
        if ledger.state(key) is not TrialState.RESUMABLE:
            return f"the trial counts as {ledger.state(key).value}"
        return None if deleted or ledger.torn_endings(key) == [DONE] else "it is not named"

    yield from _each(folder, (f"{key}/{DONE}",), num_bits, rng, check)


def _targets(folder: Path, num_bits: int, rng: random.Random) -> Iterator[tuple[str, str | None]]:
    sweep = Storage.at(folder)
    labels = {split: np.array([rng.randrange(4) for _ in range(50)], np.int64) for split in ("train", "test")}
    facts = {split: SplitFacts(0.5, 1.0, 4, 0.5) for split in labels}
    write_targets(sweep, Targets("images", {"noise-0.50": TargetSet(labels, facts, 0.5, -1)}))

    def check(name: str, deleted: bool) -> str | None:
        return "they were read" if read_targets(sweep) is not None else None

    yield from _each(folder, (targets.LABELS, targets.RECORD), num_bits, rng, check)


def _parts(folder: Path, num_bits: int, rng: random.Random) -> Iterator[tuple[str, str | None]]:
    sweep = Storage.at(folder)
    about, row = Checkpoint("s", "0" * 16, "vicreg", 1, 4, 0, "d", 1), Measurement("class", "test", "x", rng.random())
    rows = [LayerMeasurement(0, "stem", row)]
    name = Path(write_part(sweep.filesystem, sweep.path("measurements"), about, "ncc", rows, {})).name

    def check(part: str, deleted: bool) -> str | None:
        return "it was read" if KIND.present(sweep.filesystem, sweep.path("measurements")) else None

    with mock.patch("analysis.parts.log.warning"):
        yield from _each(folder, (f"measurements/{name}",), num_bits, rng, check)
