"""Puts measurements on the trials' MLflow runs, few keys a run: curves of the last layer, profiles by layer."""

from __future__ import annotations

from typing import Any

from analysis.finetuned_choice import ACCURACY, DISTANCE, RELATIVE_DISTANCE, VALIDATION
from analysis.metrics import domain_distance, transfer, transfer_centred
from analysis.table import FOREIGN
from ray_ssl.tracking import Tracker

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

TRANSFER = tuple(spec.name for metric in (transfer, transfer_centred, domain_distance) for spec in metric.SPECS)
CURVES = ("linear_accuracy", "ncc_accuracy", "cdnv", "effective_rank", *TRANSFER)
PROFILES = ("linear_accuracy", "ncc_accuracy", "effective_rank")
REPRESENTATION = "representation"


def publish(tracker: Tracker, measurements: Frame) -> None:
    """Logs the test-split curves of the representation (step = epoch), those of the accuracy of a fine-tuned head on
    each of its splits and of how far the representation moved there, and the last checkpoint's layer profiles
    (step = layer). What a run has already is not logged again; the whole table is in the Parquet parts. Foreign
    encoders have no run.
    """
    measurements = measurements[measurements.method != FOREIGN]
    rows: Frame = measurements[(measurements.split == "test") | (measurements.level == "none")]
    for key, trial in rows.groupby("trial_key"):
        last: Frame = trial[trial.epoch == trial.epoch.max()]
        representation: Frame = trial[trial.layer_name == REPRESENTATION]
        for name, series in _series(representation, CURVES, "epoch"):
            tracker.analysis_points(str(key), f"analysis/{name}", series)
        for name, series in _series(last, PROFILES, "layer"):
            tracker.analysis_points(str(key), f"layers/{name}", series)
    heads: Frame = measurements[measurements.metric == ACCURACY]
    for (key, split), rows in heads.groupby(["trial_key", "split"]):
        tracker.analysis_points(str(key), f"analysis/{ACCURACY}/{split}", _by_step(rows, "epoch"))
    moved: Frame = measurements[
        measurements.metric.isin((DISTANCE, RELATIVE_DISTANCE))
        & (measurements.layer_name == REPRESENTATION)
        & (measurements.split != VALIDATION)
    ]
    for (key, metric, split), rows in moved.groupby(["trial_key", "metric", "split"]):
        tracker.analysis_points(str(key), f"analysis/{metric}/{split}", _by_step(rows, "epoch"))


def _series(rows: Frame, metrics: tuple[str, ...], step: str) -> list[tuple[str, dict[int, float]]]:
    found = []
    for (metric, level), group in rows[rows.metric.isin(metrics)].groupby(["metric", "level"]):
        name = str(metric) if level == "none" else f"{metric}/{level}"
        found.append((name, _by_step(group, step)))
    return found


def _by_step(rows: Frame, step: str) -> dict[int, float]:
    return {int(s): float(v) for s, v in zip(rows[step], rows.value, strict=True)}
