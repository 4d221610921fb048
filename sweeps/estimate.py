"""`--dry-run`: what would run, what is done already, how much disk and time it takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import torch

from ray_ssl.config import PretrainConfig
from ray_ssl.data import Dataset
from ray_ssl.errors import EXIT_DONE
from ray_ssl.launch import capacity, local_cpus
from ray_ssl.ledger import Ledger, Trial, TrialState
from ray_ssl.pretrain import Trainer, build_trial_method, checkpoint_epochs
from ray_ssl.progress import duration
from ray_ssl.search import OptunaSource
from sweeps.cli import Request

CALIBRATION_SECONDS: Final = 20.0
NUM_TIMED_STEPS: Final = 2
NUM_STATES: Final = 2


@dataclass(frozen=True)
class Shape:
    """What decides a trial's size and speed."""

    num_parameters: int
    disk_bytes: int
    num_epochs: int


def shape_of(config: PretrainConfig, dataset: Dataset) -> Shape:
    """Returns a trial's size: its checkpoints, and the two training states (weights and momentum) while it runs."""
    method = build_trial_method(config, dataset)
    model = sum(t.numel() * t.element_size() for t in method.state_dict().values())
    trained = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
    disk = len(checkpoint_epochs(config.training)) * model + NUM_STATES * (model + trained)
    return Shape(sum(p.numel() for p in method.parameters()), disk, config.training.epochs)


def seconds_per_epoch(config: PretrainConfig, dataset: Dataset, threads: int) -> float:
    """Returns a trial's training time for one epoch on one worker of this machine's CPU, by timing a few steps."""
    torch.set_num_threads(threads)
    trainer = Trainer(config, dataset, torch.device("cpu"))
    rows = trainer.order(1)[0]
    trainer.step(rows, 1, 0)
    started = time.perf_counter()
    for _ in range(NUM_TIMED_STEPS):
        trainer.step(rows, 1, 0)
    return (time.perf_counter() - started) / NUM_TIMED_STEPS * trainer.steps_per_epoch


def dry_run(request: Request, ledger: Ledger, dataset: Dataset) -> int:
    """Prints the plan; trains nothing and writes nothing. Returns the exit code."""
    from sweeps.run import make_source

    source = make_source(request, ledger, dataset.fingerprint)
    if isinstance(source, OptunaSource):
        print(f"{source.num_trials} trial(s) of {request.num_trials} are still to be suggested or finished; "
              "estimates below are for the base configuration")  # fmt: skip
        trials = [Trial("suggested", request.base)] * source.num_trials
        states = [TrialState.NEW] * len(trials)
    else:
        trials = source.trials
        states = [ledger.state(trial.key) for trial in trials]
    calibrated = calibrate(request, [t for t, s in zip(trials, states, strict=True) if _runs(s)], dataset)
    total_seconds, total_bytes = 0.0, 0
    for trial, state in zip(trials, states, strict=True):
        shape = shape_of(trial.config, dataset)
        line = f"{trial.key}  {trial.name:32} {state.value:10} {shape.num_parameters / 1e6:8.2f} M parameters"
        if _runs(state):
            seconds = calibrated[_arithmetic(trial.config)] * shape.num_epochs
            total_seconds, total_bytes = total_seconds + seconds, total_bytes + shape.disk_bytes
            line += f"  {shape.disk_bytes / 1e6:8.1f} MB  about {duration(seconds)}"
        print(line)
    nodes = [{"CPU": float(request.machine.num_cpus or local_cpus())}]
    side_by_side = capacity(request.machine, request.base.num_workers, nodes).num_concurrent
    print(f"{len(trials)} trial(s), {sum(map(_runs, states))} to run: at most {total_bytes / 1e6:.0f} MB, training "
          f"about {duration(total_seconds / max(1, min(side_by_side, len(trials))))} with {side_by_side} side by side "
          "on this machine's CPU (analysis comes on top); nothing was started")  # fmt: skip
    return EXIT_DONE


def calibrate(request: Request, trials: list[Trial], dataset: Dataset) -> dict[str, float]:
    """Returns seconds an epoch by `_arithmetic`; what the time limit leaves untimed is scaled by network size."""
    timed: dict[str, float] = {}
    sizes: dict[str, float] = {}
    untimed: dict[str, float] = {}
    deadline = time.monotonic() + CALIBRATION_SECONDS
    for trial in trials:
        kind = _arithmetic(trial.config)
        if kind in timed or kind in untimed:
            continue
        size = float(sum(p.numel() for p in build_trial_method(trial.config, dataset).backbone.parameters()))
        if time.monotonic() < deadline or not timed:
            timed[kind] = seconds_per_epoch(trial.config, dataset, request.machine.cpus_per_worker)
            sizes[kind] = size
        else:
            untimed[kind] = size
    for kind, size in untimed.items():
        nearest = min(timed, key=lambda other: abs(sizes[other] - size))
        timed[kind] = timed[nearest] * size / sizes[nearest]
    return timed


def _arithmetic(config: PretrainConfig) -> str:
    """What two configurations share that take the same time: all but the seed and the length."""
    values = config.to_dict()
    return str({**values, "seed": 0, "training": {**values["training"], "epochs": 0}})


def _runs(state: TrialState) -> bool:
    return state in (TrialState.NEW, TrialState.RESUMABLE)
