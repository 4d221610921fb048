"""`python -m analysis graph --dataset NAME`: the exact graph of positive pairs of some images, and what it predicts.

Builds the graph of a finite family of views (see `analysis.graph.views`), says what it looks like, and compares with
its top eigenvectors what the spectral contrastive loss learns on it: a table of free features, and a small network of
the views' cells. All numbers go into the table of measurements in STORAGE, a trial each; what is there is not computed
again. Without --storage the folder is named by the images and a hash of all that changes numbers but the seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from analysis import stored
from analysis.graph.alignment import NUM_STEPS
from analysis.graph.contrastive import KINDS, START, Training, learn, marks
from analysis.graph.experiment import (
    BOUND,
    GAP,
    GRAPH_TASK,
    HEAD_ERROR,
    PURITY,
    Study,
    graph_of,
    measure_eigenvectors,
    measure_learned,
)
from analysis.graph.facts import crossing_purity, describe, path_lengths
from analysis.graph.labels import LabelWeights, label_weights
from analysis.graph.partition import SweepCut, sweep_cut
from analysis.graph.spectrum import top_eigenpairs
from analysis.graph.views import ViewFamily
from analysis.labels import data_levels
from analysis.metrics.base import UNLABELLED, Measurement
from analysis.survey import sweep_name
from analysis.table import MEASUREMENTS, Checkpoint, LayerMeasurement, read_table
from ray_ssl import interrupts
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError
from ray_ssl.flags import usual_storage
from ray_ssl.naming import study_folder
from ray_ssl.part import explain
from ray_ssl.storage import Storage

USUAL_K: Final = 20
USUAL_SIZES: Final = (5, 10, 20, 50, 100)
"""Where --k and --sizes are not given; what a small graph does not have is left out."""

CHANCE_MARGIN: Final = 0.2
"""What keeps labels no more often than chance and this share of it (or of its distance to 1) counts as chance."""


def run(flags: argparse.Namespace) -> int:
    """Runs the command; returns the exit code.

    Raises:
        UserError: A data set, a family or a number that cannot work.
    """
    from analysis.encoder import show  # draws figures

    family = ViewFamily(
        tuple(flags.crops), flags.shifts, not flags.no_flip, flags.resolution, flags.levels, not flags.no_stretch,
        flags.colour,
    )  # fmt: skip
    if min(_typed(flags), default=2) < 2 or flags.steps < 1 or flags.num_seeds < 1:
        raise UserError("--k and --sizes are 2 or more, --steps and --num-seeds 1 or more")
    config, dataset = _dataset(flags)
    storage = Storage.at(flags.storage or usual_storage())
    found = graph_of(dataset, family)
    k, sizes = _sizes(flags, found.graph.num_nodes)
    about = {"data": dataset.fingerprint, "family": asdict(family)}
    if flags.storage is None:
        options = about | {"k": k, "sizes": sizes, "steps": flags.steps}
        storage = storage.child(study_folder("graph", config, options))
    print(f"results   {storage.uri}", flush=True)
    study = Study(dataset, found, top_eigenpairs(found.graph, sizes[-1] + 1))
    for line in say(study):
        print(line, flush=True)
    keys = [_key(about | {"eigenvectors": size}) for size in sizes]
    for size, key in zip(sizes, keys, strict=True):
        at = Checkpoint(sweep_name(storage), key, "eigenvectors", 0, size, 0, dataset.name, 0)
        if (key, 0, GRAPH_TASK) not in stored.present(storage):
            _write(storage, at, measure_eigenvectors(study, size), about)
    for line in heads(read_table(storage.filesystem, storage.path(MEASUREMENTS)), keys):
        print(line, flush=True)
    trainings = [Training(kind, k, flags.steps, seed) for seed in range(flags.num_seeds) for kind in KINDS]
    with interrupts.orderly():
        for training in trainings:
            _train(storage, study, training, about)
    return show(storage)


def _dataset(flags: argparse.Namespace) -> tuple[DataConfig, Dataset]:
    if "dataset" not in flags.data:
        raise UserError("--dataset says of which images the graph is: shapes, cifar10, cifar100, parquet:PATH ...")
    try:
        config = DataConfig.model_validate_strings(flags.data)
    except ValidationError as error:
        raise UserError(explain(error, DataConfig)) from None
    return config, load_dataset(config)


def _typed(flags: argparse.Namespace) -> list[int]:
    """The numbers of eigenvectors that were asked for."""
    return [*(flags.sizes or ()), *(() if flags.k is None else (flags.k,))]


def _sizes(flags: argparse.Namespace, num_nodes: int) -> tuple[int, list[int]]:
    """Features to learn, and the numbers of eigenvectors that are compared: of the usual ones those that fit."""
    largest = num_nodes - 1  # the eigenvalue after the last is looked at too
    if largest < 2:
        raise UserError(f"the graph has {num_nodes} node(s), 3 are needed: take more images, or views of more cells")
    for flag, sizes in (("--k", () if flags.k is None else (flags.k,)), ("--sizes", flags.sizes or ())):
        if max(sizes, default=0) > largest:
            raise UserError(f"{flag} is {largest} at most, for the graph has {num_nodes} nodes, given {max(sizes)}")
    k = min(USUAL_K, largest) if flags.k is None else flags.k
    return k, sorted({k, *(flags.sizes or (size for size in USUAL_SIZES if size <= largest))})


def say(study: Study) -> Iterator[str]:
    """Yields what the graph looks like, in lines."""
    graph, values = study.graph, study.spectrum.values
    facts = describe(graph)
    yield (f"graph     {facts.num_images} images of {study.dataset.name}, {facts.num_nodes} nodes, "
           f"{facts.num_components} component(s), the largest {facts.largest_component:.1%} of the weight")  # fmt: skip
    yield (f"          {facts.shared:.1%} of the views are of several images; a step over a view leaves its image with "
           f"probability {facts.crossing:.2f}")  # fmt: skip
    paths = path_lengths(graph)
    sampled = paths.num_sources < paths.num_nodes
    sources = f"from {paths.num_sources} random nodes" if sampled else "between all nodes"
    yield (f"paths     the largest component has {paths.num_nodes} nodes; shortest paths {sources}: mean "
           f"{paths.mean:.2f} steps, longest {'at least ' * sampled}{paths.longest}")  # fmt: skip
    shown = np.unique(np.geomspace(1, len(values), 8).round().astype(int))
    yield "spectrum  " + ", ".join(f"{values[i - 1]:.4f} (no. {i})" for i in shown)
    yield f"cut       {_cut(sweep_cut(graph, study.spectrum), facts.num_components)}"
    samples = np.arange(graph.num_images)
    levels = [("sample", samples, graph.num_images)]
    levels += [(level.name, study.all_labels(level), level.num_classes) for level in data_levels(study.dataset)]
    for name, labels, count in levels:
        found = label_weights(graph, labels, count)
        crossing = "" if name == "sample" else f"; {what_steps_keep(*crossing_purity(graph, labels, count))}"
        yield (f"{name:9} weight within {found.within:.3f} (chance {found.chance:.3f}), mean weight of a pair within "
               f"over between {_contrast(found):.1f}, label error {found.label_error:.3f}{crossing}")  # fmt: skip


def _cut(cut: SweepCut, num_components: int) -> str:
    if num_components > 1:
        return f"the graph has {num_components} components: a cut of weight 0, conductance 0"
    return f"conductance {cut.conductance:.4f}; Cheeger: {cut.lower:.4f} <= best <= {cut.upper:.4f}"


def _contrast(found: LabelWeights) -> float:
    return found.mean_within / found.mean_between if found.mean_between > 0 else float("inf")


def what_steps_keep(kept: float, chance: float) -> str:
    """What steps to other images say of labels; for the arguments see `crossing_purity`."""
    if np.isnan(kept):
        return "no step leaves its image, so edges say nothing of labels"
    more = kept - chance > CHANCE_MARGIN * min(chance, 1 - chance)
    verdict = (
        "" if more else f": no more than chance and {CHANCE_MARGIN:.0%} of it, edges say next to nothing of labels"
    )
    return f"a step to another image keeps it {kept:.3f} (chance {chance:.3f}){verdict}"


def heads(measurements: Any, keys: list[str]) -> Iterator[str]:
    """Yields what linear heads of the top eigenvectors reach beside the purity of as many clusters, in lines.

    Args:
        measurements: See `analysis.table`.
        keys: Trials of eigenvectors, by their number.
    """
    yield "heads     k  eigengap  level       purity  accuracy of views (guaranteed)  of test images (chance)"
    for key in keys:
        rows = measurements[measurements["trial_key"] == key]
        value = rows.set_index(["metric", "level", "split"])["value"].to_dict()
        for _, level, _ in sorted(name for name in value if name[0] == PURITY):
            accuracy, least = (1 - value[metric, level, "train"] for metric in (HEAD_ERROR, BOUND))
            tested, chance = value["linear_accuracy", level, "test"], 1 / value["num_classes", level, "test"]
            yield (f"   {rows['width'].iloc[0]:8d}  {value[GAP, UNLABELLED, 'train']:8.4f}  {level:10}  "
                   f"{value[PURITY, level, 'train']:6.3f}  {accuracy:17.3f} {f'({max(0, least):.3f})':>12}  "
                   f"{tested:14.3f} {f'({chance:.3f})':>8}")  # fmt: skip


def _train(storage: Storage, study: Study, training: Training, about: dict[str, Any]) -> None:
    settings = about | {"training": asdict(training)} | ({"start": START} if training.kind == "table" else {})
    key = _key(settings)
    method, present = f"spectral {training.kind}", stored.present(storage)
    lacking = [step for step in marks(training.num_steps) if (key, step, GRAPH_TASK) not in present]
    for learned in learn(study.graph, study.found.levels, training, lacking):
        rows = list(measure_learned(study, learned, training))
        at = Checkpoint(
            sweep_name(storage), key, method, 0, training.k, training.seed, study.dataset.name, learned.step
        )
        _write(storage, at, rows, about)
        if learned.step == training.num_steps:
            numbers = ", ".join(
                f"{row.metric} {row.value:.4f}" for row in rows if row.level == UNLABELLED and row.metric != NUM_STEPS
            )
            print(f"{method}, seed {training.seed}: {numbers}", flush=True)


def _write(storage: Storage, at: Checkpoint, rows: Iterable[Measurement], settings: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a probe of features at initialisation may end early
        stored.write(storage, at, GRAPH_TASK, [LayerMeasurement(0, "representation", row) for row in rows], settings)


def _key(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
