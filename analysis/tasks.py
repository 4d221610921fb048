"""What can be measured of a checkpoint: a metric, on one group of label levels.

A task is written METRIC for the data's own levels and METRIC@GROUP for another group. Each is a part of the table by
itself, so that adding a metric or a group measures nothing else again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ray_ssl.errors import UserError, did_you_mean
from ray_ssl.plugins import plugin_module, plugin_names

if TYPE_CHECKING:  # torch takes seconds to import
    from analysis.metrics.base import MetricSpec

METRICS: Final = "analysis.metrics"

DATA, SAMPLE, TARGETS, DOMAINS, GRAPH = "data", "sample", "targets", "domains", "graph"
CLASS_GRAPH, IMAGE_GRAPH = "class_graph", "image_graph"
GROUPS: Final = {
    DATA: "class and superclass, on the images as they are",
    SAMPLE: "augmented views of some training images, each image a class of its own",
    TARGETS: "graded randomness: a teacher's predictions and noisy labels, on the images as they are",
    DOMAINS: "class, learned in the source and asked for in the target, of images with a --shift",
    GRAPH: "no labels: views that are the nodes of an exact graph of positive pairs",
    CLASS_GRAPH: "class, on augmented views: nodes of the graph of python -m analysis connectivity --groups class",
    IMAGE_GRAPH: "sample, on augmented views: nodes of the graph of python -m analysis connectivity --groups image",
}
"""Groups of label levels, each measured on images of its own kind."""

ESTIMATED: Final = (CLASS_GRAPH, IMAGE_GRAPH)
"""Groups that a sweep has once its graph is estimated."""


def metric_names() -> tuple[str, ...]:
    """Returns the names of all metric modules."""
    return plugin_names(METRICS)


def task_name(metric: str, group: str) -> str:
    """Returns the name of a task."""
    return metric if group == DATA else f"{metric}@{group}"


def metric_and_group(task: str) -> tuple[str, str]:
    """Returns the metric module and the group of a task."""
    metric, _, group = task.partition("@")
    return metric, group or DATA


def metric_groups(metric: str) -> tuple[str, ...]:
    """Returns the groups that a metric can be measured on: what its module says, else all if it looks at labels."""
    module: Any = plugin_module(METRICS, metric)
    specs: Sequence[MetricSpec] = module.SPECS
    # Those whose labels are the data's.
    labelled = tuple(group for group in GROUPS if group not in (DOMAINS, GRAPH, *ESTIMATED))
    return getattr(module, "GROUPS", labelled if any(spec.labelled for spec in specs) else (DATA,))


def is_on_request(metric: str) -> bool:
    """Returns whether a metric is measured only where it is asked for by name, because it is expensive."""
    return getattr(plugin_module(METRICS, metric), "ON_REQUEST", False)


def is_projection(task: str) -> bool:
    """Returns whether a task belongs to the table of projections; one that is no metric's does not."""
    metric, _ = metric_and_group(task)
    return metric in metric_names() and hasattr(plugin_module(METRICS, metric), "project")


def find_tasks(
    metrics: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    default_groups: Sequence[str] = (DATA,),
) -> tuple[str, ...]:
    """Returns the tasks of these metrics on these groups.

    Args:
        metrics: Names; ["all"]: all; None: those that are not only measured on request.
        groups: Names; ["all"]: all, domains and estimated graphs where they are default ones; None: the default ones,
            and of a named metric that has none of them, its own.
        default_groups: Those of the data: its own levels, domains where it has any, and its estimated graphs.

    Raises:
        UserError: No such metric or group, or a metric that has none of the groups.
    """
    check_names(metrics, groups)
    if metrics is None:
        metrics = [name for name in metric_names() if not is_on_request(name)]
        named = False
    else:
        named = metrics != ["all"]
        metrics = metric_names() if not named else metrics
    every = [group for group in GROUPS if group not in (DOMAINS, *ESTIMATED) or group in default_groups]
    wanted = every if groups == ["all"] else list(groups or default_groups)
    found = []
    for metric in metrics:
        own = [group for group in metric_groups(metric) if group in wanted]
        if named and not own and groups is not None:
            raise UserError(f"{metric} is measured at {' and '.join(metric_groups(metric))}, not at {' '.join(groups)}")
        found += [task_name(metric, group) for group in (own or (metric_groups(metric) if named else []))]
    return tuple(dict.fromkeys(found))


def groups_of_data(shift: str) -> tuple[str, ...]:
    """Returns the groups that are measured where none are asked for: those of the data, with or without a shift."""
    return (DATA, DOMAINS) if shift else (DATA,)


def check_names(metrics: Sequence[str] | None, groups: Sequence[str] | None) -> None:
    """Raises UserError for a metric or a group that there is not; "all" stands alone."""
    for what, names, known in (("metric", metrics, metric_names()), ("level group", groups, tuple(GROUPS))):
        for name in names or []:
            if name not in known and not (name == "all" and len(names or []) == 1):
                if name == "all":
                    raise UserError(f"{what} all stands alone, given {' '.join(names or [])}: give all, or the names")
                group = _group_of_level(name) if what == "level group" else None
                hint = f"; level {name} is measured by --levels {group}" if group else did_you_mean(name, known)
                raise UserError(f"unknown {what} {name!r}{hint}")


def _group_of_level(level: str) -> str | None:
    """The group that a level of the table belongs to, with a note where not all sweeps have it; None of no level."""
    if level in ("class", "superclass"):
        return f"{DATA}, where the images have one" if level == "superclass" else DATA
    if level.startswith(("teacher-", "noise-")):
        return f"{TARGETS}, of a sweep that has targets (sweeps/randomness.py, or --targets FOLDER)"
    return None
