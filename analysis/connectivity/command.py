"""`python -m analysis connectivity SWEEP_FOLDER`: connectivity of classes and domains, beside how heads transfer.

Measures rho, alpha, beta and gamma of pairs of classes on a sweep's images with a --shift, for each seed of its trials
by itself, puts them into its table, and draws what they predict beside the accuracies that
`python -m analysis SWEEP_FOLDER --metrics transfer_pairs` measured. With --groups it estimates the graph of classes or
of single images instead, of any images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from analysis import stored
from analysis.class_pairs import MAX_PAIRS, class_pairs, pair_level
from analysis.command import FIGURES, read_measurements
from analysis.connectivity import graph_command
from analysis.connectivity.classifier import WAYS, ClassifierSettings
from analysis.connectivity.estimated import IMAGE, KINDS
from analysis.connectivity.groups import GroupErrors, Groups, classes_with_all, edges, groups_of, split_groups
from analysis.connectivity.networks import Wanted, measure, refuse_other_way
from analysis.connectivity.stored import ERRORS, PAIRS
from analysis.metrics.base import Measurement
from analysis.prediction import EDGES, FIGURE, correlations, correlations_as_text
from analysis.settings import AnalysisSettings
from analysis.survey import columns
from analysis.sweep import sweep_dataset
from analysis.table import IMAGES, IMAGES_LAYER, LayerMeasurement
from ray_ssl import interrupts
from ray_ssl.data.base import Dataset, ImageSet, require_labels
from ray_ssl.errors import EXIT_DONE, UserError
from ray_ssl.flags import Parser
from ray_ssl.ledger import Ledger, Trial, no_sweep
from ray_ssl.storage import Storage

TASK: Final = "connectivity"

Pairs = Sequence[tuple[int, int]]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses `python -m analysis connectivity SWEEP_FOLDER`."""
    parser = Parser(prog="python -m analysis connectivity", description=__doc__)
    parser.add_argument("sweep", metavar="SWEEP_FOLDER", help="folder of a sweep: a path, s3://... or gs://...")
    parser.add_argument(
        "--pairs", type=int, metavar="N",
        help=f"measure N random pairs of classes (default: all, at most {MAX_PAIRS})",
    )  # fmt: skip
    parser.add_argument(
        "--groups", choices=KINDS,
        help="the graph of these groups: components, eigenvalues, clusters and cuts, of images with or without a "
        "--shift; every two classes, or random training images",
    )  # fmt: skip
    parser.add_argument(
        "--num-images", type=int, metavar="N",
        help=f"--groups image: so many (default: {AnalysisSettings.num_samples}, those of level sample, or all)",
    )  # fmt: skip
    parser.add_argument(
        "--way", choices=WAYS, default="joint",
        help="joint: one network tells all classes and domains apart; pairs: one for every two of them, as published, "
        "at about 4 N times the cost for N pairs of classes, N^2 / 2 times for N groups (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=int, default=ClassifierSettings.num_steps, metavar="N",
        help="training steps of each network (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--dataset", metavar="TEXT",
        help="where the images are now, if they moved, e.g. parquet:PATH (default: as trained)",
    )  # fmt: skip
    return parser.parse_strictly(arguments)


def run(flags: argparse.Namespace) -> int:
    """Measures what is not measured yet and draws it; returns the exit code.

    Raises:
        UserError: No sweep there, no domains, fewer than two classes in both, more pairs than there are, or fewer than
            are measured.
    """
    for name in ("pairs", "steps"):
        if getattr(flags, name) is not None and getattr(flags, name) < 1:
            raise UserError(f"--{name} is at least 1, given {getattr(flags, name)}")
    if flags.pairs is not None and flags.groups is not None:
        raise UserError("--pairs is for pairs of classes in two domains, not for a graph: leave it or --groups out")
    if flags.num_images is not None and flags.groups != IMAGE:
        raise UserError("--num-images is for --groups image")
    ledger = Ledger(Storage.at(flags.sweep))
    trials = ledger.known_trials()
    if not trials:
        raise no_sweep(ledger.sweep, flags.sweep)
    if flags.groups is not None:
        return graph_command.run(flags, ledger, trials)
    if not trials[0].config.data.shift:
        raise UserError(
            "connectivity is that of a source and a target: the sweep's images need a --shift, or give --groups for "
            "the graph of their classes or of single images"
        )
    refuse_other_way(ledger.sweep, PAIRS, flags.way)
    dataset = sweep_dataset(trials, flags.dataset)
    require_labels("connectivity", dataset, "train", "test")
    settings = ClassifierSettings(way=flags.way, num_steps=flags.steps)
    pairs = choose_pairs(dataset, flags.pairs)
    if len(pairs) < (known := _num_known(ledger.sweep)):
        raise UserError(f"--pairs {len(pairs)}: {known} pairs are measured here, and would be replaced: leave it out")
    seeds = sorted({trial.config.seed for trial in trials})
    with interrupts.orderly():
        errors = measure(ledger.sweep, wanted_pairs(dataset, pairs), settings, seeds)
        _write(ledger, trials, dataset, settings, pairs, errors)
        _show(ledger.sweep, flags.sweep)
    return EXIT_DONE


def _num_known(sweep: Storage) -> int:
    """How many pairs of classes the table has."""
    try:
        table = read_measurements(sweep)
    except UserError:
        return 0  # nothing is measured yet
    return table.loc[table["metric"] == EDGES[0], "level"].nunique()


def choose_pairs(dataset: Dataset, num_pairs: int | None) -> Pairs:
    """Returns the pairs of classes to measure, of those with images in both domains of both splits.

    Raises:
        UserError: There are fewer.
    """
    known, num_classes = set(classes_with_all(*_groups(dataset, 0))), len(dataset.train.fine_names)
    if len(known) < 2:
        raise UserError(
            f"{dataset.name}: connectivity is that of two classes, each with 2 training and 2 test images in both "
            f"domains; {len(known)} class(es) have them"
        )
    every = [pair for pair in class_pairs(num_classes, num_classes**2) if known.issuperset(pair)]
    if num_pairs is not None and num_pairs > len(every):
        raise UserError(f"--pairs {num_pairs} is more than there are: {len(known)} classes make {len(every)} pairs")
    if num_pairs is None:
        return [pair for pair in class_pairs(num_classes) if known.issuperset(pair)]
    return every if num_pairs == len(every) else _first(every, num_classes, num_pairs)


def _first(every: Pairs, num_classes: int, num_pairs: int) -> Pairs:
    """So many of `every`, those that `class_pairs` takes first."""
    wanted, size = set(every), num_pairs
    while len(found := [pair for pair in class_pairs(num_classes, size) if pair in wanted]) < num_pairs:
        size += num_pairs - len(found)
    return found


def wanted_pairs(dataset: Dataset, pairs: Pairs) -> Wanted:
    """Returns what is measured of pairs of classes: their groups, each by itself and against the others of its pair."""
    num_classes = len(dataset.train.fine_names)
    groups = [groups_of(pair, num_classes) for pair in pairs]
    within = sorted({group for four in groups for group in four})
    between = sorted({two for four in groups for two in combinations(sorted(four), 2)})
    return Wanted(
        PAIRS, {"data_fingerprint": dataset.fingerprint}, f"{len(pairs)} pair(s) of classes", 2 * num_classes, within,
        between, partial(_groups, dataset), dataset.channel_statistics,
    )  # fmt: skip


def _groups(dataset: Dataset, seed: int) -> tuple[Groups, Groups]:
    assert isinstance(dataset.train, ImageSet) and isinstance(dataset.test, ImageSet)  # a shift streams nothing
    return split_groups(dataset.train, seed, "train"), split_groups(dataset.test, seed, "test")


def _write(
    ledger: Ledger, trials: Sequence[Trial], dataset: Dataset, settings: ClassifierSettings, pairs: Pairs,
    errors: Mapping[int, GroupErrors],
) -> None:  # fmt: skip
    """Puts the edge weights of each trial's seed into the table, where they are not."""
    chosen = settings.to_dict() | {"num_pairs": len(pairs)}
    present = stored.present(ledger.sweep, {TASK: chosen})
    for trial in trials:
        if (trial.key, 0, TASK) not in present:
            about = columns(trial.config, ledger.sweep.name, trial.key, dataset.name, 0)
            stored.write(ledger.sweep, about, TASK, _rows(errors[trial.config.seed], pairs), chosen)


def _rows(errors: GroupErrors, pairs: Pairs) -> Iterator[LayerMeasurement]:
    for pair in pairs:
        for metric, value in zip(EDGES, edges(errors, pair), strict=True):
            measured = Measurement(pair_level("class", *pair), "test", metric, value)
            yield LayerMeasurement(IMAGES_LAYER, IMAGES, measured)


def _show(sweep: Storage, typed: str) -> None:
    """Prints the mean edges and what they predict, and draws the figure."""
    from analysis.figures.base import draw_one  # matplotlib takes a second to import

    table = read_measurements(sweep)
    for metric in EDGES:
        values = table.loc[table["metric"] == metric, "value"]
        print(f"{metric:<19} {values.mean():.3f} (pairs: {values.min():.3f} to {values.max():.3f})")
    for line in correlations_as_text(correlations(table)):
        print(line)
    with TemporaryDirectory(prefix="ray_ssl_") as scratch:
        paths = draw_one(FIGURE, table, Path(scratch))
        for path in paths:
            sweep.write(f"{FIGURES}/{path.name}", path.read_bytes())
            print(f"figure    {sweep.child(FIGURES).address(path.name)}")
    print(f"errors    {sweep.address(ERRORS)}")
    step = f"claims {typed}" if paths else f"{typed} --metrics transfer_pairs"
    print(f"next:\n  python -m analysis {step}")
