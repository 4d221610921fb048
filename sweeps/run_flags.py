"""Flags that every sweep has besides its grid and its options: results, run, machine."""

from __future__ import annotations

import argparse

from analysis.settings import IMAGE_NUMBERS, add_numbers, add_task_flags
from ray_ssl.flags import add_address_flag, add_storage_flag


def add_run_flags(parser: argparse.ArgumentParser, sweep: str) -> None:
    """Adds those of a sweep that trains networks; `sweep` is its name."""
    add_result_flags(parser, sweep)
    _add_search_flags(add_how_flags(parser))
    analysis = parser.add_argument_group("analysis", "What is measured of every checkpoint.")
    add_task_flags(analysis)
    add_numbers(analysis, {"num_train_images": IMAGE_NUMBERS["num_train_images"]})  # of test images the data has one
    add_gpu_flag(add_machine_flags(parser))


def add_result_flags(parser: argparse.ArgumentParser, sweep: str) -> None:
    """Adds where results go."""
    storage = parser.add_argument_group("results")
    add_storage_flag(storage)
    storage.add_argument(
        "--name",
        metavar="NAME",
        help="folder of this sweep in it (default: made from the sweep, the data and the options)",
    )
    storage.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow server, e.g. http://HOST:5000 (default: an SQLite file in the storage folder)",
    )
    storage.add_argument("--experiment", metavar="NAME", help=f"MLflow experiment (default: {sweep})")


def add_how_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Adds how the trials are run; returns the group."""
    how = parser.add_argument_group("run")
    how.add_argument(
        "--dry-run",
        action="store_true",
        help="list the trials, what is done, disk and time (after a short calibration); train nothing",
    )
    how.add_argument("--retry-failed", action="store_true", help="run failed trials again, from their newest state")
    return how


def _add_search_flags(how: argparse._ArgumentGroup) -> None:
    how.add_argument(
        "--search",
        choices=("grid", "optuna"),
        default="grid",
        metavar="NAME",
        help="grid: every combination; optuna: --num-trials suggestions of its TPE sampler, each axis "
        "but the seeds a choice among its values (default: grid)",
    )
    how.add_argument("--num-trials", type=int, metavar="N", help="suggestions of --search optuna, over all runs")
    how.add_argument(
        "--vary",
        action="append",
        metavar="OPTION=LOW:HIGH",
        help="let --search optuna vary a number too, e.g. learning-rate=0.01:0.3 (whole numbers where the option "
        "takes no others, log scale where HIGH/LOW >= 10); may be repeated",
    )
    how.add_argument(
        "--objective",
        choices=("knn_accuracy", "embedding_rank"),
        default="knn_accuracy",
        metavar="NAME",
        help="what --search optuna and --scheduler asha maximise: knn_accuracy or embedding_rank "
        "(default: knn_accuracy)",
    )
    how.add_argument(
        "--scheduler",
        choices=("none", "asha"),
        default="none",
        metavar="NAME",
        help="asha: stop weak trials early; in a grid, the same line without it trains them to their last epoch "
        "(default: none)",
    )


def add_machine_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Adds on which machine; returns the group."""
    machine = parser.add_argument_group("machine", "Changes no numbers.")
    add_address_flag(machine)
    machine.add_argument(
        "--num-cpus",
        type=int,
        metavar="N",
        help="CPUs of this machine to use where no cluster is joined (default: all)",
    )
    machine.add_argument(
        "--cpus-per-worker",
        type=int,
        default=1,
        metavar="N",
        help="CPUs and threads of each worker; sums are rounded otherwise with another number of "
        "threads, so keep it for a bit-identical resume (default: 1)",
    )
    machine.add_argument(
        "--state-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds between two saves of the training state, also within an epoch; sooner after an epoch where that "
        "takes no more than 1%% of the time, and with every checkpoint; 0: after every epoch (default: 60)",
    )
    return machine


def add_gpu_flag(machine: argparse._ArgumentGroup) -> None:
    """Adds the one of trials that can use a GPU."""
    machine.add_argument(
        "--gpus-per-worker",
        type=float,
        metavar="X",
        help="GPUs of each worker (default: 1 where the cluster has any, else 0)",
    )
