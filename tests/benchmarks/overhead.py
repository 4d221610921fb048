"""Seconds a trial costs more in a sweep than in a bare loop.

Twelve one-epoch trainings, once through Ray Tune with ledger and MLflow (Ray's start included), once one after the
other in this process. Both use the same cores: two trials of one thread side by side, or one of two threads.

    python -m tests.benchmarks.overhead
"""

import tempfile
import time
from pathlib import Path

import torch

from analysis.command import quiet
from analysis.tracked import Tracking
from ray_ssl.capacity import capacity, cluster_nodes
from ray_ssl.cluster import MachineOptions, local_cpus, ray_session
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.follower import Follower
from ray_ssl.launch import run_trials
from ray_ssl.ledger import DONE, Ledger, Trial, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.search import GridSource
from ray_ssl.storage import Storage

NUM_TRIALS = 12


def through_the_sweep(trials: list[Trial], dataset: Dataset, folder: Path) -> tuple[float, float]:
    """Seconds in all, and those of them before the first trial could start."""
    ledger = Ledger(Storage.at(folder / "sweep"))
    tracker = Tracking.named(Storage.at(folder), ledger, None, "overhead").connect()
    started = time.perf_counter()
    machine = MachineOptions(address="local")
    with ray_session(machine, dataset.train.images.nbytes, nested_train=False):
        session = time.perf_counter() - started
        room = capacity(machine, 1, cluster_nodes(machine))
        run_trials(GridSource(trials, trials), 1, ledger, dataset, machine, room, Follower(tracker, ledger))
        seconds = time.perf_counter() - started
    tracker.close(60)
    assert all(ledger.record(trial.key, DONE) for trial in trials)
    return seconds, session


def bare(trials: list[Trial], dataset: Dataset, folder: Path) -> float:
    """Seconds of the same trainings, one after the other."""
    torch.set_num_threads(local_cpus())
    started = time.perf_counter()
    for trial in trials:
        pretrain(trial.config, dataset, Storage.at(folder / trial.key), lambda metrics: None)
    return time.perf_counter() - started


def main() -> None:
    quiet()
    base = PretrainConfig.from_dict(
        {
            "backbone": {"name": "res_lh", "depth": 2, "width": 16},
            "method": {"name": "vicreg", "projector_width": 256, "embedding_dim": 256},
            "optimiser": {"learning_rate": 1e-3},  # one epoch is no warm-up for more
            "training": {"epochs": 1},
        }
    )
    dataset = load_dataset(base.data)
    trials = make_trials([replace(base, {"seed": seed}) for seed in range(NUM_TRIALS)], dataset.fingerprint)
    extra = []
    for number in range(2):
        with tempfile.TemporaryDirectory() as name:
            alone = bare(trials, dataset, Path(name) / "bare")
            swept, session = through_the_sweep(trials, dataset, Path(name))
        extra.append((swept - alone) / NUM_TRIALS)
        print(
            f"round {number + 1}: sweep {swept:.1f} s (of which Ray's start {session:.1f} s), bare loop {alone:.1f} s"
        )
    print(f"{min(extra):.2f} s a trial more than in a bare loop ({NUM_TRIALS} trials, Ray's start included)")


if __name__ == "__main__":
    main()
