"""`--dry-run` of the sweep over trainings on an exact graph: what would run, and how long it takes."""

from __future__ import annotations

import time
from typing import Final

from analysis.graph.contrastive import Learner
from analysis.graph.recorded import training_of
from analysis.threads import limit_threads
from ray_ssl.capacity import capacity
from ray_ssl.cluster import local_node
from ray_ssl.errors import EXIT_DONE
from ray_ssl.ledger import GraphTrial, Ledger, TrialState
from ray_ssl.pace import size_of
from ray_ssl.progress import duration
from sweeps.graph_cli import GraphRequest
from sweeps.graph_run import Plan, lost_rows
from sweeps.report import print_torn
from sweeps.wanted import runs

NUM_TIMED_STEPS: Final = 3


def dry_run(request: GraphRequest, ledger: Ledger, plan: Plan) -> int:
    """Prints the plan; trains nothing and writes nothing. Returns the exit code."""
    lost = lost_rows(ledger, plan.trials)
    limit_threads(request.machine.cpus_per_worker)
    total, num_runs, timed = 0.0, 0, dict[str, tuple[float, int]]()
    width = max(len(trial.name) for trial in plan.trials)
    for trial in plan.trials:
        state = TrialState.RESUMABLE if trial.key in lost else ledger.state(trial.key)
        line = f"{trial.key}  {trial.name:{width}} {state.value:10}"
        if runs(state, request):
            kind = size_of(trial.config)
            if kind not in timed:
                timed[kind] = _timed(trial, plan)
            seconds, num_parameters = timed[kind]
            num_runs, total = num_runs + 1, total + seconds * trial.config.num_epochs
            line += f" {num_parameters / 1e6:8.2f} M parameters  about {duration(seconds * trial.config.num_epochs)}"
        print(line)
    print_torn(request, ledger, plan.trials)
    side_by_side = capacity(request.machine, 1, [local_node(request.machine)]).num_concurrent
    print(f"{len(plan.trials)} trial(s), {num_runs} to run: training about "
          f"{duration(total / max(1, min(side_by_side, num_runs)))} with {side_by_side} side by side on this machine's "
          "CPU (measuring comes on top); nothing was started")  # fmt: skip
    return EXIT_DONE


def _timed(trial: GraphTrial, plan: Plan) -> tuple[float, int]:
    """Seconds of a step, and what is learned: so many numbers."""
    learner = Learner(plan.study.graph, plan.study.found.levels, training_of(trial.config))
    learner.advance()
    started = time.perf_counter()
    for _ in range(NUM_TIMED_STEPS):
        learner.advance()
    return (time.perf_counter() - started) / NUM_TIMED_STEPS, learner.num_parameters
