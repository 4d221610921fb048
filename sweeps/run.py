"""What a sweep's command does: plan, train what is missing, analyse what is missing, draw, log, tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis import publication
from analysis.command import analyse_with_progress, quiet
from analysis.flags import refuse_other_numbers
from analysis.measurable import check_layers, check_measurable, not_measured
from analysis.settings import with_targets
from analysis.survey import Survey, survey
from analysis.tracked import Tracking
from ray_ssl import interrupts
from ray_ssl.capacity import Capacity, capacity, cluster_nodes, warn_of_absent_machines
from ray_ssl.cluster import cluster_to_join, local_node, ray_session
from ray_ssl.config import PretrainConfig
from ray_ssl.data import Dataset
from ray_ssl.data.streamed import prefetched_bytes
from ray_ssl.entry import seconds_since_start
from ray_ssl.errors import EXIT_DONE
from ray_ssl.follower import Follower, flatten
from ray_ssl.launch import make_asha
from ray_ssl.lease import Lease, refuse_beside_another
from ray_ssl.ledger import Ledger, Trial, make_trials
from ray_ssl.mlflow_client import shown
from ray_ssl.progress import duration
from ray_ssl.search import GridSource, OptunaSource, SearchSpace, number_between, one_of
from ray_ssl.storage import Storage
from ray_ssl.targets import read_targets
from sweeps import report
from sweeps.cli import Request
from sweeps.data_card import DataCard
from sweeps.report import Source
from sweeps.session import Logged, print_nothing_to_do, train
from sweeps.wanted import reopen, runs, torn_configs


def run(request: Request) -> int:
    """Runs or resumes a sweep; returns the exit code.

    Raises:
        UserError: Bad input; nothing was started.
        KeyboardInterrupt: Stopped by the user; all is left so that the same command goes on.
    """
    quiet()
    storage = Storage.at(request.storage)
    ledger = Ledger(storage.child(request.name))
    if not request.dry_run:
        refuse_beside_another(ledger.sweep)
    request = replace(request, settings=with_targets(request.settings, read_targets(ledger.sweep), request.tasks))
    configs = request.grid.configs() if request.search == "grid" else [request.base]
    check_layers(configs, request.settings, request.tasks)
    refuse_other_numbers(ledger.sweep, request.settings, request.every_task)
    num_side_by_side = _side_by_side(request)
    card = None if request.dry_run else DataCard.recall(ledger.sweep, request.base.data)
    code = None if card is None else _answer_if_nothing_to_do(request, storage, ledger, card)
    if code is None:
        from sweeps.room import load_what_fits

        dataset = load_what_fits(request, ledger, num_side_by_side)
        check_measurable(dataset, request.settings, request.tasks)
        if lacking := not_measured(dataset, request.tasks):
            print(f"note: {lacking}", flush=True)
        if request.dry_run:
            from sweeps.estimate import dry_run

            return dry_run(request, ledger, dataset)
        ledger.open(request.sweep.question.strip(), request.shared)
        with interrupts.orderly(), Lease(ledger.sweep) as lease:
            code = _run_leased(request, storage, lease, dataset)
    if code == EXIT_DONE and not request.is_part:
        print(f"took {duration(seconds_since_start())}", flush=True)
    return code


def check(request: Request) -> None:
    """Refuses what `run` would, before anything starts.

    Raises:
        UserError: Bad input, or what can never fit or be measured.
    """
    from sweeps.room import load_what_fits

    check_layers(request.grid.configs(), request.settings, request.tasks)
    ledger = Ledger(Storage.at(request.storage).child(request.name))
    dataset = load_what_fits(request, ledger, _side_by_side(request))
    check_measurable(dataset, request.settings, request.tasks)


def _answer_if_nothing_to_do(request: Request, storage: Storage, ledger: Ledger, data: DataCard) -> int | None:
    """Prints what a command prints that finds everything done, and returns its exit code; None where it is not.

    Without the images, Ray and MLflow: they take most of a minute's work to find out the same.
    """
    source = make_source(request, ledger, data.fingerprint)
    if source.num_trials or torn_configs(ledger, source.trials):
        return None
    found = survey(ledger, ledger.known_trials(), request.settings, request.tasks_of)
    if request.stage is not None and not request.stage.is_done(ledger):
        return None
    if found.work or found.lost.keys() & {trial.key for trial in source.trials}:
        return None
    tracking = Tracking.named(storage, ledger, request.tracking_uri, request.experiment)
    drawn = publication.drawn_from(ledger.sweep, _drawn_alone(source, request))
    num_rows = publication.published_rows(ledger, drawn, tracking, _parent_params(request))
    if num_rows is None:
        return None
    report.print_plan(request, ledger, source, data, {})
    print_nothing_to_do(ledger, source)
    report.print_results(request, ledger, tracking, num_rows)
    report.print_search(source, request)
    return report.print_failures(request, ledger, source.trials, [])


def _run_leased(request: Request, storage: Storage, lease: Lease, dataset: Dataset) -> int:
    ledger = Ledger(lease.storage)
    data = DataCard.of(dataset)
    data.keep(ledger.sweep, request.base.data)
    for trial in torn_configs(ledger, make_source(request, ledger, data.fingerprint).trials):
        ledger.write_config(trial)
    found = survey(ledger, ledger.known_trials(), request.settings, request.tasks_of, remember=True)
    num_stopped = reopen(request, ledger, make_source(request, ledger, data.fingerprint).trials, found.lost)
    source = make_source(request, ledger, data.fingerprint)
    tracking = Tracking.named(storage, ledger, request.tracking_uri, request.experiment)
    tracking.remember(ledger)
    ledger.remember_command(shown(request.command), str(Path.cwd()))
    tracker = tracking.connect(may_send=lease.is_held)
    report.print_plan(request, ledger, source, data, found.lost, num_stopped)
    logged = Logged(ledger, tracker, tracking, _parent_params(request))
    num_rows, errors = logged.run(
        source,
        lambda follower: _train_and_analyse(request, ledger, source, found, dataset, follower),
        lambda: _drawn_alone(source, request),
    )
    report.print_results(request, ledger, tracking, num_rows)
    report.print_search(source, request)
    return report.print_failures(request, ledger, source.trials, errors)


def make_source(request: Request, ledger: Ledger, data_fingerprint: str) -> Source:
    """Returns what is still to be run; failed trials only where they are to be retried."""
    if request.search == "grid":
        trials = make_trials(request.grid.configs(), data_fingerprint)
        states = {trial.key: ledger.state(trial.key) for trial in trials}
        return GridSource(trials, [t for t in trials if runs(states[t.key], request)])
    choices = {path: one_of(values) for path, values in request.grid.axes.items() if path != "seed"}
    ranges = {path: number_between(low, high) for path, (low, high) in request.vary.items()}
    space = SearchSpace(request.grid.config, {**choices, **ranges}, request.objective, request.base.seed)
    return OptunaSource(space, request.num_trials, data_fingerprint, ledger, request.retry_failed)


def _parent_params(request: Request) -> dict[str, str]:
    return flatten(request.shared) | {"question": request.sweep.question.strip().splitlines()[0]}


def _drawn_alone(source: Source, request: Request) -> Trial | None:
    """The trial that is drawn alone: a search over other options than the figures' axes must not be averaged."""
    return source.best() if isinstance(source, OptunaSource) and request.vary else None


def _train_and_analyse(
    request: Request,
    ledger: Ledger,
    source: Source,
    found: Survey,
    dataset: Dataset,
    follower: Follower,
) -> list[str]:
    """Runs what is missing, in one Ray session; returns what could not be analysed."""
    from sweeps.footprint import footprint

    settings = request.settings
    if isinstance(source, OptunaSource):
        source.look_ahead()  # what it suggests may all be trained already
    if not source.num_trials and not found.work and (request.stage is None or request.stage.is_done(ledger)):
        print_nothing_to_do(ledger, source)
        return []
    data_bytes = dataset.num_bytes
    if request.base.data.stream:
        ahead = prefetched_bytes(request.base.data.image_size, request.machine.cpus_per_worker)
        data_bytes += _side_by_side(request) * request.base.num_workers * ahead
    num_workers = request.base.num_workers
    with ray_session(request.machine, data_bytes, nested_train=num_workers > 1):
        nodes = cluster_nodes(request.machine)
        warn_of_absent_machines(request.machine, nodes)
        room = room_for(request, nodes)
        if source.num_trials:
            num_classes = len(dataset.train.fine_names)

            def cost(config: PretrainConfig) -> float:
                return footprint(config, num_classes).flops

            train(request, source, ledger, dataset, room, follower, num_workers, make_scheduler(request), cost)
            found = survey(ledger, ledger.known_trials(), settings, request.tasks_of)
        errors = analyse_with_progress(ledger, found.work, dataset, settings, request.machine.cpus_per_worker)
        if request.stage is not None and not request.stage.is_done(ledger):
            errors += request.stage.run(ledger, dataset)
    return errors + _describe_lost(source, found)


def _describe_lost(source: Source, found: Survey) -> list[str]:
    """One line for every trial that ended without a checkpoint that was damaged before."""
    return [
        f"{trial.name} ({trial.key}), epoch {', '.join(map(str, found.lost[trial.key]))}: the checkpoint is damaged "
        "or missing; the same command trains it again"
        for trial in source.trials
        if trial.key in found.lost
    ]


def _side_by_side(request: Request) -> int:
    """How many trials run at once on this machine; 1 where a cluster is joined. Raises UserError where none fits."""
    if cluster_to_join(request.machine) is not None:
        return 1
    return room_for(request, [local_node(request.machine)]).num_concurrent


def room_for(request: Request, nodes: list[dict[str, float]]) -> Capacity:
    """Returns how many trials fit. Raises UserError where none ever will."""
    return capacity(request.machine, request.base.num_workers, nodes)


def make_scheduler(request: Request) -> Any:
    """Returns the Tune scheduler asked for, or None."""
    if request.scheduler == "none":
        return None
    return make_asha(request.objective, request.base.training.epochs)
