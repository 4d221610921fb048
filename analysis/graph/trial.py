"""A training on an exact graph as a trial: what `ray_ssl.trial` runs in the process that Ray Tune gives it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from analysis.graph.contrastive import Learned, Learner, marks
from analysis.graph.experiment import ALIGNMENT, LEAST_LOSS, SMALLEST, Study, measure_learned
from analysis.graph.recorded import Settings, training_key, training_of, write_rows
from analysis.survey import sweep_name
from analysis.table import Checkpoint
from analysis.threads import limit_threads
from ray_ssl.checkpoints import load_newest_state, save_state
from ray_ssl.graph_config import GraphConfig
from ray_ssl.pretrain import PreemptedError
from ray_ssl.save_clock import SaveClock
from ray_ssl.storage import Storage
from ray_ssl.trainer import EpochMetrics, NonFiniteLossError
from ray_ssl.trial import Lent


class GraphData(NamedTuple):
    """What all trainings on a graph share; stored once a node.

    Attributes:
        study: The graph and as many eigenvectors as the largest k.
        settings: See `analysis.graph.recorded.about`.
    """

    study: Study
    settings: Settings


def train_on_graph(config: GraphConfig, data: GraphData, trial: Storage, lent: Lent) -> dict[str, Any]:
    """The loop of trials on a graph; see `ray_ssl.trial.Loop`.

    At each of the steps `marks` the features are measured, their rows go into the sweep's table, and the numbers into
    the history.

    Raises:
        NonFiniteLossError: The training diverged.
        PreemptedError: It is to go on elsewhere; its state is saved.
    """
    limit_threads(lent.job.cpus_per_worker)
    learner = Learner(data.study.graph, data.study.found.levels, training_of(config))
    history: list[EpochMetrics] = []
    state = load_newest_state(trial, lent.warn)
    if state is not None:
        learner.restore(state)
        history = state.card["history"]
    for past in history:
        lent.report(past)
    clock = SaveClock(lent.job.state_seconds)

    def save() -> None:
        with clock.timed():
            save_state(trial, learner.step, learner.state(history))

    done = history[-1]["epoch"] if history else -1
    for mark in (step for step in marks(config.num_steps) if step > done):
        while learner.step < mark:
            learner.advance()
            if learner.step < mark:
                _pause(clock, save, lent)
        history.append(_measured(config, data, lent.job.sweep, learner.look()))
        lent.report(history[-1])
        if mark == 0:
            save()  # as pretraining does: from then on it goes on, and the clock knows what a save takes
        if mark < config.num_steps:
            _pause(clock, save, lent)
    return {"history": history}


def _pause(clock: SaveClock, save: Callable[[], None], lent: Lent) -> None:
    """Saves where it is time to, and leaves a node that is being drained. Raises PreemptedError."""
    if lent.preempted():
        save()
        raise PreemptedError
    if clock.is_due:
        save()


def _measured(config: GraphConfig, data: GraphData, sweep: Storage, learned: Learned) -> EpochMetrics:
    """Writes the rows of some features into the table; returns the numbers for the history."""
    if not math.isfinite(learned.loss):
        raise NonFiniteLossError(f"the loss became {learned.loss} by step {learned.step}: another seed or k may help")
    training = training_of(config)
    rows = list(measure_learned(data.study, learned, training))
    at = Checkpoint(
        sweep_name(sweep), training_key(data.settings, training), config.method_name, 0, config.k, config.seed,
        data.study.dataset.name, learned.step,
    )  # fmt: skip
    write_rows(sweep, at, rows, data.settings)
    value = {row.metric: row.value for row in rows if row.metric in (ALIGNMENT, SMALLEST, LEAST_LOSS)}
    return {"epoch": learned.step, "loss": learned.loss, **value, "time": time.time()}
