"""Where rows of an exact graph stand in the table: keys of its trials, its eigenvectors, what a training lacks."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from analysis import stored
from analysis.command import Counter
from analysis.graph.contrastive import START, Training, marks
from analysis.graph.experiment import GRAPH_TASK, Study, measure_eigenvectors
from analysis.graph.look import NUM_EIGENVALUES, Look, measure_look
from analysis.graph.views import ViewFamily
from analysis.metrics.base import Measurement
from analysis.survey import sweep_name
from analysis.table import GRAPH, IMAGES, IMAGES_LAYER, Checkpoint, LayerMeasurement
from ray_ssl.data import Dataset
from ray_ssl.graph_config import GraphConfig
from ray_ssl.storage import Storage

Settings = dict[str, Any]
"""Of a graph: what all rows of it were measured with."""


def about(dataset: Dataset, family: ViewFamily) -> Settings:
    """Returns what identifies the graph, as JSON values."""
    return {"data": dataset.fingerprint, "family": asdict(family) | {"crop_sizes": list(family.crop_sizes)}}


def eigenvectors_key(settings: Settings, size: int) -> str:
    """Returns the key of the top eigenvectors, so many of them, 16 hex digits."""
    return _key(settings | {"eigenvectors": size})


def graph_key(settings: Settings) -> str:
    """Returns the key of the graph itself, 16 hex digits."""
    return _key(settings | {"look": NUM_EIGENVALUES})


def training_of(config: GraphConfig) -> Training:
    """Returns what a trial trains."""
    return Training(config.kind, config.k, config.num_steps, config.seed)


def training_key(settings: Settings, training: Training) -> str:
    """Returns the key of a training on a graph, 16 hex digits."""
    start = {"start": START} if training.kind == "table" else {}
    return _key(settings | {"training": asdict(training)} | start)


def missing_sizes(storage: Storage, sizes: Sequence[int], settings: Settings) -> list[int]:
    """Returns the numbers of eigenvectors whose rows are not in the table."""
    present = stored.present(storage)
    return [size for size in sizes if (eigenvectors_key(settings, size), 0, GRAPH_TASK) not in present]


def has_look(storage: Storage, settings: Settings) -> bool:
    """Returns whether the table has what the graph looks like."""
    return (graph_key(settings), 0, GRAPH_TASK) in stored.present(storage)


def write_graph(storage: Storage, study: Study, seen: Look, sizes: Sequence[int], settings: Settings) -> None:
    """Measures what the graph looks like and what its top eigenvectors reach, with progress, where the table in
    `storage` lacks it.

    Args:
        sizes: Numbers of eigenvectors.
    """
    missing, has = missing_sizes(storage, sizes, settings), has_look(storage, settings)
    if has and not missing:
        return
    # Clusters and heads cost about as much as there are eigenvectors.
    of_look = 0 if has else NUM_EIGENVALUES - 1
    of = "clusters and linear heads of " * bool(study.levels)
    parts = [f"{of}the top {', '.join(map(str, missing))} eigenvectors"] * bool(missing)
    parts += ["as many clusters as labels"] * (not has and bool(study.levels))
    with Counter(f"measuring {'; '.join(parts or ['the graph'])}", of_look + sum(missing), "work done") as counter:
        if not has:
            at = Checkpoint(sweep_name(storage), graph_key(settings), GRAPH, 0, 0, 0, study.dataset.name, 0)
            rows = [LayerMeasurement(IMAGES_LAYER, IMAGES, row) for row in measure_look(study, seen)]
            stored.write(storage, at, GRAPH_TASK, rows, settings)
            counter.advance(True, of_look)
        for size in missing:
            key = eigenvectors_key(settings, size)
            at = Checkpoint(sweep_name(storage), key, "eigenvectors", 0, size, 0, study.dataset.name, 0)
            write_rows(storage, at, measure_eigenvectors(study, size), settings)
            counter.advance(True, size)


def missing_steps(present: Collection[tuple[str, int, str]], key: str, num_steps: int) -> list[int]:
    """Returns the steps that a whole training has rows of and the table lacks; for `present` see `stored.present`."""
    return [step for step in marks(num_steps) if (key, step, GRAPH_TASK) not in present]


def write_rows(storage: Storage, at: Checkpoint, rows: Iterable[Measurement], settings: Settings) -> None:
    """Writes what was measured of features of a graph."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a probe of features at initialisation may end early
        stored.write(storage, at, GRAPH_TASK, [LayerMeasurement(0, "representation", row) for row in rows], settings)


def _key(settings: Settings) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
