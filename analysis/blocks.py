"""Measures a checkpoint block by block: for image sets whose features outgrow one process.

A block is some images of one split. What is kept of it are the sums that metrics name (`sums.Statistic`), of every
layer and level; those of all blocks are merged, and the metrics are then measured of the merged sums by the same code
that measures whole features. Some sums need others over all images before (nearest class centres need the centres), so
there are up to two passes over the images, each with a forward pass of its own: no features are kept in between.

Features are bit-identical to those of the whole set, and merged sums equal those of the whole set but for the rounding
of float64. A process holds the features of one block, and the sums: a layer of D features with K labels has K x D
numbers a level, twice that with unit features, and D x D.

Only metrics that are functions of such sums can be measured so (`check_by_block`). A linear probe cannot: it reads all
features some ten to a hundred times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch

from analysis.features import FORWARD_BATCH_SIZE, LayerFeatures, extract
from analysis.images import POPULATIONS, MeasuredImages, pictures
from analysis.labels import LabelLevel
from analysis.measurable import label_levels
from analysis.measure import Rows, measure_layers
from analysis.sums import Mergeable, Split, Statistic, Sum
from analysis.tasks import METRICS, find_tasks, metric_and_group
from ray_ssl.backbones.base import Backbone
from ray_ssl.errors import UserError
from ray_ssl.plugins import plugin_module


class Block(NamedTuple):
    """Some images of one split.

    Attributes:
        group: First group of levels of their population.
        split: Theirs.
        start: Row of the first among all of the split.
        stop: Row behind the last.
    """

    group: str
    split: Split
    start: int
    stop: int


@dataclass
class LayerSums:
    """Sums over the images of one layer; a `sums.Layer` as soon as all blocks are merged."""

    values: dict[str, Mergeable] = field(default_factory=dict)

    def sums(self, statistic: Statistic[Sum], split: Split, level: LabelLevel | None = None) -> Sum:
        """See `sums.Layer`."""
        value: Any = self.values[_key(statistic, split, level)]
        return value

    def merge(self, other: LayerSums) -> None:
        """Takes up the sums over other images."""
        for key, value in other.values.items():
            self.values[key] = self.values[key].merge(value) if key in self.values else value


@dataclass
class NetworkSums:
    """Sums of every layer of one network, over images of one population.

    Attributes:
        names: Of the layers.
        layers: One each; layers that share their features share their sums.
    """

    names: tuple[str, ...]
    layers: list[LayerSums]

    def merge(self, other: NetworkSums) -> None:
        """Takes up the sums over other images."""
        done: set[int] = set()
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            if id(mine) not in done:
                mine.merge(theirs)
            done.add(id(mine))


Merged = dict[str, NetworkSums]
"""First group of each population -> the sums over all of its images, as far as they are known."""

Take = Callable[[list[Block], Merged], Iterable[NetworkSums]]
"""Blocks, and sums that are known before -> the sums of each block, in their order."""


def check_by_block(tasks: Sequence[str], images_per_block: int) -> None:
    """Raises UserError where the blocks are of no possible size, or a task cannot be measured by block."""
    if images_per_block < 0 or images_per_block % FORWARD_BATCH_SIZE:
        raise UserError(
            f"--images-per-block is 0 (all at once) or a multiple of {FORWARD_BATCH_SIZE}, given {images_per_block}"
        )
    others = [task for task in tasks if not _has_sums(task)]
    if images_per_block and others:
        able = " ".join(dict.fromkeys(metric_and_group(t)[0] for t in find_tasks(["all"], ["all"]) if _has_sums(t)))
        raise UserError(
            f"{', '.join(others)} cannot be measured by block, all features of a layer are needed at once: leave out "
            f"--images-per-block, or give --metrics of {able}"
        )


def measure_by_block(images: MeasuredImages, tasks: Sequence[str], images_per_block: int, take: Take) -> Rows:
    """Returns all measurements by task, as `measure.measure_backbone` does.

    Args:
        images: See `images.measured_images`.
        tasks: Those that `check_by_block` accepts.
        images_per_block: At most; a multiple of `FORWARD_BATCH_SIZE`.
        take: Takes the sums of blocks, by `sums_of_block`.
    """
    blocks = _blocks(images, tasks, images_per_block)
    merged: Merged = {}
    _merge(merged, blocks, take(blocks, {}))
    second = [block for block in blocks if any(s.after for s, _ in _wanted(images, tasks, block.group).values())]
    if second:
        # A pass sees what the one before it found, not what it finds itself.
        _merge(merged, second, take(second, dict(merged)))
    found: Rows = {}
    for task in tasks:
        metric, group = metric_and_group(task)
        sums = merged[_population(group)[0]]
        levels = label_levels(images.dataset, images.settings, group)
        found[task] = list(measure_layers(plugin_module(METRICS, metric), sums.names, sums.layers, levels))
    return found


@torch.no_grad()
def sums_of_block(
    backbone: Backbone,
    card: dict[str, Any],
    images: MeasuredImages,
    tasks: Sequence[str],
    block: Block,
    known: Merged,
    device: torch.device,
) -> NetworkSums:
    """Returns the sums that tasks need of one block.

    Args:
        backbone: In evaluation mode; it is moved to `device`.
        card: See `measure.measure_backbone`.
        images: See `images.measured_images`.
        tasks: See `analysis.tasks`.
        block: Which images.
        known: Empty in the first pass; in the second what the first found.
        device: Of the forward pass.
    """
    train, test = pictures(card, images, block.group)
    whole = train if block.split == "train" else test
    part, precision = replace(whole, first=block.start, last=block.stop), images.settings.feature_precision
    found = extract(backbone.to(device), part, card, device, precision)
    before = known[block.group].layers if known else [None] * len(found)
    wanted = _wanted(images, tasks, block.group).values()
    sums: dict[int, LayerSums] = {}  # layers that share their features are summed once
    for features, layer in zip(found, before, strict=True):
        if id(features) not in sums:
            none = features[:0]
            part = LayerFeatures(*((features, none) if block.split == "train" else (none, features)))
            sums[id(features)] = _layer_sums(part, block, len(whole), wanted, layer)
    return NetworkSums(tuple(backbone.layer_names), [sums[id(features)] for features in found])


def _layer_sums(
    part: LayerFeatures,
    block: Block,
    total: int,
    wanted: Iterable[tuple[Statistic, LabelLevel | None]],
    known: LayerSums | None,
) -> LayerSums:
    """The sums of this pass: those with `after` where something is known, else those without."""
    here, none = slice(block.start, block.stop), slice(0)
    found = LayerSums()
    for statistic, level in wanted:
        if block.split not in statistic.splits or bool(statistic.after) != (known is not None):
            continue
        rows = None if level is None else level.rows(*((here, none) if block.split == "train" else (none, here)))
        images = part.images(block.split, rows, block.start, total)

        found.values[_key(statistic, block.split, level)] = statistic.of(images, partial(_known, known, level))
    return found


def _known(layer: LayerSums | None, level: LabelLevel | None, statistic: Statistic[Sum], split: Split) -> Sum:
    assert layer is not None
    return layer.sums(statistic, split, level if statistic.labelled else None)


def _merge(merged: Merged, blocks: list[Block], found: Iterable[NetworkSums]) -> None:
    for block, sums in zip(blocks, found, strict=True):
        if block.group in merged:
            merged[block.group].merge(sums)
        else:
            merged[block.group] = sums


def _blocks(images: MeasuredImages, tasks: Sequence[str], images_per_block: int) -> list[Block]:
    groups = {metric_and_group(task)[1] for task in tasks}
    found = []
    for population in POPULATIONS:
        present = [group for group in population if group in groups]
        if present:
            level = label_levels(images.dataset, images.settings, present[0])[0]
            sizes: tuple[tuple[Split, int], ...] = (("train", len(level.train)), ("test", len(level.test)))
            found += [
                Block(population[0], split, start, min(start + images_per_block, size))
                for split, size in sizes
                for start in range(0, size, images_per_block)
            ]
    return found


def _wanted(
    images: MeasuredImages, tasks: Sequence[str], population: str
) -> dict[str, tuple[Statistic, LabelLevel | None]]:
    """The sums of a population by name and level, those that others need before among them."""
    found: dict[str, tuple[Statistic, LabelLevel | None]] = {}
    for task in tasks:
        metric, group = metric_and_group(task)
        if population not in _population(group):
            continue
        module: Any = plugin_module(METRICS, metric)
        levels = label_levels(images.dataset, images.settings, group)
        for statistic in [s for one in module.SUMS for s in (*one.after, one)]:
            for level in levels if statistic.labelled else [None]:
                found[f"{statistic.name} {level.name if level else ''}"] = statistic, level
    return found


def _population(group: str) -> tuple[str, ...]:
    return next(population for population in POPULATIONS if group in population)


def _has_sums(task: str) -> bool:
    return hasattr(plugin_module(METRICS, metric_and_group(task)[0]), "SUMS")


def _key(statistic: Statistic[Any], split: Split, level: LabelLevel | None) -> str:
    return f"{statistic.name} of {split} {level.name if level else ''}"
