"""What sweeps on graded randomness do besides a grid: a teacher, its targets, supervised networks to compare with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from ray_ssl.errors import EXIT_DONE, EXIT_SOME_FAILED, UserError, print_error
from sweeps.cli import Extension, Request, Sweep, folder_name
from sweeps.target_flags import NETWORK, TRAIN_ON, add_flags, add_network_flags, teacher_options

if TYPE_CHECKING:
    from ray_ssl.config import PretrainConfig
    from ray_ssl.targets import Targets

PANEL_METRICS: Final = ("mine", "umap")
"""Besides those that are always measured."""

TEACHER: Final = Sweep(name="teacher", question="a classifier whose predictions become other labels", axes=())


def _run(request: Request, everything: bool = False) -> int:
    """Trains the teacher where its targets are not there yet, then runs the sweep; returns the exit code.

    Args:
        request: The sweep.
        everything: Train each network also supervised, with and without augmentation, as references that are measured
            at the data's levels, as those on targets are at the targets' too; measure the others at all levels, with
            `PANEL_METRICS` too.
    """
    from analysis.tasks import DATA, SAMPLE, TARGETS, find_tasks
    from ray_ssl.ledger import Ledger
    from ray_ssl.storage import Storage
    from ray_ssl.targets import read_targets
    from ray_ssl.teacher_targets import UntrainedTeacherError
    from sweeps.run import check, run
    from sweeps.target_table import print_targets

    _refuse(request)
    if everything and request.metrics is None and request.levels is None:
        request = replace(
            request,
            metrics=_panel_metrics(),
            levels=[DATA, SAMPLE, TARGETS],
            reference_tasks=find_tasks(),
            on_target_tasks=find_tasks(None, [DATA, TARGETS]),
        )
    request = replace(request, levels=request.levels or [DATA, TARGETS])
    levels, train_on = _levels(request)
    teacher = _teacher_request(request)
    ledger = Ledger(Storage.at(request.storage).child(request.name))
    ledger.is_of(request.shared)
    targets = read_targets(ledger.sweep)
    lacking = [level for level in levels if targets is None or f"teacher-{level:.2f}" not in targets.sets]
    if lacking:
        check(_with(_without_targets(request), list(_references(request)) if everything else []))
        if request.dry_run:
            return _dry_run(request, teacher, train_on, everything)
        from sweeps.labelling import label

        code, untrained = run(teacher), ""
        if code == EXIT_DONE:
            try:
                targets = label(request, teacher, ledger, levels)
            except UntrainedTeacherError as error:
                code, untrained = EXIT_SOME_FAILED, str(error)
        if code != EXIT_DONE:
            return _without_teacher(request, train_on, everything, targets, code, untrained)
    assert targets is not None
    print_targets(targets)
    return run(
        _with(request, [*(_references(request) if everything else []), *_on_targets(request, targets, train_on)])
    )


def _refuse(request: Request) -> None:
    """Raises UserError where a request asks for what these sweeps cannot do."""
    if request.base.data.stream:
        raise UserError(
            f"sweeps/{request.sweep.name}.py labels all images at once: it needs them in memory, no --stream"
        )
    if (seed := request.shared["teacher.seed"]) in request.grid.axes["seed"]:
        raise UserError(
            f"--teacher-seed {seed} is a network's seed, too: the teacher would begin with that network's weights, and "
            "what it predicts at random would be read off them; give another"
        )
    if request.search != "grid":
        raise UserError(
            f"sweeps/{request.sweep.name}.py compares the same networks on all targets: it takes no --search"
        )


def _on_targets(request: Request, targets: Targets, train_on: list[float]) -> list[PretrainConfig]:
    """Supervised networks on the teacher's predictions, each with every seed."""
    options = [targets.option(f"teacher-{level:.2f}") for level in train_on]
    network = _teacher_network(request)
    return [
        request.grid.config({"method.name": "supervised", "method.target": option, "seed": seed, **network})
        for option in options
        for seed in request.grid.axes["seed"]
    ]


def _without_teacher(
    request: Request, train_on: list[float], everything: bool, targets: Targets | None, code: int, untrained: str
) -> int:
    """Runs what does not need a teacher that failed, and says what waits for it; returns the exit code.

    Args:
        request: The sweep.
        train_on: Randomness of the targets that networks are trained on.
        everything: As in `_run`.
        targets: Those that an earlier command made.
        code: To be returned.
        untrained: What is wrong with a teacher that learned nothing, and what would be right; "": training it failed.
    """
    from sweeps.run import run

    why = untrained or "the teacher failed (see above)"
    made = [level for level in train_on if targets is not None and f"teacher-{level:.2f}" in targets.sets]
    more = [] if targets is None else _on_targets(request, targets, made)
    num_waiting = (len(train_on) - len(made)) * len(request.grid.axes["seed"])
    print(f"{why}\nwhat does not need it:", flush=True)
    rest = _without_targets(request) if targets is None else request
    run(_with(rest, [*(_references(request) if everything else []), *more]))
    what = "level targets of every network" if targets is None else "its other targets"
    print_error(f"{num_waiting} supervised network(s) on the teacher's predictions, and {what}, wait for one: {why}")
    if not untrained:
        retry = request.command if request.retry_failed else f"{request.command} --retry-failed"
        print(f"to train it again and go on:\n  {retry}", flush=True)
    return code


def _with(request: Request, more: list[PretrainConfig]) -> Request:
    return replace(request, grid=replace(request.grid, more=tuple(more)))


def _references(request: Request) -> Iterator[PretrainConfig]:
    """Each network of the grid, supervised without and with augmentation."""
    for point in request.grid.points():
        for augment in (False, True):
            yield request.grid.config({**point, "method.name": "supervised", "method.augment": augment})


def _panel_metrics() -> list[str]:
    """The metrics of every panel of the paper: those that are always measured, and the expensive ones it has."""
    from analysis.tasks import DOMAINS, is_on_request, metric_groups, metric_names

    every = [name for name in metric_names() if metric_groups(name) != (DOMAINS,)]
    return [name for name in every if name in PANEL_METRICS or not is_on_request(name)]


def _teacher_network(request: Request) -> dict[str, int]:
    """The depth and width of the teacher, of a sweep over them."""
    axes, shared = request.grid.axes, request.shared
    largest = {name: max(axes[f"backbone.{name}"]) for name in NETWORK if f"backbone.{name}" in axes}
    asked: dict[str, int | None] = {name: shared.get(f"teacher.{name}") for name in largest}
    return {f"backbone.{name}": largest[name] if size is None else size for name, size in asked.items()}


def _levels(request: Request) -> tuple[list[float], list[float]]:
    """The levels of randomness, and those to train on, ascending.

    Raises:
        UserError: A level out of range, finer than its name, or not among the others.
    """
    levels = sorted(set(request.given["randomness"]))
    for level in levels:
        if not (math.isfinite(level) and 0 <= level <= 1 and float(f"{level:.2f}") == level):
            raise UserError(f"--randomness is 0 to 1 with at most two decimals, given {level:g}")
    asked = request.given["train_on"]
    train_on = sorted(set(asked)) if asked is not None else [level for level in TRAIN_ON if level in levels]
    for level in train_on:
        if level not in levels:
            known = " ".join(f"{other:g}" for other in levels)
            raise UserError(f"--train-on {level:g} has no target: --randomness is {known}")
    return levels, train_on


def _teacher_request(request: Request) -> Request:
    """The teacher's sweep of one trial, with the options that supervised training has of those given.

    Its folder is named by its options, so that sweeps which differ in other things share it.
    """
    from ray_ssl.plugins import plugin_module

    own = {f"method.{name}" for name in plugin_module("ray_ssl.methods", "supervised").Config.model_fields}
    grid, shared = request.grid, request.shared
    given = {path: v for path, v in grid.given.items() if not path.startswith("method.") or path in own}
    network = _teacher_network(request)
    given |= network | {
        "method.name": "supervised",
        "method.target": "class",
        "training.epochs": shared["teacher.epochs"],
        "training.num_checkpoints": shared["teacher.num_checkpoints"],
    }
    if shared["teacher.learning_rate"] is not None:
        given["optimiser.learning_rate"] = shared["teacher.learning_rate"]
    flags = (
        grid.flags
        | {path: path.replace("backbone.", "--teacher-") for path in network}
        | {
            "training.epochs": "--teacher-epochs",
            "training.num_checkpoints": "--teacher-checkpoints",
            "optimiser.learning_rate": "--teacher-learning-rate",
            "seed": "--teacher-seed",
        }
    )
    grid = replace(grid, given=given, axes={"seed": (shared["teacher.seed"],)}, flags=flags)
    base, options = grid.config({}), grid.shared()
    return replace(
        request, sweep=TEACHER, grid=grid, base=base, shared=options, name=folder_name(TEACHER.name, base, options),
        metrics=["ncc"], levels=None, scheduler="none", is_part=True,
    )  # fmt: skip


def _dry_run(request: Request, teacher: Request, train_on: list[float], everything: bool) -> int:
    """Prints the plans of both parts; the keys of networks on targets that are not made yet are not known."""
    from sweeps.run import run

    run(teacher)
    num_more = len(train_on) * len(request.grid.axes["seed"])
    print(f"after it, {num_more} supervised network(s) on its predictions, and:", flush=True)
    return run(_with(_without_targets(request), list(_references(request)) if everything else []))


def _without_targets(request: Request) -> Request:
    """The sweep as long as there are no targets to measure."""
    from analysis.tasks import TARGETS

    return replace(
        request,
        metrics=None if request.metrics is None else [m for m in request.metrics if not _is_of_targets_alone(m)],
        levels=[level for level in request.levels or [] if level != TARGETS] or None,
    )


def _is_of_targets_alone(metric: str) -> bool:
    from analysis.tasks import TARGETS, metric_groups, metric_names

    return metric in metric_names() and metric_groups(metric) == (TARGETS,)


GRADED: Final = Extension(add_flags, teacher_options, _run, methods=("supervised",))
"""For `Sweep.extension`: the targets, and supervised networks on some of them."""
EVERY_PANEL: Final = Extension(
    add_network_flags, teacher_options, partial(_run, everything=True), methods=("supervised",)
)
"""The same for a grid of networks, each trained supervised too, measured for every panel of arXiv 2305.15614."""
