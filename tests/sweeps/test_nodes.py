"""Three nodes, each with room for one worker: trials, the workers of one trial and the analysis use all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.data import DataContext

from analysis.pipeline import analyse
from analysis.settings import AnalysisSettings
from analysis.survey import Work
from ray_ssl.capacity import capacity, cluster_nodes
from ray_ssl.cluster import MachineOptions
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.data.base import Dataset
from ray_ssl.launch import run_trials
from ray_ssl.ledger import DONE, Ledger, Trial, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.search import GridSource
from ray_ssl.storage import Storage
from tests.ray_ssl.test_killed import same
from tests.ray_ssl.test_pretrain import images, untimed
from tests.ray_ssl.two_workers import run_on_two_workers
from tests.sweeps.nodes import TINY, Heard, MeetingDataset, joined_cluster

NUM_NODES = 3
TRAIN, TEST = images(96, 0), images(40, 1)


@pytest.fixture(scope="module")
def machine() -> Iterator[MachineOptions]:
    with joined_cluster(NUM_NODES) as (_, options):
        yield options


def meeting(folder: Path, num_nodes: int) -> MeetingDataset:
    folder.mkdir()
    return MeetingDataset("tiny", TRAIN, TEST, folder=str(folder), num_nodes=num_nodes)


def run(ledger: Ledger, trials: list[Trial], dataset: Dataset, machine: MachineOptions) -> Heard:
    num_workers, heard = trials[0].config.num_workers, Heard()
    room = capacity(machine, num_workers, cluster_nodes(machine))
    assert room.num_concurrent == NUM_NODES // num_workers
    run_trials(GridSource(trials, trials), num_workers, ledger, dataset, machine, room, heard)
    assert all(ledger.record(trial.key, DONE) for trial in trials), heard.events
    assert heard.count("started") == len(trials)
    return heard


def test_trials_are_on_all_nodes(machine: MachineOptions, tmp_path: Path) -> None:
    dataset = meeting(tmp_path / "training", NUM_NODES)
    trials = make_trials([replace(TINY, {"seed": seed}) for seed in range(4)], dataset.fingerprint)
    ledger = Ledger(Storage.at(tmp_path / "sweep"))
    run(ledger, trials, dataset, machine)


def test_actors_of_the_analysis_are_on_all_nodes(machine: MachineOptions, tmp_path: Path) -> None:
    dataset = meeting(tmp_path / "analysis", NUM_NODES)
    trial = make_trials([TINY], dataset.fingerprint)[0]
    ledger = Ledger(Storage.at(tmp_path / "sweep"))
    ledger.write_config(trial)
    pretrain(TINY, dataset, ledger.trial(trial.key), lambda metrics: None)
    ledger.end(trial.key, DONE, {"history": []})
    work = [Work(trial.key, epoch, ("ncc",)) for epoch in range(NUM_NODES)]
    DataContext.get_current().execution_no_progress_timeout_s = 0.5  # which a checkpoint may well take
    found = list(analyse(ledger, work, dataset, AnalysisSettings()))
    assert [(one.error, one.damaged) for one in found] == [("", False)] * NUM_NODES


def _on_one_node(config: PretrainConfig, folder: str) -> list[dict[str, Any]]:
    return pretrain(config, Dataset("tiny", TRAIN, TEST), Storage.at(folder), lambda metrics: None).history


def test_a_trial_of_two_workers_spans_nodes_and_has_the_numbers_of_one_node(
    machine: MachineOptions, tmp_path: Path
) -> None:
    dataset = meeting(tmp_path / "training", 2)
    trials = make_trials([replace(TINY, {"num_workers": 2})], dataset.fingerprint)
    ledger, key = Ledger(Storage.at(tmp_path / "sweep")), trials[0].key
    run(ledger, trials, dataset, machine)
    history = run_on_two_workers(_on_one_node, trials[0].config, str(tmp_path / "one node"))[0]
    done = ledger.record(key, DONE)
    assert done is not None
    assert done["environment"]["workers"] == 2
    assert untimed(done["history"]) == untimed(history)
    torch.set_num_threads(1)
    assert same(Storage.at(tmp_path / "one node"), ledger.trial(key), "checkpoints/epoch-000002")
