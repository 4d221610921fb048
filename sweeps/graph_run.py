"""What the sweep over trainings on an exact graph does: graph and eigenvectors once, trainings as trials, figures."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis import publication, stored
from analysis.command import quiet, read_measurements
from analysis.graph.experiment import ALIGNMENT, LEAST_LOSS, SMALLEST, Study, graph_of
from analysis.graph.look import Look, look
from analysis.graph.options import ks_that_fit, sizes_that_fit, that_fit
from analysis.graph.recorded import (
    Settings,
    about,
    eigenvectors_key,
    graph_key,
    has_look,
    missing_sizes,
    missing_steps,
    training_key,
    training_of,
    write_graph,
)
from analysis.graph.ties import at_a_gap, spectrum_with_ties
from analysis.graph.trial import GraphData, train_on_graph
from analysis.graph.words import clusters, heads, say, say_ties
from analysis.settings import AnalysisSettings
from analysis.tracked import Tracking
from ray_ssl import interrupts
from ray_ssl.capacity import capacity, cluster_nodes, warn_of_absent_machines
from ray_ssl.cluster import cluster_to_join, local_node, ray_session
from ray_ssl.data.base import Dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.entry import seconds_since_start
from ray_ssl.errors import EXIT_DONE
from ray_ssl.follower import Follower
from ray_ssl.lease import Lease, refuse_beside_another
from ray_ssl.ledger import DONE, GraphTrial, Ledger, TrialState
from ray_ssl.mlflow_client import shown
from ray_ssl.naming import flatten, study_folder
from ray_ssl.progress import duration
from ray_ssl.search import GridSource
from ray_ssl.storage import Storage
from sweeps import report
from sweeps.data_card import DataCard
from sweeps.graph_cli import GraphRequest
from sweeps.room import DataSizes, check_images, load_once
from sweeps.session import Logged, print_nothing_to_do, train
from sweeps.wanted import reopen, runs, torn_configs


@dataclass(frozen=True)
class Plan:
    """What is to be done, on which graph.

    Attributes:
        seen: What the graph looks like.
        data: The images: those asked for, or fewer where there are not so many and no number was asked for.
        settings: What identifies the graph.
        sizes: Numbers of eigenvectors to compare, ascending.
        trials: All that are wanted.
    """

    study: Study
    seen: Look
    data: DataConfig
    settings: Settings
    sizes: list[int]
    trials: list[GraphTrial]

    @property
    def keys(self) -> list[str]:
        """Of the eigenvectors, by their number."""
        return [eigenvectors_key(self.settings, size) for size in self.sizes]


def run(request: GraphRequest) -> int:
    """Runs or resumes the sweep; returns the exit code.

    Raises:
        UserError: Bad input; nothing was started.
        KeyboardInterrupt: Stopped by the user; all is left so that the same command goes on.
    """
    quiet()
    print(f"{request.sweep.name}: {_first_line(request)}", flush=True)
    if request.demo:
        print("no --dataset given: a small demonstration on embedded images (see --help for real studies)", flush=True)
    if cluster_to_join(request.machine) is None:
        capacity(request.machine, 1, [local_node(request.machine)])  # else nothing is begun
    storage = Storage.at(request.storage)
    if not request.dry_run:
        storage.check_writable()  # before what takes minutes of a large graph
    plan = make_plan(request)
    for line in (*say(plan.study, plan.seen), *say_ties(plan.study, plan.sizes)):
        print(line, flush=True)
    shared = plan.settings | {"num_steps": request.num_steps}
    request = replace(request, name=request.name or study_folder(request.sweep.name, request.data, shared))
    ledger = Ledger(storage.child(request.name))
    if request.dry_run:
        from sweeps.graph_estimate import dry_run

        ledger.is_of(shared, difference)
        return dry_run(request, ledger, plan)
    refuse_beside_another(ledger.sweep)
    ledger.open(request.sweep.question.strip(), shared, difference)
    with interrupts.orderly(), Lease(ledger.sweep) as lease:
        code = _run_leased(request, storage, lease, plan, shared)
    if code == EXIT_DONE:
        print(f"took {duration(seconds_since_start())}", flush=True)
    return code


def difference(known: Settings, asked: Settings) -> str:
    """Returns how what trainings of a sweep share differs from what is asked for; see `Ledger.is_of`."""
    if "family" not in known:
        return "is not of an exact graph"
    was, now = _typed(known), _typed(asked)
    first = next(name for name in now if was[name] != now[name])
    return f"was made with {first} {was[first]}, now {now[first]}"


def _typed(shared: Settings) -> dict[str, str]:
    """Options and values as they are typed; the images by their hash."""
    family, left_out = shared["family"], {True: "left out", False: "given"}
    return {
        "images": f"of the hash {shared['data'][:12]}", "--steps": str(shared["num_steps"]),
        "--crops": " ".join(map(str, family["crop_sizes"])), "--shifts": str(family["num_shifts"]),
        "--resolution": str(family["resolution"]), "--levels": str(family["num_levels"]),
        "--no-flip": left_out[family["flip"]], "--no-stretch": left_out[family["stretch"]],
        "--colour": left_out[not family["colour"]],
    }  # fmt: skip


def make_plan(request: GraphRequest) -> Plan:
    """Builds the graph and computes its spectrum: seconds of 100,000 nodes, so every command does it anew.

    Raises:
        UserError: Images that do not fit into memory or allow no such graph, more features than it has eigenvectors.
    """
    data, dataset = that_fit(request.data, request.given, _load)
    found, settings = graph_of(dataset, request.family), about(dataset, request.family)
    ks = ks_that_fit(request.ks, found.graph.num_nodes)
    sizes = sizes_that_fit(ks, request.sizes, found.graph.num_nodes)
    study = Study(dataset, found, spectrum_with_ties(found.graph, ks, sizes[-1] + 1))
    if not request.ks and (gap := at_a_gap(found.graph, study.spectrum, *ks)) != ks[0]:
        print(f"k         --k not given: {gap}, for eigenvalues {ks[0]} and {ks[0] + 1} are equal", flush=True)
        ks, sizes = [gap], sizes_that_fit([gap], request.sizes, found.graph.num_nodes)
    trials = [GraphTrial(training_key(settings, training_of(config)), config) for config in request.configs(ks, data)]
    return Plan(study, look(study), data, settings, sizes, trials)


def _load(config: DataConfig) -> Dataset:
    check_images(DataSizes.foretold(config, AnalysisSettings(), needs_labels=False), config)
    return load_once(config, needs_labels=False)


def _run_leased(request: GraphRequest, storage: Storage, lease: Lease, plan: Plan, shared: Settings) -> int:
    ledger = Ledger(lease.storage)
    DataCard.of(plan.study.dataset).keep(ledger.sweep, plan.data)
    for trial in torn_configs(ledger, plan.trials):
        ledger.write_config(trial)
    lost = lost_rows(ledger, plan.trials, remember=True)
    report.print_counts(ledger, source_of(request, ledger, plan.trials), lost)
    report.print_torn(request, ledger, plan.trials)
    reopen(request, ledger, plan.trials, lost)
    source = source_of(request, ledger, plan.trials)
    tracking = Tracking.named(storage, ledger, request.tracking_uri, request.experiment)
    tracking.remember(ledger)
    ledger.remember_command(shown(request.command), str(Path.cwd()))
    params = flatten(shared) | {"dataset": plan.study.dataset.name, "question": _first_line(request)}
    num_rows, errors = None, []
    known = has_look(ledger.sweep, plan.settings) and not missing_sizes(ledger.sweep, plan.sizes, plan.settings)
    if known and not source.num_trials:
        num_rows = publication.published_rows(ledger, publication.drawn_from(ledger.sweep, None), tracking, params)
    if num_rows is None:
        logged = Logged(ledger, tracking.connect(may_send=lease.is_held), tracking, params)
        num_rows, errors = logged.run(source, lambda follower: _work(request, ledger, plan, source, follower))
    else:
        _print_heads(ledger, plan)
        print_nothing_to_do(ledger, source)
    _print_ends(ledger, plan.trials)
    report.print_places(ledger, tracking, num_rows, _next_steps(request, ledger.sweep.uri))
    return report.print_failures(request, ledger, plan.trials, errors)


def lost_rows(ledger: Ledger, trials: Sequence[GraphTrial], remember: bool = False) -> list[str]:
    """Returns the keys of finished trials that the table lacks rows of: they train again, to the same numbers.

    Args:
        remember: See `stored.present`.
    """
    present = stored.present(ledger.sweep, remember=remember)
    done = [trial for trial in trials if ledger.state(trial.key) is TrialState.DONE]
    return [trial.key for trial in done if missing_steps(present, trial.key, trial.config.num_epochs)]


def source_of(request: GraphRequest, ledger: Ledger, trials: list[GraphTrial]) -> GridSource[GraphTrial]:
    """Returns what is still to be run; failed trials only where they are to be retried."""
    return GridSource(trials, [trial for trial in trials if runs(ledger.state(trial.key), request)])


def _work(
    request: GraphRequest, ledger: Ledger, plan: Plan, source: GridSource[GraphTrial], follower: Follower
) -> list[str]:
    """Measures the eigenvectors and runs the trials that are missing; returns nothing: trials say how they ended."""
    write_graph(ledger.sweep, plan.study, plan.seen, plan.sizes, plan.settings)
    _print_heads(ledger, plan)
    if not source.num_trials:
        print_nothing_to_do(ledger, source)
        return []
    data = GraphData(plan.study, plan.settings)
    with ray_session(request.machine, _num_bytes(plan.study), nested_train=False):
        nodes = cluster_nodes(request.machine)
        warn_of_absent_machines(request.machine, nodes)
        room = capacity(request.machine, 1, nodes)
        train(request, source, ledger, data, room, follower, loop=train_on_graph)
    return []


def _num_bytes(study: Study) -> int:
    """What the graph, its eigenvectors and the images take in the object store."""
    matrix: Any = study.graph.probabilities
    return study.dataset.num_bytes + study.spectrum.vectors.nbytes + 3 * (matrix.data.nbytes + matrix.indices.nbytes)


def _print_heads(ledger: Ledger, plan: Plan) -> None:
    found = read_measurements(ledger.sweep)
    for line in (*clusters(found, graph_key(plan.settings)), *heads(found, plan.keys)):
        print(line, flush=True)


def _print_ends(ledger: Ledger, trials: Sequence[GraphTrial]) -> None:
    """One line for each finished training: how close it came."""
    for trial in trials:
        record = ledger.record(trial.key, DONE)
        if record is not None:
            last = record["history"][-1]
            numbers = ", ".join(f"{name} {last[name]:.4f}" for name in (ALIGNMENT, SMALLEST, "loss", LEAST_LOSS))
            print(f"{trial.name}: {numbers}", flush=True)


def _next_steps(request: GraphRequest, where: str) -> list[str]:
    claims = f"python -m analysis claims {shlex.quote(where)}"
    if request.demo:
        return [claims, f"python sweeps/{request.sweep.name}.py {request.sweep.example}"]
    few = len(set(request.seeds)) == 1
    return [claims, *(["the same line with --seeds 0 1 2: how much of it is chance"] if few else [])]


def _first_line(request: GraphRequest) -> str:
    return request.sweep.question.strip().splitlines()[0]
