"""A trial leaves a node that is being drained, and what a lost node costs it: its state, its tries, what is said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
import torch

from ray_ssl import trial as room
from ray_ssl.checkpoints import newest_state
from ray_ssl.follower import Follower
from ray_ssl.launch import make_bridge
from ray_ssl.ledger import Ledger, TrialState, make_trials
from ray_ssl.pretrain import PreemptedError
from ray_ssl.progress import Board
from ray_ssl.search import GridSource
from ray_ssl.storage import Storage
from ray_ssl.trial import METRICS, MOVED, DrainWatch, Job, train_and_record
from tests.ray_ssl.test_export import DATASET
from tests.ray_ssl.test_warnings import CONFIG

TRIAL = make_trials([CONFIG], DATASET.fingerprint)[0]


@contextmanager
def cluster(draining: dict[str, int]) -> Iterator[None]:
    """A cluster that drains these nodes, seen from the node "here"."""
    here = SimpleNamespace(get_node_id=lambda: "here")
    with (
        patch("ray.get_runtime_context", return_value=here),
        patch("ray._private.state.state.get_draining_nodes", side_effect=lambda: dict(draining)),
        patch.object(room, "DRAIN_POLL_SECONDS", 0.005),
    ):
        yield


def comes_true(watch: DrainWatch, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not watch() and time.monotonic() < deadline:
        time.sleep(0.005)
    return watch()


@pytest.mark.parametrize(("drained", "others", "expected"), [("here", (), True), ("a", ("a",), True), ("a", (), False)])
def test_a_drain_of_its_nodes_is_noticed(drained: str, others: tuple[str, ...], expected: bool) -> None:
    draining: dict[str, int] = {}
    with cluster(draining), DrainWatch(others) as watch:
        assert not comes_true(watch, 0.1)
        draining[drained] = 0
        assert comes_true(watch, 20 if expected else 0.1) == expected


def test_a_preempted_trial_says_so_and_is_neither_failed_nor_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.get", lambda reference: reference)
    ledger, reports = Ledger(Storage.at(tmp_path)), list[Any]()
    job = Job(ledger.sweep, DATASET, 1, 0, 1000)
    with pytest.raises(PreemptedError):
        train_and_record(TRIAL.key, CONFIG, job, torch.device("cpu"), reports.append, lambda: True)
    assert reports == [{MOVED: 1.0}]
    assert ledger.state(TRIAL.key) is TrialState.RESUMABLE
    found = newest_state(ledger.trial(TRIAL.key))
    assert found is not None and found[0] == "step-0000000001"
    train_and_record(TRIAL.key, CONFIG, job, torch.device("cpu"), reports.append)
    assert ledger.state(TRIAL.key) is TrialState.DONE


def metrics(epoch: int) -> dict[str, float]:
    return {"epoch": float(epoch), "time": 0.0, "loss": 1.0 + epoch}


def test_deaths_count_only_where_it_comes_no_further(tmp_path: Path) -> None:
    listener = MagicMock()
    bridge = make_bridge(GridSource([TRIAL], [TRIAL]), Ledger(Storage.at(tmp_path)), listener)
    bridge.searcher.suggest("x")
    trial: Any = SimpleNamespace(config={"key": TRIAL.key}, run_metadata=SimpleNamespace(num_failures=0))
    found = []
    for told in (metrics(1), metrics(2), metrics(1), metrics(2), {MOVED: 1.0}, metrics(1), metrics(2), metrics(3)):
        trial.run_metadata.num_failures += 1  # its process died
        bridge.callback.on_trial_result(0, [], trial, {METRICS: told})
        found.append(trial.run_metadata.num_failures)
    assert found == [0, 0, 1, 2, 0, 1, 2, 0]
    assert listener.moved.call_count == 1


def test_a_move_is_said_once_and_not_called_a_death(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(Storage.at(tmp_path))
    follower = Follower(MagicMock(), ledger)
    with Board(1, ledger) as follower.board:
        follower.started(TRIAL)
        follower.moved(TRIAL)
        follower.moved(TRIAL)
        follower.started(TRIAL)
        assert capsys.readouterr().out.count("warning: ") == 1
        follower.started(TRIAL)
        assert "its process died" in capsys.readouterr().out
