"""Trainings on an exact graph in this process, without Ray: as the sweep's trials, into the same table and ledger."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from analysis.graph.recorded import write_graph
from analysis.graph.trial import GraphData, train_on_graph
from ray_ssl.ledger import DONE, Ledger
from ray_ssl.storage import Storage
from ray_ssl.trainer import EpochMetrics
from ray_ssl.trial import Job, Lent
from sweeps.graph import SWEEP
from sweeps.graph_cli import parse
from sweeps.graph_run import Plan, make_plan

IMAGES = ("--dataset", "shapes", "--num-images", "60", "--num-test-images", "40", "--levels", "3")


def plan_of(*flags: str) -> Plan:
    """What a line asks for."""
    return make_plan(parse(SWEEP, flags))


def lend(
    ledger: Ledger,
    report: Callable[[EpochMetrics], None] = lambda metrics: None,
    state_seconds: float = 60.0,
    preempted: Callable[[], bool] = lambda: False,
) -> Lent:
    """What a trial's process would."""
    job = Job(ledger.sweep, None, 1, 0.0, state_seconds)

    def warn(text: str) -> None:
        raise AssertionError(text)

    return Lent(job, torch.device("cpu"), report, warn, preempted)


def train_all(folder: Path, flags: Sequence[str]) -> Plan:
    """Does what the sweep does with a line, in a sweep's folder; returns what it asked for."""
    plan, ledger = plan_of(*flags), Ledger(Storage.at(folder))
    write_graph(ledger.sweep, plan.study, plan.seen, plan.sizes, plan.settings)
    for trial in plan.trials:
        ledger.write_config(trial)
        ending: dict[str, Any] = train_on_graph(
            trial.config, GraphData(plan.study, plan.settings), ledger.trial(trial.key), lend(ledger)
        )
        ledger.end(trial.key, DONE, ending)
        ledger.trial(trial.key).delete_folder("state")
    ledger.remember_command(shlex.join(["python", "sweeps/graph.py", *flags]), ".")
    return plan
