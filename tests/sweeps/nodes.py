"""A Ray cluster of several nodes on this machine, images that wait for a trial's fellows, and who hears of trials."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import ray
from ray.cluster_utils import Cluster

from ray_ssl.cluster import MachineOptions, ray_session
from ray_ssl.config import PretrainConfig
from ray_ssl.data.base import Dataset
from ray_ssl.ledger import AnyTrial
from tests.sweeps.command import ROOT

MEETING_SECONDS = 120
TINY = PretrainConfig.from_dict(
    {
        "backbone": {"name": "res_lh", "depth": 1, "width": 8},
        "method": {"name": "vicreg", "projector_width": 16, "embedding_dim": 8},
        "training": {"epochs": 2, "global_batch_size": 32, "num_checkpoints": 3, "precision": "fp32"},
    }
)


@contextmanager
def joined_cluster(num_nodes: int, cpus: int = 1) -> Iterator[tuple[Cluster, MachineOptions]]:
    """Starts nodes with so many CPUs each, and joins them; the driver is on the first, which must stay."""
    # Its own folder: what is started in Ray's usual one is the cluster that every sweep on this machine joins.
    with tempfile.TemporaryDirectory(prefix="nodes") as folder:
        environment = {"RAY_TMPDIR": folder, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
        with mock.patch.dict(os.environ, environment):
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": False})
            try:
                for _ in range(num_nodes - 1):
                    cluster.add_node(num_cpus=cpus, wait=False)
                cluster.wait_for_nodes()
                options = MachineOptions(address=str(cluster.address), state_seconds=0)
                with ray_session(options, data_bytes=0, nested_train=True):
                    yield cluster, options
            finally:
                cluster.shutdown()


@dataclass(frozen=True)
class MeetingDataset(Dataset):
    """Every process that uses it leaves its node's name in a folder, and waits until so many nodes are there."""

    folder: str = ""
    num_nodes: int = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, waits=True)

    def __getattribute__(self, name: str) -> Any:
        # Not already where it arrives: Ray Data starts no second actor before the first one's constructor is over.
        if name == "train" and object.__getattribute__(self, "__dict__").pop("waits", False):
            self._meet()
        return super().__getattribute__(name)

    def _meet(self) -> None:
        (Path(self.folder) / ray.get_runtime_context().get_node_id()).touch()
        deadline = time.monotonic() + MEETING_SECONDS
        while len(nodes := [path.name for path in Path(self.folder).iterdir()]) < self.num_nodes:
            assert time.monotonic() < deadline, f"{self.num_nodes} nodes should be at work, there are {nodes}"
            time.sleep(0.05)


@dataclass
class Heard:
    """A listener: what was heard of trials, in order, with the time."""

    events: list[tuple[str, str, float]] = field(default_factory=list)

    def _hear(self, what: str, trial: AnyTrial) -> None:
        self.events.append((what, trial.key, time.time()))

    def started(self, trial: AnyTrial) -> None:
        self._hear("started", trial)

    def epoch(self, trial: AnyTrial, metrics: dict[str, float]) -> None:
        self._hear("epoch", trial)

    def warned(self, trial: AnyTrial, text: str) -> None:
        self._hear(text, trial)

    def moved(self, trial: AnyTrial) -> None:
        self._hear("moved", trial)

    def ended(self, trial: AnyTrial) -> None:
        self._hear("ended", trial)

    def count(self, what: str) -> int:
        return sum(event == what for event, _, _ in self.events)
