"""`python -m analysis connectivity SWEEP_FOLDER --groups class|image`: the graph of groups of images, estimated.

Nodes are the classes of a sweep's images, whatever their domain, or random training images, the same that level
"sample" is measured on. Each seed of the sweep's trials has an estimate of its own, whose facts go into its table. The
mean of them is what is said, and what encoders are compared with (`--metrics estimated_alignment`).
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final, NamedTuple

import numpy as np

from analysis import stored
from analysis.connectivity.classifier import ClassifierSettings
from analysis.connectivity.estimated import CLASS, IMAGE, EstimatedGraph, estimate, file_name, mean_errors
from analysis.connectivity.graph_facts import (
    NodeLabels,
    agreement_sizes,
    facts,
    numbers,
    say,
    say_agreement,
    seed_agreement,
)
from analysis.connectivity.groups import GroupErrors, Labels, class_groups, groups_with_all, image_groups
from analysis.connectivity.networks import Wanted, measure, refuse_other_way
from analysis.images import graph_images
from analysis.metrics.base import UNLABELLED, Measurement
from analysis.settings import AnalysisSettings
from analysis.survey import columns
from analysis.sweep import sweep_dataset
from analysis.table import IMAGES, IMAGES_LAYER, LayerMeasurement
from ray_ssl import interrupts
from ray_ssl.data.base import UNLABELLED as NO_LABEL
from ray_ssl.data.base import Dataset, ImageSet, require_labels
from ray_ssl.errors import EXIT_DONE, UserError
from ray_ssl.ledger import Ledger, Trial

LEAST_NODES: Final = 3
MOST_IMAGES: Final = 50_000
"""Of a split; of larger ones a class-balanced subset."""

NUM_IMAGE_VIEWS: Final = 100
"""Test views of each image where it is a group: all that there are of it."""

LEFT_OUT: Final = "left out"
"""What becomes of the agreement of seeds at equal eigenvalues; tables from before have it, and are written anew."""


class Nodes(NamedTuple):
    """The groups of a kind.

    Attributes:
        wanted: What is measured.
        num_test: See `estimate`.
        levels: Labels of all groups.
    """

    wanted: Wanted
    num_test: Labels
    levels: Sequence[NodeLabels]


def run(flags: argparse.Namespace, ledger: Ledger, trials: Sequence[Trial]) -> int:
    """Estimates what is not estimated yet and says what it is like; returns the exit code.

    Raises:
        UserError: Fewer than three groups, more images than there are, or this was measured in another way.
    """
    kind: str = flags.groups
    refuse_other_way(ledger.sweep, file_name(kind), flags.way)
    dataset = sweep_dataset(trials, flags.dataset)
    settings = ClassifierSettings(way=flags.way, num_steps=flags.steps)
    if kind == IMAGE:
        settings = ClassifierSettings(way=flags.way, num_steps=flags.steps, num_test_views=NUM_IMAGE_VIEWS)
        nodes = _images(dataset, _usual_number(dataset) if flags.num_images is None else flags.num_images)
    else:
        nodes = _classes(dataset)
    seeds = sorted({trial.config.seed for trial in trials})
    with interrupts.orderly():
        errors = measure(ledger.sweep, nodes.wanted, settings, seeds)
        _write(ledger, trials, dataset, kind, settings, nodes, errors)
    mean = estimate(mean_errors(errors), nodes.num_test)
    print(f"graph     {nodes.wanted.what} of {dataset.name}, mean of {len(errors)} estimate(s) by {flags.way} "
          f"classifiers of {flags.steps} steps")  # fmt: skip
    for line in say(facts(mean, _of_nodes(nodes, mean))):
        print(line, flush=True)
    for line in say_agreement({seed: estimate(one, nodes.num_test) for seed, one in errors.items()}):
        print(line, flush=True)
    print(f"errors    {ledger.sweep.address(file_name(kind))}.safetensors")
    print(f"next:\n  python -m analysis {shlex.quote(flags.sweep)} --metrics estimated_alignment")
    return EXIT_DONE


def task_name(kind: str) -> str:
    """Returns the task of these parts of the table."""
    return f"connectivity@{kind}"


def _classes(dataset: Dataset) -> Nodes:
    require_labels("--groups class", dataset, "train", "test")
    train, test = _in_memory(dataset.train), _in_memory(dataset.test)
    splits = class_groups(train, 0, "train"), class_groups(test, 0, "test")
    known = groups_with_all(*splits)
    if len(known) < LEAST_NODES:
        raise UserError(
            f"{dataset.name}: a graph of classes needs {LEAST_NODES}, each with 2 training and 2 test images; "
            f"{len(known)} class(es) have them"
        )
    num_test = np.bincount(splits[1].group, minlength=splits[1].num_groups)
    about = {"data_fingerprint": dataset.fingerprint, "groups": CLASS, "num_test": num_test.tolist()}
    wanted = Wanted(
        file_name(CLASS), about, f"{len(known)} classes", len(num_test), known, list(combinations(known, 2)),
        lambda seed: (class_groups(train, seed, "train"), class_groups(test, seed, "test")),
        dataset.channel_statistics,
    )  # fmt: skip
    levels = []
    if train.coarse is not None:
        counts = np.zeros((len(num_test), len(train.coarse_names)), np.int64)
        labelled = (train.fine != NO_LABEL) & (train.coarse != NO_LABEL)
        np.add.at(counts, (train.fine[labelled], train.coarse[labelled]), 1)
        levels.append(NodeLabels("superclass", counts.argmax(1)))
    return Nodes(wanted, num_test, levels)


def _usual_number(dataset: Dataset) -> int:
    """How many images where no number is given: those of level sample, or all that there are, which is said."""
    usual, there = AnalysisSettings.num_samples, len(dataset.train)
    if there >= usual:
        return usual
    if there < LEAST_NODES:
        raise UserError(f"{dataset.name}: a graph of images needs {LEAST_NODES} training images, it has {there}")
    print(f"images    --num-images not given: all {there} training images there are, not {usual}", flush=True)
    return there


def _images(dataset: Dataset, num_images: int) -> Nodes:
    if not LEAST_NODES <= num_images <= len(dataset.train):
        raise UserError(
            f"--num-images is {LEAST_NODES} to the number of training images, {len(dataset.train)}, given {num_images}"
        )
    images = graph_images(dataset.train, num_images)
    groups, every = image_groups(images), range(num_images)
    num_test = np.full(num_images, NUM_IMAGE_VIEWS)
    about = {"data_fingerprint": dataset.fingerprint, "groups": IMAGE, "num_test": num_test.tolist()}
    wanted = Wanted(
        file_name(IMAGE), about, f"{num_images} training images", num_images, every, list(combinations(every, 2)),
        lambda _: (groups, groups), dataset.channel_statistics,
    )  # fmt: skip
    known = [("class", images.fine), ("superclass", images.coarse)]
    levels = [NodeLabels(name, labels) for name, labels in known if labels is not None and (labels != NO_LABEL).all()]
    return Nodes(wanted, num_test, levels)


def _in_memory(split: Any) -> ImageSet:
    return split if isinstance(split, ImageSet) and len(split) <= MOST_IMAGES else split.balanced_subset(
        min(len(split), MOST_IMAGES), seed=0
    )  # fmt: skip


def _of_nodes(nodes: Nodes, estimated: EstimatedGraph) -> list[NodeLabels]:
    return [NodeLabels(one.name, one.labels[estimated.groups]) for one in nodes.levels]


def _write(
    ledger: Ledger, trials: Sequence[Trial], dataset: Dataset, kind: str, settings: ClassifierSettings, nodes: Nodes,
    errors: Mapping[int, GroupErrors],
) -> None:  # fmt: skip
    """Puts the facts of each trial's seed into the table, where they are not."""
    task, chosen = (
        task_name(kind),
        settings.to_dict() | {"num_groups": len(nodes.wanted.within), "seeds": sorted(errors), "ties": LEFT_OUT},
    )
    present = stored.present(ledger.sweep, {task: chosen})
    lacking = [trial for trial in trials if (trial.key, 0, task) not in present]
    if not lacking:
        return
    estimates = {seed: estimate(one, nodes.num_test) for seed, one in errors.items()}
    rows = {seed: list(_rows(kind, nodes, estimates, seed)) for seed in sorted({one.config.seed for one in lacking})}
    for trial in lacking:
        about = columns(trial.config, ledger.sweep.name, trial.key, dataset.name, 0)
        stored.write(ledger.sweep, about, task, rows[trial.config.seed], chosen)


def _rows(
    kind: str, nodes: Nodes, estimates: Mapping[int, EstimatedGraph], seed: int
) -> Iterator[LayerMeasurement]:  # fmt: skip
    own = estimates[seed]
    found = list(numbers(facts(own, _of_nodes(nodes, own))))
    others = [one for other, one in estimates.items() if other != seed]
    if others:
        sizes = agreement_sizes([own, *others])
        found += [
            (UNLABELLED, f"agreement_top{k}", float(seed_agreement([own, *others], k)[0, 1:].mean())) for k in sizes
        ]  # fmt: skip
    for level, name, value in found:
        measured = Measurement(level, "test", f"{kind}_graph_{name}", value)
        yield LayerMeasurement(IMAGES_LAYER, IMAGES, measured)
