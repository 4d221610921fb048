"""The command of every sweep: reads the flags, makes the trials, runs what is missing, prints what came of it."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ray_ssl.config import PretrainConfig, replace
from ray_ssl.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, UserError
from ray_ssl.launch import MachineOptions
from ray_ssl.plugins import plugin_module
from sweeps.flags import Parser, add_config_flags, print_error


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
class Sweep:
    """A question and its grid.

    Attributes:
        name: Of the sweep.
        question: What it asks; the first line stands in the results.
        axes: What is varied.
        demo: Options by dotted path (tuples on axes) that make the run without `--dataset` fit a laptop.
    """

    name: str
    question: str
    axes: tuple[Axis, ...]
    demo: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """All that the user asked for.

    Attributes:
        base: The configuration all trials share, axes at their first value.
        grid: Values by dotted path of each axis.
        shared: `base` without the axes, as plain values; identifies the study.
        command: The line that was typed.
    """

    sweep: Sweep
    base: PretrainConfig
    grid: dict[str, tuple[Any, ...]]
    shared: dict[str, Any]
    machine: MachineOptions
    storage: str
    name: str
    tracking_uri: str | None
    experiment: str
    search: str
    num_trials: int
    vary: dict[str, tuple[float, float]]
    scheduler: str
    objective: str
    retry_failed: bool
    dry_run: bool
    demo: bool
    command: str

    def configs(self) -> list[PretrainConfig]:
        """Returns the grid's configurations, the first axis varying slowest."""
        points = itertools.product(*self.grid.values())
        return [replace(self.base, dict(zip(self.grid, point, strict=True))) for point in points]


def main(sweep: Sweep, arguments: Sequence[str] | None = None) -> int:
    """Runs a sweep's command; returns its exit code (see `ray_ssl.errors`)."""
    signal.signal(signal.SIGTERM, _interrupt)
    command = ""
    try:
        request = parse(sweep, arguments)
        command = request.command
        from sweeps.run import run

        return run(request)
    except UserError as error:
        print_error(error)
        return EXIT_BAD_INPUT
    except OSError as error:
        from ray_ssl.storage import describe_os_error

        print_error(describe_os_error(error))
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"\ninterrupted; nothing that was finished is lost. To go on:\n  {command}", file=sys.stderr, flush=True)
        return EXIT_INTERRUPTED


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def parse(sweep: Sweep, arguments: Sequence[str] | None = None) -> Request:
    """Returns what the flags ask for.

    Raises:
        UserError: Options that contradict each other or are out of range.
        SystemExit: A flag that does not exist or cannot be read (code 2), or --help (code 0).
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = Parser(
        prog=f"sweeps/{sweep.name}.py",
        usage=f"python sweeps/{sweep.name}.py [options]",
        description=sweep.question.strip().replace("%", "%%"),
        epilog="Without --dataset a small demonstration runs on embedded images. The same line again resumes. "
        "Exit codes: 0 done, 1 some trials failed, 2 bad input, 75 interrupted.",
    )
    _add_axis_flags(parser, sweep)
    _add_run_flags(parser, sweep)
    flags = add_config_flags(parser, PretrainConfig(), {axis.path for axis in sweep.axes})
    given = vars(parser.parse_strictly(typed))
    demo = "data.dataset" not in given
    preset = _fitting(sweep.demo, given.get("method.name")) if demo else {}
    options = {path: value for path, value in preset.items() if not isinstance(value, tuple)}
    options |= {path: given[path] for path in flags if path in given}
    grid = {axis.path: tuple(given.get(axis.path) or preset.get(axis.path) or axis.values) for axis in sweep.axes}
    axes = {axis.path: f"--{axis.flag}" for axis in sweep.axes}
    base = _base_config(options, {path: values[0] for path, values in grid.items()}, flags | axes)
    for path, values in grid.items():
        for value in values:
            try:
                replace(base, {path: value})  # refused here before anything starts
            except UserError as error:
                raise UserError(_with_flag(str(error), axes)) from None
    shared = _without(base.to_dict(), grid)
    digest = hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:6]
    source = base.data.source if base.data.path == "" else os.path.basename(base.data.path.rstrip("/")) or "data"
    return Request(
        sweep=sweep, base=base, grid=grid, shared=shared, demo=demo,
        machine=MachineOptions(
            address=given["address"], num_cpus=given["num_cpus"], cpus_per_worker=given["cpus_per_worker"],
            gpus_per_worker=given["gpus_per_worker"], state_seconds=given["state_seconds"],
        ),
        storage=given["storage"], name=given["name"] or f"{sweep.name}-{source}-{digest}",
        tracking_uri=given["tracking_uri"], experiment=given["experiment"] or sweep.name,
        search=given["search"], num_trials=given["num_trials"] or 0, vary=_ranges(given["vary"] or [], flags, given),
        scheduler=given["scheduler"], objective=given["objective"],
        retry_failed=given["retry_failed"], dry_run=given["dry_run"],
        command=shlex.join([*_interpreter(), sys.argv[0], *typed]),
    )  # fmt: skip


def _interpreter() -> list[str]:
    return ["python"] if sys.argv[0].endswith(".py") else []


def _add_axis_flags(parser: Parser, sweep: Sweep) -> None:
    group = parser.add_argument_group("sweep", "One trial for every combination.")
    for axis in sweep.axes:
        small = f"; without --dataset: {_words(sweep.demo[axis.path])}" if axis.path in sweep.demo else ""
        group.add_argument(
            f"--{axis.flag}", dest=axis.path, nargs="+", type=type(axis.values[0]), metavar="N",
            help=f"{axis.help} (default: {_words(axis.values)}{small})",
        )  # fmt: skip


def _words(values: Sequence[Any]) -> str:
    return " ".join(str(v) for v in values)


def _add_run_flags(parser: Parser, sweep: Sweep) -> None:
    storage = parser.add_argument_group("results")
    storage.add_argument(
        "--storage",
        default="results",
        metavar="URI",
        help="folder of all results: a local path, s3://... or gs://... (default: results)",
    )
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
    storage.add_argument("--experiment", metavar="NAME", help=f"MLflow experiment (default: {sweep.name})")
    how = parser.add_argument_group("run")
    how.add_argument(
        "--dry-run",
        action="store_true",
        help="list the trials, what is done, disk and time (after a short calibration); train nothing",
    )
    how.add_argument("--retry-failed", action="store_true", help="run failed trials again, from their newest state")
    how.add_argument(
        "--search",
        choices=("grid", "optuna"),
        default="grid",
        metavar="NAME",
        help="grid: every combination; optuna: --num-trials suggestions of its TPE sampler, each axis "
        "a choice among its values (default: grid)",
    )
    how.add_argument("--num-trials", type=int, metavar="N", help="suggestions of --search optuna, over all runs")
    how.add_argument(
        "--vary",
        action="append",
        metavar="OPTION=LOW:HIGH",
        help="let --search optuna vary a number too, e.g. learning-rate=0.01:0.3 (log scale where "
        "HIGH/LOW >= 10); may be repeated",
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
        help="asha: stop weak trials early (default: none)",
    )
    machine = parser.add_argument_group("machine", "Changes no numbers.")
    machine.add_argument(
        "--address",
        default="auto",
        metavar="ADDRESS",
        help="Ray cluster; auto: a running one, else this machine; local: this machine (default: auto)",
    )
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
        "--gpus-per-worker",
        type=float,
        metavar="X",
        help="GPUs of each worker (default: 1 where the cluster has any, else 0)",
    )
    machine.add_argument(
        "--state-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds between two saves of the training state, at most once an epoch; also saved "
        "with every checkpoint (default: 60)",
    )


def _base_config(options: dict[str, Any], axes: dict[str, Any], flags: dict[str, str]) -> PretrainConfig:
    """The configuration from given options; a method's option given to another method is refused by its flag."""
    values: dict[str, Any] = {"method": {"name": PretrainConfig().method.name},
                              "backbone": {"name": PretrainConfig().backbone.name}}  # fmt: skip
    for path, value in {**options, **axes}.items():
        *parents, leaf = path.split(".")
        node = values
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    try:
        return PretrainConfig.from_dict(values)
    except UserError as error:
        raise UserError(_with_flag(str(error), flags)) from None


def _fitting(preset: dict[str, Any], method: str | None) -> dict[str, Any]:
    """The preset without the options that the chosen method does not have."""
    name = method or preset.get("method.name", PretrainConfig().method.name)
    known = plugin_module("ray_ssl.methods", name).Config.model_fields
    return {p: v for p, v in preset.items() if not p.startswith("method.") or p.removeprefix("method.") in known}


def _with_flag(message: str, flags: dict[str, str]) -> str:
    """Names the flag where the message names an option."""
    path = next((p for p in sorted(flags, key=len, reverse=True) if message.startswith(f"{p}:")), None)
    return message.replace(path, flags[path], 1) if path else message


def _without(values: dict[str, Any], paths: dict[str, Any]) -> dict[str, Any]:
    """A flat copy of nested values by dotted path, without the given paths."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{k}": v for k, v in value.items()}
        else:
            flat[name] = value
    return {path: value for path, value in flat.items() if path not in paths}


def _ranges(texts: list[str], flags: dict[str, str], given: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Parses `--vary OPTION=LOW:HIGH`.

    Raises:
        UserError: Not of that form, no such option, or options of a search without one.
    """
    if given["search"] == "grid" and (texts or given["num_trials"]):
        raise UserError("--vary and --num-trials belong to --search optuna")
    if given["search"] == "optuna" and (given["num_trials"] or 0) < 1:
        raise UserError("--search optuna needs --num-trials N, at least 1")
    if given["cpus_per_worker"] < 1 or (given["num_cpus"] is not None and given["num_cpus"] < 1):
        raise UserError("--cpus-per-worker and --num-cpus are at least 1")
    ranges = {}
    for text in texts:
        option, _, bounds = text.partition("=")
        path = next((p for p, flag in flags.items() if flag == f"--{option.removeprefix('--')}"), None)
        try:
            low, high = (float(bound) for bound in bounds.split(":"))
        except ValueError:
            raise UserError(f"--vary takes OPTION=LOW:HIGH, given {text!r}") from None
        if path is None:
            raise UserError(f"--vary knows no option {option!r}; see --help")
        if not low < high:
            raise UserError(f"--vary {option} goes from small to large, given {bounds}")
        ranges[path] = (low, high)
    return ranges
