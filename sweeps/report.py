"""What a sweep's command says: the plan, the results, what failed, what to do next."""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from analysis.pipeline import MEASUREMENTS
from analysis.publication import FIGURES, REPORT
from analysis.tracked import Tracking
from ray_ssl.config import TrainingConfig
from ray_ssl.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_SOME_FAILED, print_error
from ray_ssl.ledger import DATA, FAILED, AnyTrial, GraphTrial, Ledger, Trial, TrialState, names_apart
from ray_ssl.search import GridSource, OptunaSource
from ray_ssl.trial import ERROR_LOG
from sweeps.cli import Request
from sweeps.data_card import DataCard
from sweeps.run_options import RunOptions
from sweeps.wanted import runs

Source = GridSource[Trial] | OptunaSource
AnySource = Source | GridSource[GraphTrial]
NUM_SEEDS = 3
"""Repetitions that a study with one seed is advised to have."""


LINE_LENGTH = 118
MOST_LISTED = 24
"""Lines of what a shift is made of; CIFAR-100 has 20 superclasses."""

FEW_WARMUP_STEPS = 10
"""With fewer, VICReg's default rate was seen to diverge."""


def warmup_steps(training: TrainingConfig, num_images: int) -> int:
    """Returns the steps in which the learning rate of a training on so many images rises."""
    num_steps = training.epochs * (num_images // training.global_batch_size)
    return round(training.warmup_fraction * num_steps)


def print_plan(
    request: Request,
    ledger: Ledger,
    source: Source,
    data: DataCard,
    lost: Mapping[str, Sequence[int]],
    num_stopped: int = 0,
) -> None:
    """Prints what is asked, on which data, and how many trials stand where.

    Args:
        lost: See `analysis.survey.Survey`.
        num_stopped: Trials that had been stopped early and go on now.
    """
    print(f"{request.sweep.name}: {request.sweep.question.strip().splitlines()[0]}")
    if is_demonstration(request):
        print(f"no --dataset given: a small demonstration, method {request.base.method.name}, on embedded images "
              "(see --help for real studies)")  # fmt: skip
    print_data(data, ledger.sweep.address(DATA))
    if request.base.data.stream:
        _print_stream(request, data.num_train)
    print_counts(ledger, source, lost)
    if isinstance(source, OptunaSource) and source.num_left_out:
        print(f"{source.num_left_out} earlier trial(s) of this search lie outside what is varied now and are left out")
    if num_stopped:
        print(f"{num_stopped} of them, stopped early by a scheduler, now go to their last epoch: no --scheduler given")
    for trial in source.trials:
        if trial.key in lost:
            epochs = ", ".join(map(str, lost[trial.key]))
            print(f"{trial.name} ({trial.key}): its checkpoint of epoch {epochs} is damaged or missing")
    num_steps = warmup_steps(request.base.training, data.num_train)
    has_warmup = request.base.training.warmup_fraction > 0
    if isinstance(source, GridSource) and source.num_trials and has_warmup and num_steps < FEW_WARMUP_STEPS:
        print(f"note: the learning rate warms up within {num_steps} step(s), so the run may diverge; more --epochs, "
              "a smaller --global-batch-size or a smaller --learning-rate help")  # fmt: skip
    print_torn(request, ledger, source.trials)
    sys.stdout.flush()


def print_data(data: DataCard, file: str = "") -> None:
    """Prints which images there are and, of a shift, how source and target were made.

    Args:
        file: What has the whole of it, where it lists too much; "" where none is written.
    """
    superclasses = f" in {data.num_superclasses} superclasses" if data.num_superclasses else ""
    print(f"data: {data.name}, {data.num_train} training and {data.num_test} test images, {data.num_classes} "
          f"classes{superclasses}")  # fmt: skip
    if data.note:
        _print_shift(data.note, file)


def _print_shift(note: str, file: str) -> None:
    first, *listed = note.splitlines()
    print(textwrap.fill(f"shift: {first}", LINE_LENGTH, subsequent_indent="  "))
    shown = listed if len(listed) <= MOST_LISTED else listed[: MOST_LISTED - 1]
    for line in shown:
        print(textwrap.fill(line, LINE_LENGTH, initial_indent="  ", subsequent_indent="      "))
    if len(shown) < len(listed):
        print(f"  ... and {len(listed) - len(shown)} more{f', in {file}' if file else ''}")


def print_counts(ledger: Ledger, source: AnySource, lost: Collection[str]) -> None:
    """Prints how many trials stand where; those of `lost` run again."""
    counts = Counter("to train again" if t.key in lost else ledger.state(t.key).value for t in source.trials)
    found = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    print(f"trials: {found or f'{source.num_trials} to be suggested'}", flush=True)


def print_torn(request: RunOptions, ledger: Ledger, trials: Sequence[AnyTrial]) -> None:
    """Prints one line for every trial that runs again because the record of its end is torn."""
    for trial in trials:
        torn = ledger.torn_endings(trial.key) if runs(ledger.state(trial.key), request) else []
        if torn:
            print(f"{trial.name} ({trial.key}): its {' and '.join(torn)} is torn or altered; it trains again")


def is_demonstration(request: Request) -> bool:
    """Returns whether nothing was asked for but the sweep itself."""
    presets = {axis.path: tuple(request.sweep.demo.get(axis.path) or axis.values) for axis in request.sweep.axes}
    return request.demo and not request.grid.given and request.grid.axes == presets and request.search == "grid"


def print_results(request: Request, ledger: Ledger, tracking: Tracking, num_rows: int) -> None:
    """Prints where everything is, and what could be done next; of a part of a command, only where."""
    where = ledger.sweep.uri
    if request.is_part:
        print(f"{request.sweep.name} in {where}", flush=True)
        return
    print_places(ledger, tracking, num_rows, [f"python -m analysis claims {shlex.quote(where)}", *next_steps(request)])


def print_places(ledger: Ledger, tracking: Tracking, num_rows: int, steps: Sequence[str]) -> None:
    """Prints where everything is, and what could be done next: to look at the runs, and `steps`."""
    where = ledger.sweep.uri
    print()
    print(f"results   {where}")
    print(f"table     {ledger.sweep.address(MEASUREMENTS)} ({num_rows} measurements)")
    print(f"figures   {ledger.sweep.address(FIGURES)}")
    print(f"report    {ledger.sweep.address(REPORT)}")
    print(f"MLflow    {tracking.shown_uri}, experiment {tracking.experiment}")
    print("next:")
    for line in (tracking.ui_command, *steps):
        print(f"  {line}")
    sys.stdout.flush()


def next_steps(request: Request) -> list[str]:
    """Returns what goes on from what was run: a real study, real images, more suggestions, more seeds."""
    if is_demonstration(request):
        return [f"python sweeps/{request.sweep.name}.py {request.sweep.example}"]
    steps = []
    if request.demo and "data.shapes_domain" not in request.grid.given:
        steps.append("the same line with --dataset cifar100: real images")
    if request.search == "grid" and request.scheduler != "none":
        steps.append("the same line without --scheduler: trains what was stopped early to its last epoch")
    seeds = next((axis.flag for axis in request.sweep.axes if axis.path == "seed"), None)
    if request.search != "grid":
        steps.append(f"the same line with --num-trials {2 * request.num_trials}: more suggestions")
    elif seeds is not None and len(request.grid.axes["seed"]) == 1:
        first = request.grid.axes["seed"][0]
        more = " ".join(str(first + i) for i in range(NUM_SEEDS))
        steps.append(f"the same line with --{seeds} {more}: how much of it is chance")
    return steps


def print_search(source: Source, request: Request) -> None:
    """Prints the best trial of a search."""
    best = source.best() if isinstance(source, OptunaSource) else None
    if best is not None:
        params = ", ".join(f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}"
                           for k, v in best.search["params"].items())  # fmt: skip
        print(f"best {request.objective}: trial {best.key} with {params}", flush=True)


def _print_stream(request: Request, num_train: int) -> None:
    """Prints how much memory the images of a trial take."""
    from sweeps.footprint import show_bytes  # takes a while to import
    from sweeps.room import worker_bytes

    config = request.base.data
    held = f"a window of {min(config.stream_window, num_train)} images, and " if config.source == "parquet" else ""
    size = show_bytes(worker_bytes(config, num_train, request.machine.cpus_per_worker))
    print(f"streamed: each worker of a trial holds at most {size} of them: {held}what is decoded ahead")


def print_failures(request: RunOptions, ledger: Ledger, trials: Sequence[AnyTrial], errors: Sequence[str]) -> int:
    """Prints one line for everything that failed, and the way out; returns the exit code.

    Args:
        trials: All that were wanted.
        errors: What could not be analysed, one line each.
    """
    failed, names = unfinished(ledger, trials), names_apart(trials)
    for error in errors:
        print_error(f"not analysed: {error}")
    for trial in failed:
        record = ledger.record(trial.key, FAILED)
        if record is None:
            print_error(f"not finished: {names[trial.key]} ({trial.key}); the same command goes on")
            continue
        log = ledger.trial(trial.key).address(ERROR_LOG)
        print_error(f"failed: {names[trial.key]} ({trial.key}): {record['reason']}; log: {log}")
    if any(ledger.record(trial.key, FAILED) for trial in failed):
        retry = request.command if request.retry_failed else f"{request.command} --retry-failed"
        print(f"to run the failed again:\n  {retry}", flush=True)
    elif errors:
        print(f"to go on:\n  {request.command}", flush=True)
    if any((ledger.record(trial.key, FAILED) or {}).get("bad_input") for trial in failed):
        return EXIT_BAD_INPUT
    return EXIT_SOME_FAILED if failed or errors else EXIT_DONE


def unfinished(ledger: Ledger, trials: Sequence[AnyTrial]) -> list[AnyTrial]:
    """Returns the trials that failed or did not come to their end."""
    return [t for t in trials if ledger.state(t.key) not in (TrialState.DONE, TrialState.STOPPED)]
