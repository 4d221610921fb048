"""What a sweep's command does: plan, train what is missing, analyse what is missing, draw, log, tell."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from analysis.command import FIGURES, Tracking, analyse_with_progress, finish, quiet
from analysis.measure import AnalysisSettings
from analysis.pipeline import MEASUREMENTS, missing_work
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.errors import EXIT_DONE, EXIT_SOME_FAILED
from ray_ssl.follower import Follower, flatten
from ray_ssl.launch import Capacity, capacity, cluster_nodes, local_cpus, ray_session, run_trials
from ray_ssl.ledger import FAILED, Lease, Ledger, Trial, TrialState, make_trials
from ray_ssl.pretrain import check_fits
from ray_ssl.progress import Board, duration
from ray_ssl.search import GridSource, OptunaSource, SearchSpace
from ray_ssl.storage import Storage
from ray_ssl.trial import ERROR_LOG
from sweeps.cli import Request
from sweeps.flags import print_error

CLOSE_SECONDS = 30.0
"""How long the end of a command waits for an MLflow server."""


def run(request: Request) -> int:
    """Runs or resumes a sweep; returns the exit code.

    Raises:
        UserError: Bad input; nothing was started.
        KeyboardInterrupt: Stopped by the user; all is left so that the same command goes on.
    """
    quiet()
    started = time.monotonic()
    storage = Storage.at(request.storage)
    ledger = Ledger(storage.child(request.name))
    if request.machine.address == "local":
        room_for(request, [{"CPU": float(request.machine.num_cpus or local_cpus())}])
    dataset = load_dataset(request.base.data)
    check_fits(request.base, dataset)
    if request.dry_run:
        from sweeps.estimate import dry_run

        return dry_run(request, ledger, dataset)
    ledger.open(request.sweep.question.strip(), request.shared)
    with Lease(ledger.sweep):
        code = _run_leased(request, storage, ledger, dataset)
    if code == EXIT_DONE:
        print(f"took {duration(time.monotonic() - started)}", flush=True)
    return code


def _run_leased(request: Request, storage: Storage, ledger: Ledger, dataset: Dataset) -> int:
    source = make_source(request, ledger, dataset.fingerprint)
    tracking = Tracking.of_sweep(storage, ledger, request.tracking_uri, request.experiment)
    tracker = tracking.connect()
    follower = Follower(tracker, ledger)
    follower.catch_up()
    tracker.parent_params(flatten(request.shared) | {"question": request.sweep.question.strip().splitlines()[0]})
    _print_plan(request, ledger, source, dataset)
    with tempfile.TemporaryDirectory(prefix="ray_ssl_") as scratch:
        try:
            errors = _train_and_analyse(request, ledger, source, dataset, follower)
            best = source.best() if isinstance(source, OptunaSource) and request.vary else None
            num_rows = finish(ledger, tracker, Path(scratch), only=best)
            failed = [t for t in source.trials if ledger.state(t.key) not in (TrialState.DONE, TrialState.STOPPED)]
            tracker.parent_end("FAILED" if failed or errors else "FINISHED")
        except BaseException:
            follower.interrupted()
            tracker.parent_end("KILLED")
            tracker.close(timeout=CLOSE_SECONDS)
            raise
        _report_unsent(tracker.close(timeout=CLOSE_SECONDS))
    _print_results(request, ledger, tracking, num_rows)
    _print_search(source, request)
    return _print_failures(request, ledger, failed, errors)


def make_source(request: Request, ledger: Ledger, data_fingerprint: str) -> GridSource | OptunaSource:
    """Returns what is still to be run; failed trials only where they are to be retried."""
    if request.search == "grid":
        trials = make_trials(request.grid.configs(), data_fingerprint)
        states = {trial.key: ledger.state(trial.key) for trial in trials}
        return GridSource(trials, [t for t in trials if _to_run(states[t.key], request, ledger, t.key)])
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    choices = {path: CategoricalDistribution(values) for path, values in request.grid.axes.items() if path != "seed"}
    ranges = {path: FloatDistribution(low, high, log=low > 0 and high / low >= 10)
              for path, (low, high) in request.vary.items()}  # fmt: skip
    space = SearchSpace(request.grid.config, {**choices, **ranges}, request.objective, request.base.seed)
    source = OptunaSource(space, request.num_trials, data_fingerprint, ledger, request.retry_failed)
    for trial in source.trials:
        _to_run(ledger.state(trial.key), request, ledger, trial.key)
    return source


def _to_run(state: TrialState, request: Request, ledger: Ledger, key: str) -> bool:
    if state is TrialState.FAILED and request.retry_failed:
        ledger.retry(key)
        return True
    return state in (TrialState.NEW, TrialState.RESUMABLE)


def _train_and_analyse(
    request: Request, ledger: Ledger, source: GridSource | OptunaSource, dataset: Dataset, follower: Follower
) -> list[str]:
    """Runs what is missing, in one Ray session; returns what could not be analysed."""
    settings = AnalysisSettings()
    if not source.num_trials and not missing_work(ledger, ledger.known_trials(), settings):
        print("nothing to do: every trial is trained and measured", flush=True)
        return []
    data_bytes = dataset.train.images.nbytes + dataset.test.images.nbytes
    num_workers = request.base.num_workers
    with ray_session(request.machine, data_bytes, nested_train=num_workers > 1):
        room = room_for(request, cluster_nodes())
        if source.num_trials:
            hint = _idle_hint(source.num_trials, room.num_concurrent, request)
            print(f"training: {source.num_trials} trial(s), {room.num_concurrent} side by side{hint}", flush=True)
            scheduler = make_scheduler(request)
            with Board(source.num_trials, ledger) as follower.board:
                run_trials(source, num_workers, ledger, dataset, request.machine, room, follower, scheduler)
        work = missing_work(ledger, ledger.known_trials(), settings)
        return analyse_with_progress(ledger, work, dataset, settings, request.machine.cpus_per_worker)


def room_for(request: Request, nodes: list[dict[str, float]]) -> Capacity:
    """Returns how many trials fit. Raises UserError where none ever will."""
    return capacity(request.machine, request.base.num_workers, nodes)


def make_scheduler(request: Request) -> Any:
    """Returns the Tune scheduler asked for, or None."""
    if request.scheduler == "none":
        return None
    from ray.tune.schedulers import ASHAScheduler

    epochs = request.base.training.epochs
    return ASHAScheduler(
        time_attr="epoch", metric=request.objective, mode="max", max_t=epochs, grace_period=max(1, epochs // 8)
    )


def _idle_hint(num_trials: int, num_concurrent: int, request: Request) -> str:
    idle = num_concurrent // num_trials
    return f" (--cpus-per-worker {request.machine.cpus_per_worker * idle} would use all CPUs)" if idle > 1 else ""


def _print_plan(request: Request, ledger: Ledger, source: GridSource | OptunaSource, dataset: Dataset) -> None:
    train, test = len(dataset.train), len(dataset.test)
    superclasses = f" in {len(dataset.train.coarse_names)} superclasses" if dataset.train.coarse_names else ""
    print(f"{request.sweep.name}: {request.sweep.question.strip().splitlines()[0]}")
    if request.demo:
        print(f"no --dataset given: a small demonstration, method {request.base.method.name}, on embedded images "
              "(see --help for real studies)")  # fmt: skip
    print(f"data: {dataset.name}, {train} training and {test} test images, {len(dataset.train.fine_names)} "
          f"classes{superclasses}")  # fmt: skip
    counts = Counter(ledger.state(trial.key).value for trial in source.trials)
    found = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    print(f"trials: {found or f'{source.num_trials} to be suggested'}", flush=True)


def _print_results(request: Request, ledger: Ledger, tracking: Tracking, num_rows: int) -> None:
    where = ledger.sweep.uri
    print()
    print(f"results   {where}")
    print(f"table     {where}/{MEASUREMENTS} ({num_rows} measurements)")
    print(f"figures   {where}/{FIGURES}")
    print(f"MLflow    {tracking.shown_uri}, experiment {tracking.experiment}")
    print("next:")
    print(f"  {tracking.ui_command}")
    print(f"  python -m analysis {where}")
    if request.demo:
        print(f"  python sweeps/{request.sweep.name}.py {request.sweep.example}")
    sys.stdout.flush()


def _print_search(source: GridSource | OptunaSource, request: Request) -> None:
    best = source.best() if isinstance(source, OptunaSource) else None
    if best is not None:
        params = ", ".join(f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}"
                           for k, v in best.search["params"].items())  # fmt: skip
        print(f"best {request.objective}: trial {best.key} with {params}", flush=True)


def _print_failures(request: Request, ledger: Ledger, failed: list[Trial], errors: list[str]) -> int:
    for error in errors:
        print_error(f"not analysed: {error}")
    for trial in failed:
        record = ledger.record(trial.key, FAILED)
        if record is None:
            print_error(f"not finished: {trial.name} ({trial.key}); the same command goes on")
            continue
        log = f"{ledger.trial(trial.key).uri}/{ERROR_LOG}"
        print_error(f"failed: {trial.name} ({trial.key}): {record['reason']}; log: {log}")
    if any(ledger.record(trial.key, FAILED) for trial in failed):
        print(f"to run the failed again:\n  {request.command} --retry-failed", flush=True)
    return EXIT_SOME_FAILED if failed or errors else EXIT_DONE


def _report_unsent(num_calls: int) -> None:
    if num_calls:
        print_error(f"the MLflow server does not answer: {num_calls} call(s) wait; the same command again sends them")
