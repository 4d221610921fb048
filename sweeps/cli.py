"""The command of every sweep: reads the flags, makes the trials, runs what is missing, prints what came of it."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

from ray_ssl.entry import run_command
from ray_ssl.errors import UserError
from ray_ssl.naming import study_folder
from sweeps.run_options import RunOptions, check_cpus, program, run_options

# Everything else is imported where it is used: it takes seconds, and Ctrl-C is ours from the first moment.
if TYPE_CHECKING:
    from analysis.settings import AnalysisSettings
    from ray_ssl.config import PretrainConfig
    from ray_ssl.data import Dataset
    from ray_ssl.flags import Parser
    from ray_ssl.ledger import Ledger, Trial
    from sweeps.options import Grid, Values


_MAX_TRIALS = 10**6


@dataclass(frozen=True)
class Axis:
    """An option that a sweep varies.

    Attributes:
        flag: Name of its flag, a plural, without dashes.
        path: Dotted path of the option.
        values: Default values.
        help: For `--help`.
    """

    flag: str
    path: str
    values: tuple[Any, ...]
    help: str


@dataclass(frozen=True)
class Extension:
    """What a sweep does besides training its grid and measuring it.

    Attributes:
        add_flags: Adds its flags.
        shared: From the values of all flags and the grid's first configuration, what identifies the study too.
        run: Takes the place of `sweeps.run.run`.
        methods: What it trains besides the methods of the grid.
        sets: Dotted paths of the options that it sets itself; their flags are refused.
    """

    add_flags: Callable[[Parser], None]
    shared: Callable[[dict[str, Any], PretrainConfig], dict[str, Any]]
    run: Callable[[Request], int]
    methods: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()


class Stage(Protocol):
    """Measures something of a sweep's trials besides what `tasks_of` says; it writes what it finds into the table."""

    def is_done(self, ledger: Ledger) -> bool:
        """Returns whether nothing is left to measure."""
        ...

    def run(self, ledger: Ledger, dataset: Dataset) -> list[str]:
        """Measures what is left, inside a Ray session; returns one line for each trial that could not be measured."""
        ...


@dataclass(frozen=True)
class Sweep:
    """A question and its grid.

    Attributes:
        name: Of the sweep.
        question: What it asks; the first line stands in the results.
        axes: What is varied.
        demo: Options by dotted path (tuples on axes) that make the run without `--dataset` fit a laptop; those of one
            method alone by PATH@METHOD.
        study: The same for runs with `--dataset`.
        example: Flags of a real study; what runs on a cluster with GPUs where no --dataset is given.
        extension: What it does besides.
    """

    name: str
    question: str
    axes: tuple[Axis, ...]
    demo: Values = field(default_factory=dict)
    study: Values = field(default_factory=dict)
    example: str = "--dataset cifar100"
    extension: Extension | None = None


@dataclass(frozen=True, kw_only=True)
class Request(RunOptions):
    """All that the user asked for.

    Attributes:
        base: The grid's first configuration.
        grid: All of them.
        shared: The options all trials share; identifies the study.
        given: Values of all flags.
        reference_tasks: What supervised networks on the classes are measured on; None: the same as the others.
        on_target_tasks: What supervised networks on other labels are measured on; None: the same as the others.
        stage: What is measured besides; None: nothing.
        unmade: Of a dry run, the options `start` that stand for those that are not made yet: keys of their trials are
            not known.
        is_part: It prepares another sweep of the same command, and its results are not announced.
    """

    sweep: Sweep
    base: PretrainConfig
    grid: Grid
    shared: dict[str, Any]
    num_trials: int
    vary: dict[str, tuple[float, float]]
    objective: str
    demo: bool
    settings: AnalysisSettings
    metrics: list[str] | None
    levels: list[str] | None
    given: dict[str, Any] = field(default_factory=dict)
    reference_tasks: tuple[str, ...] | None = None
    on_target_tasks: tuple[str, ...] | None = None
    stage: Stage | None = None
    unmade: tuple[str, ...] = ()
    is_part: bool = False

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """What is measured of every checkpoint; finding out imports the metrics.

        Raises:
            UserError: A metric that has none of the levels.
        """
        from analysis.tasks import find_tasks, groups_of_data

        return find_tasks(self.metrics, self.levels, groups_of_data(self.base.data.shift))

    @property
    def every_task(self) -> tuple[str, ...]:
        """What is measured of any trial's checkpoints."""
        return tuple(dict.fromkeys((*self.tasks, *(self.reference_tasks or ()), *(self.on_target_tasks or ()))))

    def tasks_of(self, trial: Trial) -> tuple[str, ...]:
        """What is measured of a trial's checkpoints."""
        if trial.config.method.name != "supervised":
            return self.tasks
        own = self.reference_tasks if trial.config.trained_on == "class" else self.on_target_tasks
        return self.tasks if own is None else own


def main(sweep: Sweep, arguments: Sequence[str] | None = None) -> int:
    """Runs a sweep's command; returns its exit code (see `ray_ssl.errors`).

    Args:
        sweep: What the command is about.
        arguments: The flags; None: those of this process, whose Ctrl-C and SIGTERM are then handled here.
    """
    return run_command(partial(_answer, sweep), program(), arguments)


def _answer(sweep: Sweep, arguments: list[str]) -> int:
    request = parse(sweep, arguments)
    if sweep.extension is not None:
        return sweep.extension.run(request)
    from sweeps.run import run

    return run(request)


def parse(sweep: Sweep, arguments: Sequence[str] | None = None) -> Request:
    """Returns what the flags ask for.

    Raises:
        UserError: Options that contradict each other or are out of range.
        SystemExit: A flag that does not exist or cannot be read (code 2), or --help (code 0).
    """
    from analysis.settings import read_settings
    from sweeps.options import Grid
    from sweeps.ranges import ranges

    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser, flags = _parser(sweep)
    given = vars(parser.parse_strictly(typed))
    if "data.dataset" not in given and _has_gpus(sweep, given["address"]):
        typed = [*shlex.split(sweep.example), *typed]
        given = vars(parser.parse_strictly(typed))
    for path in () if sweep.extension is None else sweep.extension.sets:
        if path in given:
            raise UserError(f"sweeps/{sweep.name}.py sets {flags[path]} itself: leave it out")
    demo = "data.dataset" not in given
    preset = sweep.demo if demo else sweep.study
    axes = {axis.path: tuple(given.get(axis.path) or preset.get(axis.path) or axis.values) for axis in sweep.axes}
    grid = Grid(
        given={path: given[path] for path in flags if path in given},
        preset={path: value for path, value in preset.items() if path not in axes},
        axes=axes,
        flags=flags | {axis.path: f"--{axis.flag}" for axis in sweep.axes},
        more_methods=sweep.extension.methods if sweep.extension is not None else (),
    )
    grid.check()
    _check_run_flags(given)
    check_cpus(given)
    settings = read_settings(Namespace(**given))
    vary = ranges(given["vary"] or [], grid)
    grid.refuse_without_effect({path: high for path, (_, high) in vary.items()})
    base, shared = grid.config({}), grid.shared()
    if sweep.extension is not None:
        shared |= sweep.extension.shared(given, base)
    return Request(
        sweep=sweep, base=base, grid=grid, shared=shared, demo=demo,
        **run_options(sweep.name, given["name"] or folder_name(sweep.name, base, shared), given, typed),
        search=given["search"], num_trials=given["num_trials"] or 0, vary=vary,
        scheduler=given["scheduler"], objective=given["objective"], settings=settings,
        metrics=given["metrics"], levels=given["levels"], given=given,
    )  # fmt: skip


def _has_gpus(sweep: Sweep, address: str) -> bool:
    """Returns whether the cluster that will be joined has GPUs; says what that means for a command without data."""
    from ray_ssl.capacity import cluster_gpus
    from ray_ssl.cluster import MachineOptions

    num_gpus = cluster_gpus(MachineOptions(address))
    if num_gpus:
        print(f"no --dataset given, and the cluster has {num_gpus:g} GPU(s): the study {sweep.example}", flush=True)
    return num_gpus > 0


def _parser(sweep: Sweep) -> tuple[Parser, dict[str, str]]:
    """Returns the parser of a sweep's command, and the flags of the configuration's options by dotted path."""
    from ray_ssl.config import PretrainConfig
    from ray_ssl.flags import Parser
    from sweeps.flags import add_config_flags
    from sweeps.run_flags import add_run_flags

    parser = Parser(
        prog=f"sweeps/{sweep.name}.py",
        usage=f"python sweeps/{sweep.name}.py [options]",
        description=sweep.question.strip().replace("%", "%%"),
        epilog="Without --dataset a small demonstration runs on embedded images, on a Ray cluster with GPUs the study "
        f"{sweep.example}. The same line again resumes. "
        "Exit codes: 0 done, 1 some trials failed, 2 bad input, 75 interrupted.",
    )
    _add_axis_flags(parser, sweep)
    if sweep.extension is not None:
        sweep.extension.add_flags(parser)
    add_run_flags(parser, sweep.name)
    swept = {axis.path for axis in sweep.axes}
    flags = add_config_flags(parser, PretrainConfig(), swept, sweep.demo, sweep.study)
    if sweep.extension is not None:
        parser.hide({flags[path] for path in sweep.extension.sets})
    return parser, flags


def folder_name(sweep: str, base: PretrainConfig, shared: dict[str, Any]) -> str:
    """Returns the name of a sweep's folder, made from the sweep, the data and the options that all trials share."""
    return study_folder(sweep, base.data, shared)


def _add_axis_flags(parser: Parser, sweep: Sweep) -> None:
    from ray_ssl.plugins import plugin_names
    from sweeps.options import PLUGIN_PARTS

    group = parser.add_argument_group("sweep", "One trial for every combination.")
    for axis in sweep.axes:
        small = f"; without --dataset: {_words(sweep.demo[axis.path])}" if axis.path in sweep.demo else ""
        part, _, leaf = axis.path.partition(".")
        names = plugin_names(PLUGIN_PARTS[part]) if part in PLUGIN_PARTS and leaf == "name" else None
        group.add_argument(
            f"--{axis.flag}", dest=axis.path, nargs="+", type=type(axis.values[0]), choices=names,
            metavar="NAME" if names else "N",
            help=f"{axis.help} (default: {_words(axis.values)}{small})",
        )  # fmt: skip


def _words(values: Sequence[Any]) -> str:
    return " ".join(str(v) for v in values)


def _check_run_flags(given: dict[str, Any]) -> None:
    """Raises UserError for options of a search without one, a search without its number, and no CPUs."""
    if given["search"] == "grid" and (given["vary"] or given["num_trials"]):
        raise UserError("--vary and --num-trials belong to --search optuna")
    if given["search"] == "optuna" and not 1 <= (given["num_trials"] or 0) <= _MAX_TRIALS:
        raise UserError(f"--search optuna needs --num-trials N, 1 to {_MAX_TRIALS}, given {given['num_trials']}")
    seeds = given.get("seed", [])
    if given["search"] == "optuna" and isinstance(seeds, list) and len(seeds) > 1:
        raise UserError(f"--search optuna trains every suggestion with one seed, given {len(seeds)}: {_words(seeds)}")
