"""Nodes of a cluster that are lost, or drained first: every trial finishes, with the undisturbed weights.

Trials run side by side on three nodes. At a random moment one that is not the driver's is drained and, at its deadline,
taken away; in another run one is killed unannounced. Then a new one takes its place. Of a drained node no trial may
die: it has saved its state and gone before the deadline.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from typing import Any

from ray.cluster_utils import Cluster

from ray_ssl.capacity import capacity, cluster_nodes
from ray_ssl.cluster import MachineOptions
from ray_ssl.config import replace
from ray_ssl.data.base import Dataset
from ray_ssl.launch import run_trials
from ray_ssl.ledger import DONE, Ledger, Trial, make_trials
from ray_ssl.search import GridSource
from ray_ssl.storage import Storage
from tests.faults.counts import Counts
from tests.ray_ssl.test_killed import same
from tests.ray_ssl.test_pretrain import images
from tests.sweeps.nodes import TINY, Heard, joined_cluster

LETTER = "e"
NUM_NODES = 3
NUM_REMOVALS = {False: 1, True: 20}
KINDS = {False: (True,), True: (True, False)}
"""Whether a lost node is drained before."""
NUM_TRIALS = 4
EPOCHS = 20
DEADLINE_SECONDS = 15.0
DATASET = Dataset("tiny", images(1200, 0), images(40, 1))
LAST = f"checkpoints/epoch-{EPOCHS:06d}"


def run(full: bool, seed: int) -> Counts:
    """Loses nodes, and drains as many."""
    counts, rng = Counts(), random.Random(seed)
    training = {"training.epochs": EPOCHS, "training.num_checkpoints": 2, "training.precision": "fp32"}
    trials = make_trials([replace(TINY, training | {"seed": n}) for n in range(NUM_TRIALS)], DATASET.fingerprint)
    with tempfile.TemporaryDirectory() as name, joined_cluster(NUM_NODES) as (cluster, machine):
        whole = Ledger(Storage.at(f"{name}/whole"))
        began = time.monotonic()
        _train(whole, trials, machine)
        seconds = time.monotonic() - began
        for number in range(NUM_REMOVALS[full]):
            for drains in KINDS[full]:
                disturbed = Ledger(Storage.at(f"{name}/{number}-{drains}"))
                disturbance = _Disturbance(cluster, machine, drains, rng.uniform(0.1, 0.8) * seconds, rng)
                disturbance.start()
                heard = _train(disturbed, trials, machine)
                disturbance.join()
                cluster.add_node(num_cpus=1)
                kind = "drained" if drains else "killed"
                what = f"a node {kind} {disturbance.delay:.1f} s after the start of {seconds:.1f} s"
                counts.case(what, _problem(whole, disturbed, trials, heard, disturbance))
    return counts


def _train(ledger: Ledger, trials: list[Trial], machine: MachineOptions) -> Heard:
    heard = Heard()
    room = capacity(machine, 1, cluster_nodes(machine))
    run_trials(GridSource(trials, trials), 1, ledger, DATASET, machine, room, heard)
    return heard


class _Disturbance(threading.Thread):
    """Takes a node away after so many seconds."""

    def __init__(
        self, cluster: Cluster, machine: MachineOptions, drains: bool, delay: float, rng: random.Random
    ) -> None:
        super().__init__(name="disturbance")
        self.cluster, self.machine, self.drains, self.delay = cluster, machine, drains, delay
        self.victim: Any = rng.choice(sorted(cluster.worker_nodes, key=lambda node: str(node.node_id)))
        self.deadline = float("inf")

    def run(self) -> None:
        time.sleep(self.delay)
        if self.drains:
            self.deadline = time.time() + DEADLINE_SECONDS
            _drain(str(self.machine.address), self.victim.node_id, self.deadline)
            time.sleep(DEADLINE_SECONDS)
        self.cluster.remove_node(self.victim, allow_graceful=False)


def _drain(address: str, node_id: str, deadline: float) -> None:
    """Announces that a node will be gone, as an autoscaler does for its cloud."""
    from ray._raylet import GcsClient  # pyright: ignore[reportAttributeAccessIssue]
    from ray.core.generated import autoscaler_pb2

    reasons: Any = autoscaler_pb2
    reason = reasons.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = GcsClient(address).drain_node(node_id, reason, "spot", int(1000 * deadline))
    assert accepted, why


def _problem(
    whole: Ledger, disturbed: Ledger, trials: list[Trial], heard: Heard, disturbance: _Disturbance
) -> str | None:
    """What is not as if nothing had happened."""
    lacking = [trial.name for trial in trials if not disturbed.record(trial.key, DONE)]
    if lacking:
        return f"not done: {', '.join(lacking)}"
    for trial in trials:
        if not same(whole.trial(trial.key), disturbed.trial(trial.key), LAST):
            return f"weights of {trial.name} differ"
    if disturbance.drains:
        late = [when for event, _, when in heard.events if event == "moved" and when > disturbance.deadline]
        deaths = heard.count("started") - NUM_TRIALS - heard.count("moved")
        if late or deaths > 0:
            return f"{deaths} trial(s) died, {len(late)} moved after the deadline"
    return None
