"""How many trials fit on a cluster, by the nodes that it has or may have."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from ray_ssl.cluster import MachineOptions, cluster_to_join, living_nodes, ray_session
from ray_ssl.errors import UserError

log = logging.getLogger("ray_ssl")

DESCRIPTION: Final = "~/ray_bootstrap_config.yaml"
"""Where `ray up` puts the description of the cluster on its head."""


@dataclass(frozen=True)
class Capacity:
    """What each trial asks for and how many fit at once."""

    cpus_per_worker: int
    gpus_per_worker: float
    num_concurrent: int


def capacity(options: MachineOptions, num_workers: int, nodes: list[dict[str, float]]) -> Capacity:
    """Returns how many trials run side by side.

    Args:
        options: What a worker asks for.
        num_workers: Workers of a trial.
        nodes: Resources of each node, e.g. {"CPU": 8, "GPU": 1}.

    Raises:
        UserError: A trial can never fit; with the arithmetic.
    """
    has_gpus = any(node.get("GPU", 0) > 0 for node in nodes)
    gpus = options.gpus_per_worker if options.gpus_per_worker is not None else float(has_gpus)
    cpus = options.cpus_per_worker
    slots = sum(
        int(min(node.get("CPU", 0) // cpus, node.get("GPU", 0) // gpus if gpus else float("inf"))) for node in nodes
    )
    if slots < num_workers:
        total = {kind: sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
        asks = f"{num_workers} x {cpus} CPUs" + (f" and {num_workers} x {gpus:g} GPUs" if gpus else "")
        raise UserError(
            f"a trial asks for {asks} (--num-workers x --cpus-per-worker); {len(nodes)} node(s) with "
            f"{total['CPU']:g} CPUs and {total['GPU']:g} GPUs hold {slots} such worker(s)"
        )
    return Capacity(cpus, gpus, slots // num_workers)


def cluster_nodes(options: MachineOptions) -> list[dict[str, float]]:
    """Returns the resources of each node there is or, on the head of a cluster that grows, there may be.

    To be called inside the session of the same options.
    """
    return promised_nodes(_description(options)) or living_nodes()


def _description(options: MachineOptions) -> dict[str, Any]:
    """What `ray up` was given, on the head of a cluster that is joined; {} elsewhere."""
    file = Path(DESCRIPTION).expanduser()
    return yaml.safe_load(file.read_text()) if cluster_to_join(options) is not None and file.is_file() else {}


def promised_nodes(description: dict[str, Any]) -> list[dict[str, float]]:
    """Returns the resources of each node that a cluster may have at once, its head first.

    Args:
        description: What `ray up` was given, with the node types.

    Returns:
        As `capacity` takes it; [] where the resources of a node are found out only when it has started (machines one
        owns).
    """
    kinds, head = description.get("available_node_types", {}), description.get("head_node_type", "")
    if not all(kind.get("resources") for kind in kinds.values()):
        return []
    workers = [kind["resources"] for kind in kinds.values() for _ in range(kind.get("max_workers", 0))]
    return [kinds[head]["resources"], *workers[: description.get("max_workers", 0)]] if head in kinds else []


def warn_of_absent_machines(options: MachineOptions, nodes: list[dict[str, float]]) -> None:
    """Says which share of the machines one owns the trials are planned for, where some have not joined Ray (yet)."""
    description = _description(options)
    provider = description.get("provider", {})
    num_owned = 1 + min(len(provider.get("worker_ips", [])), description.get("max_workers", 0))
    if provider.get("type") == "local" and len(nodes) < num_owned:
        joined = f"{len(nodes)} of the cluster's {num_owned} machines have joined Ray so far"
        log.warning("%s, and trials are planned for these alone; `ray status` shows them", joined)


def cluster_gpus(options: MachineOptions) -> float:
    """Returns how many GPUs the cluster has or may have that will be joined; 0 where Ray is started on this machine.

    Raises:
        UserError: The cluster does not answer.
    """
    if cluster_to_join(options) is None:
        return 0.0
    with ray_session(options, data_bytes=0, nested_train=False):
        return sum(node.get("GPU", 0.0) for node in cluster_nodes(options))
