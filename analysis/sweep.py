"""`python -m analysis SWEEP_FOLDER`: measures what is not measured yet, and draws and logs it.

`python -m analysis encoder SOURCE` measures a network that was trained elsewhere (see `--help` of that).
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from analysis import encoder
from analysis.blocks import check_by_block
from analysis.command import (
    FIGURES,
    REPORT,
    analyse_with_progress,
    finish,
    send_the_rest,
)
from analysis.connectivity.compared import estimated_groups, unfinished, with_estimates
from analysis.flags import MEASURE_AGAIN, add_measure_flags, refuse_other_numbers
from analysis.measurable import check_layers, measurable, not_measured
from analysis.pipeline import MEASUREMENTS
from analysis.settings import AnalysisSettings, read_settings, with_targets
from analysis.survey import missing_work
from analysis.tasks import TARGETS, find_tasks, groups_of_data, metric_and_group
from analysis.tracked import Tracking
from ray_ssl import interrupts
from ray_ssl.checkpoints import saved_epochs
from ray_ssl.cluster import MachineOptions, ray_session
from ray_ssl.config import replace, trial_key
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.data.decode import TooManyError
from ray_ssl.errors import EXIT_DONE, EXIT_SOME_FAILED, UserError, did_you_mean, print_error
from ray_ssl.flags import Parser, add_address_flag
from ray_ssl.follower import Follower
from ray_ssl.ledger import Ledger, Trial, TrialState, no_sweep
from ray_ssl.storage import Storage
from ray_ssl.targets import Targets, attach_targets, read_targets, whole_targets, write_targets
from ray_ssl.tracking import Tracker


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses `python -m analysis SWEEP_FOLDER`."""
    parser = Parser(prog="python -m analysis", description=__doc__)
    parser.add_argument("sweep", metavar="SWEEP_FOLDER", help="folder of a sweep: a path, s3://... or gs://...")
    add_measure_flags(parser)
    parser.add_argument(
        "--dataset",
        metavar="TEXT",
        help="where the images are now, if they moved, e.g. parquet:PATH (default: as trained)",
    )
    parser.add_argument(
        "--targets",
        metavar="FOLDER",
        help="copy the targets of graded randomness from this sweep over the same images, for --levels targets",
    )
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", help="measure trials of these methods alone, e.g. vicreg (default: all)"
    )
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow server (default: the sweep's)")
    add_address_flag(parser)
    parser.add_argument(
        "--cpus-per-worker", type=int, default=1, metavar="N", help="CPUs and threads of each actor (default: 1)"
    )
    parser.add_argument(
        "--images-per-block", type=int, default=0, metavar="N",
        help="share the images of each checkpoint among the actors, each of which holds the features of N at a time, "
        "a multiple of 256; for sets whose features (4 bytes x images x features of all layers) outgrow one; only for "
        "metrics that are functions of sums over images (default: 0: all images of a checkpoint at once, any metric)",
    )  # fmt: skip
    return parser.parse_strictly(arguments)


def run(flags: argparse.Namespace) -> int:
    """Analyses one sweep.

    Raises:
        UserError: No sweep or checkpoint there, unknown metric, data that is not the sweep's, or that does not allow
            any of what is asked for.
    """
    settings = read_settings(flags)
    if flags.cpus_per_worker < 1:
        raise UserError("--cpus-per-worker is at least 1")
    machine = MachineOptions(address=flags.address, cpus_per_worker=flags.cpus_per_worker)
    ledger = Ledger(Storage.at(flags.sweep))
    trials = ledger.known_trials()
    if not trials and encoder.is_folder_of_encoders(ledger.sweep):
        return encoder.show(ledger.sweep)
    if not trials and ledger.all_trials() and not (flags.metrics or flags.levels or flags.methods or flags.targets):
        return _draw_graph(ledger, Tracking.recalled(ledger, flags.tracking_uri), flags.tracking_uri is None)
    if not trials:
        raise no_sweep(ledger.sweep, flags.sweep)
    default_groups = (*groups_of_data(trials[0].config.data.shift), *estimated_groups(ledger.sweep))
    tasks = find_tasks(flags.metrics, flags.levels, default_groups)
    check_by_block(tasks, flags.images_per_block)
    tracking = Tracking.recalled(ledger, flags.tracking_uri)
    targets = _targets(ledger, trials[0], flags.targets)
    groups = {metric_and_group(task)[1] for task in tasks}
    settings = with_targets(settings, targets, tasks if groups == {TARGETS} else ())
    settings = with_estimates(settings, ledger.sweep, tasks)
    for line in unfinished(ledger.sweep, tasks, {trial.config.seed for trial in trials}):
        print(f"note: {line}", flush=True)
    check_layers((trial.config for trial in trials), settings, tasks)
    measured = _of_methods(trials, flags.methods)
    _refuse_mixture(ledger.sweep, settings, tasks, None if flags.methods is None else measured)
    work, dataset, errors = missing_work(ledger, measured, settings, tasks), None, []
    if work:
        dataset = attach_targets(sweep_dataset(trials, flags.dataset), targets)
        tasks, errors = measurable(dataset, settings, tasks)
        if lacking := not_measured(dataset, tasks):
            print(f"note: {lacking}", flush=True)
        work = missing_work(ledger, measured, settings, tasks)
    elif not any(saved_epochs(ledger.trial(trial.key)) for trial in trials):
        raise _no_checkpoint(ledger, trials)
    if work:
        ledger.sweep.check_writable()
    tracker = _connect(ledger, tracking, remember=flags.tracking_uri is None)
    with interrupts.orderly(), tempfile.TemporaryDirectory(prefix="ray_ssl_") as scratch:
        if work and dataset is not None:
            with ray_session(machine, dataset.num_bytes, nested_train=False):
                errors += analyse_with_progress(
                    ledger, work, dataset, settings, flags.cpus_per_worker, flags.images_per_block
                )
        else:
            print("nothing to measure: every checkpoint has these metrics")
        num_rows = finish(ledger, tracker, Path(scratch))
        send_the_rest(tracker, tracking)
    _print_places(ledger, tracking, num_rows)
    for error in errors:
        print_error(f"not analysed: {error}")
    return EXIT_SOME_FAILED if errors else EXIT_DONE


def _refuse_mixture(
    sweep: Storage, settings: AnalysisSettings, tasks: Sequence[str], some: Sequence[Trial] | None
) -> None:
    """Raises UserError where the table would mix numbers of other settings; `some`: trials that alone are measured."""
    if some is None:
        refuse_other_numbers(sweep, settings, tasks)
    else:
        way = f"leave out --methods and give {MEASURE_AGAIN}"
        refuse_other_numbers(sweep, settings, tasks, {trial.key for trial in some}, way)


def _connect(ledger: Ledger, tracking: Tracking, remember: bool) -> Tracker:
    """Returns a tracker that knows what the ledger does; remembers where the sweep is logged from now on."""
    tracker = tracking.connect(owner=False)
    if remember:
        tracking.remember(ledger)
    Follower(tracker, ledger).catch_up()
    return tracker


def _draw_graph(ledger: Ledger, tracking: Tracking, remember: bool) -> int:
    """Draws and logs what a sweep over trainings on an exact graph measured; they are measured while they run."""
    tracker = _connect(ledger, tracking, remember)
    print("nothing to measure: trainings on an exact graph are measured while they run")
    with interrupts.orderly(), tempfile.TemporaryDirectory(prefix="ray_ssl_") as scratch:
        num_rows = finish(ledger, tracker, Path(scratch))
        send_the_rest(tracker, tracking)
    _print_places(ledger, tracking, num_rows)
    return EXIT_DONE


def _print_places(ledger: Ledger, tracking: Tracking, num_rows: int) -> None:
    sweep = ledger.sweep
    print(f"table     {sweep.address(MEASUREMENTS)} ({num_rows} measurements)\nfigures   {sweep.address(FIGURES)}")
    print(f"report    {sweep.address(REPORT)}")
    print(f"next:\n  {tracking.ui_command}\n  python -m analysis claims {shlex.quote(sweep.uri)}")


def _no_checkpoint(ledger: Ledger, trials: Sequence[Trial]) -> UserError:
    ended = sum(ledger.state(trial.key) is TrialState.DONE for trial in trials)
    why = f"none of its {len(trials)} trial(s) has begun"
    if ended:
        why = (f"{ended} of its {len(trials)} trial(s) ended, so they were deleted or moved; put them back, or let the "
               "command of the sweep train again")  # fmt: skip
    return UserError(f"{ledger.sweep.uri} has no checkpoint: {why}")


def _of_methods(trials: list[Trial], methods: Sequence[str] | None) -> list[Trial]:
    """Raises UserError for a method that no trial has."""
    known = sorted({trial.config.method.name for trial in trials})
    for name in methods or []:
        if name not in known:
            hint = did_you_mean(name, known)  # names those that there are where none is close
            raise UserError(f"--methods: no trial of {name!r}{hint}")
    return [trial for trial in trials if methods is None or trial.config.method.name in methods]


def _targets(ledger: Ledger, trial: Trial, source: str | None) -> Targets | None:
    """The sweep's targets, those of another sweep where they are to be copied.

    Raises:
        UserError: There are none to be copied, they are torn or of other images, or this sweep has others.
    """
    if source is None:
        return whole_targets(ledger.sweep)
    own = read_targets(ledger.sweep)  # torn ones are replaced
    targets = whole_targets(Storage.at(source))
    if targets is None:
        raise UserError(
            f"{source!r} has no targets of graded randomness to copy: give a folder of sweeps/randomness.py"
        )
    if trial_key(trial.config, targets.data_fingerprint) != trial.key:
        raise UserError(f"the targets in {source!r} are labels of other images than those of {ledger.sweep.uri}")
    if own is not None and own.hash != targets.hash:
        raise UserError(f"{ledger.sweep.uri} has other targets already: leave out --targets")
    if own is None:
        write_targets(ledger.sweep, targets)
    return targets


def sweep_dataset(trials: Sequence[Trial], moved_to: str | None) -> Dataset:
    """Returns the sweep's data.

    Raises:
        UserError: Its content is not what the trials were trained on: their keys would differ.
    """
    config = trials[0].config
    if moved_to is not None:
        try:
            config = replace(config, {"data.dataset": moved_to})
        except UserError as error:
            raise UserError(str(error).replace("data.dataset", "--dataset", 1)) from None
    others = UserError(f"{config.data.dataset!r} does not hold the images that trial {trials[0].key} was trained on")
    try:
        dataset = load_dataset(config.data)
    except TooManyError as error:
        raise (error if moved_to is None else others) from None
    if trial_key(trials[0].config, dataset.fingerprint) != trials[0].key:
        raise others
    return dataset
