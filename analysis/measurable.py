"""What the images and the networks of a sweep allow to be measured, and at which label levels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from analysis.labels import LabelLevel, data_levels, domain_levels, sample_level, target_levels
from analysis.settings import NO_DOMAINS, NO_ESTIMATE, NO_TARGETS, AnalysisSettings, check_pair
from analysis.tasks import (
    CLASS_GRAPH,
    DATA,
    DOMAINS,
    ESTIMATED,
    GRAPH,
    IMAGE_GRAPH,
    METRICS,
    SAMPLE,
    TARGETS,
    metric_and_group,
    metric_names,
)
from ray_ssl.backbones.base import build_backbone
from ray_ssl.config import PretrainConfig
from ray_ssl.data.base import UNLABELLED, Dataset, balanced_rows, missing_labels
from ray_ssl.errors import UserError
from ray_ssl.plugins import plugin_module


def check_measurable(dataset: Dataset, settings: AnalysisSettings, tasks: Sequence[str]) -> None:
    """Raises UserError where the images do not have what one of the tasks needs; see `unmeasurable`."""
    for reason in unmeasurable(dataset, settings, tasks).values():
        raise UserError(reason)


def measurable(dataset: Dataset, settings: AnalysisSettings, tasks: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the tasks that the images allow, and why not the others, a line each reason.

    Raises:
        UserError: They allow none.
    """
    refused = unmeasurable(dataset, settings, tasks)
    reasons = list(dict.fromkeys(refused.values()))
    if len(refused) == len(tasks):
        raise UserError(reasons[0])
    return [task for task in tasks if task not in refused], reasons


def unmeasurable(dataset: Dataset, settings: AnalysisSettings, tasks: Sequence[str]) -> dict[str, str]:
    """Returns the tasks that need what the images do not have, each with a line that says what."""
    lacking: dict[str, str] = {}
    num_classes = len(dataset.train.fine_names)
    if settings.num_train_images < num_classes <= len(dataset.train):
        lacking[DATA] = lacking[DOMAINS] = (
            f"--num-train-images {settings.num_train_images} is less than one image of each of the {num_classes} "
            f"classes of {dataset.name}: give {num_classes} or more"
        )
    lacking |= {group: NO_ESTIMATE[group] for group in ESTIMATED if not getattr(settings, group)}
    for group in (SAMPLE, GRAPH):
        if settings.num_samples > len(dataset.train):
            lacking[group] = (
                f"level {group} takes {settings.num_samples} training images, {dataset.name} has "
                f"{len(dataset.train)}: give --num-samples {len(dataset.train)} or fewer"
            )
    if not dataset.train.targets:
        lacking[TARGETS] = NO_TARGETS
    if dataset.train.domain is None:
        lacking[DOMAINS] = NO_DOMAINS
    missing = missing_labels(dataset, "train", "test")
    measured: Dataset | None = None
    found: dict[str, str] = {}
    for task in tasks:
        metric, group = metric_and_group(task)
        check: Any = getattr(plugin_module(METRICS, metric), "check_levels", None)
        if group in lacking:
            found[task] = lacking[group]
        elif group == DOMAINS and missing and not _needs_no_labels(metric):
            able = " ".join(name for name in metric_names() if _needs_no_labels(name))
            found[task] = (
                f"{metric} of level domains asks for labels of the target, and {missing}: give a target with labels, "
                f"in class folders or a label column, or other --metrics; {able} measure what needs none"
            )
        elif check is not None:
            measured = measured if measured is not None else _labels_measured(dataset, settings)
            try:
                check(label_levels(measured, settings, group))
            except UserError as error:
                found[task] = str(error)
    return found


def not_measured(dataset: Dataset, tasks: Sequence[str]) -> str:
    """Returns what tasks leave out where images of the target have no label, in one line; "" where it is nothing."""
    missing = missing_labels(dataset, "train", "test")
    if not missing or not any(metric_and_group(task)[1] in (DATA, DOMAINS) for task in tasks):
        return ""
    return (
        f"{missing}: accuracy in the target and distances within a class are not measured, and what asks for class "
        "labels is measured on the images that have one"
    )


def _needs_no_labels(metric: str) -> bool:
    return getattr(plugin_module(METRICS, metric), "WITHOUT_TARGET_LABELS", False)


def check_layers(configs: Iterable[PretrainConfig], settings: AnalysisSettings, tasks: Sequence[str]) -> None:
    """Raises UserError where a trial's network lacks a layer that a task is to measure; see `check_pair`."""
    if (settings.mine_input, settings.mine_layer) == (AnalysisSettings.mine_input, AnalysisSettings.mine_layer):
        return
    for backbone, size in {(config.backbone, config.data.image_size) for config in configs}:
        with torch.device("meta"):  # only its layers' names are wanted
            check_pair(settings, tasks, build_backbone(backbone, size).layer_names)


def label_levels(dataset: Dataset, settings: AnalysisSettings, group: str) -> list[LabelLevel]:
    """Returns the label levels of a group, of the measured images."""
    if group == GRAPH:
        return []
    if group == SAMPLE:
        return [sample_level(settings.num_samples, settings.num_train_views, settings.num_test_views)]
    if group == IMAGE_GRAPH:
        return [sample_level(settings.num_graph_images, settings.num_test_views, settings.num_test_views)]
    if group == CLASS_GRAPH:
        return data_levels(dataset)[:1]
    return {DATA: data_levels, TARGETS: target_levels, DOMAINS: domain_levels}[group](dataset)


def labelled(dataset: Dataset) -> Dataset:
    """Returns the images with a label; those of a target may have none."""
    if not missing_labels(dataset, "train", "test"):
        return dataset
    train, test = (x.narrowed(np.flatnonzero(x.fine != UNLABELLED)) for x in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test)


def _labels_measured(dataset: Dataset, settings: AnalysisSettings) -> Dataset:
    """The images that are measured, for who looks at the labels alone: streamed ones are not decoded."""
    dataset = labelled(dataset)
    counts = (settings.num_train_images, settings.num_test_images)
    splits = zip((dataset.train, dataset.test), counts, strict=True)
    train, test = (x.narrowed(balanced_rows(x.strata, min(len(x), count), seed=0)) for x, count in splits)
    return replace(dataset, train=train, test=test)
