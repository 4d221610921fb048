"""Nodes lost, or drained with a deadline, while trials run: all finish, as if nothing had happened.

A drained node has no trial any more when its deadline comes.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from ray._private.state import actors
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

from ray_ssl.cluster import capacity, cluster_nodes
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.data.base import Dataset
from ray_ssl.launch import run_trials
from ray_ssl.ledger import Ledger, Trial, TrialState, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from ray_ssl.trainer import EpochMetrics
from tests.faults.counts import Counts
from tests.ray_ssl.test_killed import same
from tests.ray_ssl.test_pretrain import images
from tests.sweeps.nodes import Heard, joined_cluster

LETTER = "e"
NUM_NODES: Final = 3
NUM_REMOVALS = {False: 1, True: 20}
NUM_DRAINS = {False: 1, True: 5}
DEADLINE_SECONDS: Final = 20.0
TRIAL_CLASS: Final = "ImplicitFunc"
DATASET = Dataset("tiny", images(96, 0), images(40, 1))
CONFIG = PretrainConfig.from_dict(
    {
        "backbone": {"name": "res_lh", "depth": 1, "width": 8},
        "method": {"name": "vicreg", "projector_width": 16, "embedding_dim": 8},
        "training": {"epochs": 60, "global_batch_size": 32, "num_checkpoints": 3, "precision": "fp32"},
    }
)


class UntilOver:
    """Gives one trial after the other until the faults are over."""

    num_trials = 10_000

    def __init__(self, over: threading.Event) -> None:
        self.over = over
        self.trials: list[Trial] = []

    def next(self) -> Trial | None:
        if self.over.is_set():
            return None
        self.trials += make_trials([replace(CONFIG, {"seed": len(self.trials)})], DATASET.fingerprint)
        return self.trials[-1]

    def ended(self, key: str, result: EpochMetrics | None) -> None:
        """Nothing is learnt."""


def run(full: bool, seed: int) -> Counts:
    """Removes and drains random nodes but the driver's, each of which is replaced, while trials run."""
    counts, rng, over = Counts(), random.Random(seed), threading.Event()
    source, heard = UntilOver(over), Heard()
    kinds = ["removal"] * NUM_REMOVALS[full] + ["drain"] * NUM_DRAINS[full]
    rng.shuffle(kinds)
    with tempfile.TemporaryDirectory() as name:
        ledger = Ledger(Storage.at(name).child("sweep"))
        with joined_cluster(NUM_NODES) as (cluster, options):
            room = capacity(options, 1, cluster_nodes())
            breaker = threading.Thread(target=_break, args=(cluster, kinds, rng, seed, counts, over))
            breaker.start()
            run_trials(source, 1, ledger, DATASET, options, room, heard)
            breaker.join()
        for trial in source.trials:
            problem = _problem(ledger, trial, Path(name) / "whole")
            if problem is not None:
                counts.violations.append(f"seed {seed}, {trial.name}: {problem}")
    counts.notes.append(f"{len(source.trials)} trials; {heard.count('started') - len(source.trials)} began again, "
                        f"{heard.count('moved')} of them moved")  # fmt: skip
    return counts


def _break(
    cluster: Cluster, kinds: list[str], rng: random.Random, seed: int, counts: Counts, over: threading.Event
) -> None:
    try:
        for number, kind in enumerate(kinds):
            node = rng.choice(sorted(cluster.worker_nodes, key=lambda node: node.node_id))
            _wait_for_trial(node.node_id)
            time.sleep(rng.uniform(0, 3))
            problem = _drain(cluster, node.node_id) if kind == "drain" else None
            cluster.remove_node(node, allow_graceful=False)
            cluster.add_node(num_cpus=1)
            counts.case(f"seed {seed}, {kind} {number}", problem)
    finally:
        over.set()


def _on_node(node_id: str) -> list[dict[str, Any]]:
    """The living trial processes on a node."""
    found = actors().values()
    return [
        a for a in found
        if a["State"] == "ALIVE" and a["Address"]["NodeID"] == node_id and a["ActorClassName"] == TRIAL_CLASS
    ]  # fmt: skip


def _wait_for_trial(node_id: str) -> None:
    deadline = time.monotonic() + 120
    while not _on_node(node_id) and time.monotonic() < deadline:
        time.sleep(0.2)


def _drain(cluster: Cluster, node_id: str) -> str | None:
    """Drains a node; returns what is wrong at its deadline."""
    deadline = time.time() + DEADLINE_SECONDS
    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = GcsClient(address=cluster.address).drain_node(node_id, reason, "a test", int(1000 * deadline))
    if not accepted:
        return f"the drain was refused: {why}"
    while _on_node(node_id):
        if time.time() > deadline:
            return "a trial is still there at the deadline"
        time.sleep(0.2)
    return None


def _problem(ledger: Ledger, trial: Trial, folder: Path) -> str | None:
    state = ledger.state(trial.key)
    if state is not TrialState.DONE:
        return f"it is {state.value}"
    whole = Storage.at(folder / trial.key)
    pretrain(trial.config, DATASET, whole, lambda metrics: None)
    last = f"checkpoints/epoch-{trial.config.training.epochs:06d}"
    return None if same(whole, ledger.trial(trial.key), last) else "its weights are not those of an uninterrupted trial"
