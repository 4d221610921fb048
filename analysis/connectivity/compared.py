"""What encoders are compared with: the top eigenvectors of a sweep's estimated graphs, the same for all checkpoints."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from analysis.connectivity.estimated import CLASS, IMAGE, EstimatedGraph, file_name, read_estimate
from analysis.connectivity.groups import Labels
from analysis.connectivity.stored import record_name
from analysis.graph.pair_graph import Floats
from analysis.graph.top import TopSpans, top_spans
from analysis.settings import NO_ESTIMATE, AnalysisSettings
from analysis.table import KIND, MEASUREMENTS
from analysis.tasks import CLASS_GRAPH, ESTIMATED, IMAGE_GRAPH, metric_and_group
from ray_ssl.errors import UserError
from ray_ssl.storage import Storage

KINDS: Final = {CLASS_GRAPH: CLASS, IMAGE_GRAPH: IMAGE}
"""By group of label levels."""


class Eigenvectors(NamedTuple):
    """The top eigenvectors of a graph.

    Attributes:
        groups: int64 [N], the label that each node is.
        weights: float64 [N], of the nodes.
        top: They themselves. An estimated graph may have many components: errors that are no edge leave groups alone.
    """

    groups: Labels
    weights: Floats
    top: TopSpans


def eigenvectors(estimated: EstimatedGraph) -> Eigenvectors:
    """Returns them."""
    graph = estimated.graph
    return Eigenvectors(estimated.groups, np.array(graph.node_weights), top_spans(graph))


def estimated_groups(sweep: Storage) -> tuple[str, ...]:
    """Returns the groups of label levels whose graph is in the folder of a sweep."""
    return tuple(group for group, kind in KINDS.items() if sweep.exists(record_name(file_name(kind))))


def compared_with(sweep: Storage, tasks: Sequence[str]) -> dict[str, Eigenvectors]:
    """Returns the eigenvectors that these tasks need, by group of label levels."""
    found = {}
    for group in _groups(tasks):
        stored = read_estimate(sweep, KINDS[group])
        if stored is None:
            raise UserError(NO_ESTIMATE[group])
        found[group] = eigenvectors(stored.graph)
    return found


def with_estimates(settings: AnalysisSettings, sweep: Storage, tasks: Sequence[str]) -> AnalysisSettings:
    """Returns the settings with the hash of each graph that these tasks need, where it is there."""
    for group in _groups(tasks):
        stored = read_estimate(sweep, KINDS[group])
        if stored is None:
            continue
        settings = replace(settings, **{group: stored.fingerprint})
        if group == IMAGE_GRAPH:
            settings = replace(settings, num_graph_images=len(stored.graph.groups))
    return settings


def unfinished(sweep: Storage, tasks: Sequence[str], seeds: Collection[int]) -> list[str]:
    """Returns a line for each graph that these tasks need and that is not estimated with all of a sweep's seeds."""
    lines: list[str] = []
    for group in _groups(tasks):
        stored = read_estimate(sweep, KINDS[group])
        if stored is not None and (lacking := set(seeds) - set(stored.seeds)):
            lines.append(
                f"the graph of groups {KINDS[group]} is estimated with {len(stored.seeds)} of "
                f"{len(stored.seeds) + len(lacking)} seeds: python -m analysis connectivity {shlex.quote(sweep.uri)} "
                f"--groups {KINDS[group]} goes on, then encoders are compared anew"
            )
    return lines


def outdated(sweep: Storage) -> list[str]:
    """Returns a line for each graph that was estimated anew since encoders were compared with it."""
    groups = estimated_groups(sweep)
    measured = KIND.settings_by_task(sweep.filesystem, sweep.path(MEASUREMENTS)) if groups else {}
    lines: list[str] = []
    for group in groups:
        known = {one[group] for task, one in measured.items() if metric_and_group(task)[1] == group and group in one}
        stored = read_estimate(sweep, KINDS[group])
        if known and (stored is None or known != {stored.fingerprint}):
            lines.append(
                f"the graph of groups {KINDS[group]} of {sweep.name} was estimated anew since encoders were compared "
                f"with it: python -m analysis {shlex.quote(sweep.uri)} --metrics estimated_alignment"
            )
    return lines


def _groups(tasks: Sequence[str]) -> list[str]:
    wanted = {metric_and_group(task)[1] for task in tasks}
    return [group for group in ESTIMATED if group in wanted]
