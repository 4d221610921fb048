"""Puts measurements on the trials' MLflow runs, few keys a run: curves of the last layer, profiles by layer."""

from __future__ import annotations

from typing import Any

from analysis.table import FOREIGN
from ray_ssl.tracking import Tracker

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

CURVES = ("linear_accuracy", "ncc_accuracy", "cdnv", "effective_rank")
PROFILES = ("linear_accuracy", "ncc_accuracy", "effective_rank")
REPRESENTATION = "representation"


def publish(tracker: Tracker, measurements: Frame) -> None:
    """Logs the test-split curves of the representation (step = epoch) and the last checkpoint's layer profiles
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


def _series(rows: Frame, metrics: tuple[str, ...], step: str) -> list[tuple[str, dict[int, float]]]:
    found = []
    for (metric, level), group in rows[rows.metric.isin(metrics)].groupby(["metric", "level"]):
        name = str(metric) if level == "none" else f"{metric}/{level}"
        found.append((name, {int(s): float(v) for s, v in zip(group[step], group.value, strict=True)}))
    return found
