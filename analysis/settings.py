"""What changes the measured numbers, besides the checkpoint and the metric; its flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from analysis.tasks import (
    CLASS_GRAPH,
    DATA,
    DOMAINS,
    GRAPH,
    GROUPS,
    IMAGE_GRAPH,
    METRICS,
    SAMPLE,
    TARGETS,
    check_names,
    metric_and_group,
    metric_names,
)
from ray_ssl.errors import UserError, did_you_mean
from ray_ssl.plugins import plugin_module

if TYPE_CHECKING:
    from ray_ssl.targets import Targets


FP32: Final = "fp32"
PIXELS: Final = "pixels"
ALL_LAYERS: Final = "all"
PAIR: Final = {
    "mine_input": "mine: what the information is of: pixels, or the name of a layer",
    "mine_layer": "mine: which layer's information: its name, or all",
}


@dataclass(frozen=True)
class AnalysisSettings:
    """What changes the measured numbers, besides the checkpoint.

    Attributes:
        num_train_images: Training images measured at most; a class-balanced subset.
        num_test_images: Test images measured at most.
        num_samples: Random training images, each a class of its own at level "sample" (arXiv 2305.15614: 500); as many
            training and as many test images (or all there are) are those of the graphs of positive pairs.
        num_train_views: Augmented views of each that the classifiers learn from (there: 100).
        num_test_views: Fresh ones that are tested (there: 20).
        sample_seed: Which images and which views; the same for all checkpoints.
        targets: Hash of the targets of graded randomness; empty where there are none.
        mine_input: What mutual information is measured from: "pixels", or the name of a layer.
        mine_layer: With which layer: its name, or "all".
        class_graph, image_graph: Hash of the estimated graph of classes, of images; empty where it is not looked at.
        num_graph_images: Nodes of the latter.
        feature_precision: Arithmetic of the measured network: "fp32" or "bf16", whose features carry 8 bits.
    """

    num_train_images: int = 50_000
    num_test_images: int = 10_000
    num_samples: int = 500
    num_train_views: int = 100
    num_test_views: int = 20
    sample_seed: int = 0
    targets: str = ""
    mine_input: str = "pixels"
    mine_layer: str = "representation"
    class_graph: str = ""
    image_graph: str = ""
    num_graph_images: int = 0
    feature_precision: str = FP32

    def of(self, task: str) -> dict[str, Any]:
        """Returns what changes the numbers of one task, as plain JSON values."""
        metric, group = metric_and_group(task)
        module: Any = plugin_module(METRICS, metric)
        names = {
            DATA: ("num_train_images", "num_test_images"),
            SAMPLE: ("num_samples", "num_train_views", "num_test_views", "sample_seed"),
            TARGETS: ("num_train_images", "num_test_images", "targets"),
            DOMAINS: ("num_train_images", "num_test_images"),
            GRAPH: ("num_samples", "sample_seed"),
            CLASS_GRAPH: ("num_train_images", "num_test_images", "sample_seed", "class_graph"),
            IMAGE_GRAPH: ("num_graph_images", "num_test_views", "sample_seed", "image_graph"),
        }
        paired = PAIR if getattr(module, "NEEDS_INPUTS", False) else ()
        precision = ("feature_precision",) if self.feature_precision != FP32 else ()  # not named, it is fp32
        return {name: getattr(self, name) for name in (*names[group], *paired, *precision)} | getattr(
            module, "NUMBERS_FROM", {}
        )


def with_targets(settings: AnalysisSettings, targets: Targets | None, tasks: Sequence[str] = ()) -> AnalysisSettings:
    """Returns the settings with the hash of a sweep's targets, where it has any.

    Raises:
        UserError: There are none, and one of these tasks needs them.
    """
    if targets is not None:
        return replace(settings, targets=targets.hash)
    if any(metric_and_group(task)[1] == TARGETS for task in tasks):
        raise UserError(NO_TARGETS)
    return settings


NO_TARGETS: Final = (
    "this sweep has no targets of graded randomness: sweeps/randomness.py makes them, and python -m analysis SWEEP "
    "--targets FOLDER copies those of another sweep over the same images"
)

NO_ESTIMATE: Final = {
    group: f"this sweep has no estimated graph of groups {kind}: python -m analysis connectivity SWEEP --groups {kind}"
    for group, kind in ((CLASS_GRAPH, "class"), (IMAGE_GRAPH, "image"))
}
"""By group of label levels."""

NO_DOMAINS: Final = (
    "level domains needs images of a source and a target: give the sweep a --shift, or measure at other --levels"
)

IMAGE_NUMBERS: Final = {
    "num_train_images": "training images measured at most, class-balanced",
    "num_test_images": "test images measured at most, class-balanced",
}
SAMPLE_NUMBERS: Final = {
    "num_samples": "level sample: training images that are a class each; level graph: images of a graph",
    "num_train_views": "level sample: augmented views of each to learn from",
    "num_test_views": "level sample: augmented views of each to test on",
    "sample_seed": "level sample: seed of the images and views, the same for all checkpoints",
}
_LEAST: Final = {"sample_seed": 0, "num_samples": 2}


def add_task_flags(parser: argparse._ActionsContainer) -> None:
    """Adds `--metrics`, `--levels` and the sizes of level sample."""
    parser.add_argument(
        "--metrics", nargs="+", metavar="NAME",
        help=f"measure these: {', '.join(metric_names())}; or all (default: all but the expensive ones)",
    )  # fmt: skip
    levels = "; ".join(f"{name} ({what})" for name, what in GROUPS.items())
    parser.add_argument(
        "--levels",
        nargs="+",
        metavar="NAME",
        help=f"label levels to measure at: {levels}; or all (default: data; with a --shift: data domains; "
        "sweeps/randomness.py: data targets)",
    )
    add_numbers(parser, SAMPLE_NUMBERS)
    for name, text in PAIR.items():
        default = getattr(AnalysisSettings(), name)
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, default=default, metavar="NAME", help=f"{text} (default: {default})")

    parser.add_argument(
        "--feature-precision", choices=(FP32, "bf16"), default=FP32,
        help="arithmetic of the measured network; bf16 is faster where the hardware has it, and gives features of 8 "
        f"bits (default: {FP32})",
    )  # fmt: skip


def add_numbers(parser: argparse._ActionsContainer, numbers: dict[str, str]) -> None:
    """Adds a flag for each of these settings."""
    for name, text in numbers.items():
        default = getattr(AnalysisSettings(), name)
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=int, default=default, metavar="N", help=f"{text} (default: {default})")


def read_settings(flags: argparse.Namespace) -> AnalysisSettings:
    """Returns the settings; those without a flag have their default.

    Raises:
        UserError: No such metric or level, or a number out of range.
    """
    check_names(flags.metrics, flags.levels)
    given = {name: getattr(flags, name) for name in (*IMAGE_NUMBERS, *SAMPLE_NUMBERS) if name in flags}
    for name, value in given.items():
        if value < _LEAST.get(name, 1):
            raise UserError(f"--{name.replace('_', '-')} is at least {_LEAST.get(name, 1)}, given {value}")
    words = {name: getattr(flags, name) for name in (*PAIR, "feature_precision") if name in flags}
    return AnalysisSettings(**given, **words)


def check_pair(settings: AnalysisSettings, tasks: Sequence[str], layer_names: Sequence[str]) -> None:
    """Raises UserError where a task measures information of or with a layer that a network does not have."""
    if not any(getattr(plugin_module(METRICS, metric_and_group(task)[0]), "NEEDS_INPUTS", False) for task in tasks):
        return
    for flag, name, other in (
        ("--mine-input", settings.mine_input, PIXELS), ("--mine-layer", settings.mine_layer, ALL_LAYERS)
    ):  # fmt: skip
        if name not in (other, *layer_names):
            raise UserError(
                f"{flag} is {other} or the name of a layer, given {name!r}{did_you_mean(name, (other, *layer_names))}"
            )
    if settings.mine_input == settings.mine_layer:
        raise UserError(f"--mine-input and --mine-layer are two layers, given {settings.mine_input!r} for both")
