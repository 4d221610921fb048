"""`--dry-run`: what would run, what is done already, how much disk and time it takes."""

from __future__ import annotations

import time
from itertools import islice
from typing import Final

import torch

from analysis.survey import survey
from ray_ssl.capacity import capacity
from ray_ssl.cluster import local_node
from ray_ssl.config import PretrainConfig
from ray_ssl.data import Dataset
from ray_ssl.errors import EXIT_DONE
from ray_ssl.ledger import Ledger, Trial, TrialState, names_apart
from ray_ssl.pace import size_of
from ray_ssl.progress import duration
from ray_ssl.search import OptunaSource
from ray_ssl.trainer import Trainer
from sweeps.cli import Request
from sweeps.data_card import DataCard
from sweeps.footprint import footprint
from sweeps.report import print_data, print_torn
from sweeps.wanted import runs

CALIBRATION_SECONDS: Final = 20.0
NUM_TIMED_STEPS: Final = 2


def seconds_per_epoch(config: PretrainConfig, dataset: Dataset, threads: int) -> float:
    """Returns a trial's training time for one epoch on one worker of this machine's CPU, by timing a few steps."""
    torch.set_num_threads(threads)
    trainer = Trainer(config, dataset, torch.device("cpu"))
    trainer.step(next(trainer.inputs(1)), 1, 0)
    started = time.perf_counter()
    num_steps = 0
    for inputs in islice(trainer.inputs(1), max(NUM_TIMED_STEPS, trainer.views.num_at_once)):
        trainer.step(inputs, 1, num_steps)
        num_steps += 1
    return (time.perf_counter() - started) / num_steps * trainer.steps_per_epoch


def dry_run(request: Request, ledger: Ledger, dataset: Dataset) -> int:
    """Prints the plan; trains nothing and writes nothing. Returns the exit code."""
    from sweeps.run import make_source

    print_data(DataCard.of(dataset))
    source = make_source(request, ledger, dataset.fingerprint)
    if isinstance(source, OptunaSource):
        print(f"{source.num_trials} trial(s) of {request.num_trials} are still to be suggested or finished; "
              "estimates below are for the base configuration")  # fmt: skip
        trials = [Trial("suggested", request.base)] * source.num_trials
        states = [TrialState.NEW] * len(trials)
    else:
        trials = source.trials
        lost = survey(ledger, ledger.known_trials(), request.settings, request.tasks_of).lost
        states = [TrialState.RESUMABLE if t.key in lost else ledger.state(t.key) for t in trials]
    calibrated = calibrate(request, [t for t, s in zip(trials, states, strict=True) if runs(s, request)], dataset)
    total_seconds, total_bytes = 0.0, 0.0
    names = names_apart(trials)
    width = max(map(len, names.values()), default=0)
    for trial, state in zip(trials, states, strict=True):
        size = footprint(trial.config, len(dataset.train.fine_names))
        key = "-" * len(trial.key) if getattr(trial.config.method, "start", "") in request.unmade else trial.key
        line = f"{key}  {names[trial.key]:{width}} {state.value:10} {size.num_parameters / 1e6:8.2f} M parameters"
        if runs(state, request):
            seconds = calibrated[size_of(trial.config)] * trial.config.training.epochs
            total_seconds, total_bytes = total_seconds + seconds, total_bytes + size.disk_bytes
            line += f"  {size.disk_bytes / 1e6:8.1f} MB  about {duration(seconds)}"
        print(line)
    print_torn(request, ledger, trials)
    side_by_side = capacity(request.machine, request.base.num_workers, [local_node(request.machine)]).num_concurrent
    num_runs = sum(runs(state, request) for state in states)
    print(f"{len(trials)} trial(s), {num_runs} to run: at most {total_bytes / 1e6:.0f} MB, training "
          f"about {duration(total_seconds / max(1, min(side_by_side, len(trials))))} with {side_by_side} side by side "
          "on this machine's CPU (analysis comes on top); nothing was started")  # fmt: skip
    return EXIT_DONE


def calibrate(request: Request, trials: list[Trial], dataset: Dataset) -> dict[str, float]:
    """Returns seconds an epoch by `size_of`; what the time limit leaves untimed is scaled by its arithmetic."""
    timed: dict[str, float] = {}
    flops: dict[str, float] = {}
    untimed: dict[str, float] = {}
    deadline = time.monotonic() + CALIBRATION_SECONDS
    for trial in trials:
        kind = size_of(trial.config)
        if kind in timed or kind in untimed:
            continue
        work = footprint(trial.config, len(dataset.train.fine_names)).flops
        if time.monotonic() < deadline or not timed:
            timed[kind] = seconds_per_epoch(trial.config, dataset, request.machine.cpus_per_worker)
            flops[kind] = work
        else:
            untimed[kind] = work
    for kind, work in untimed.items():
        nearest = min(flops, key=lambda other: abs(flops[other] - work))
        timed[kind] = timed[nearest] * work / flops[nearest]
    return timed
