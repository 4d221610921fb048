"""The sweep in a few numbers, on its own MLflow run: how good, how many trials ended how."""

from __future__ import annotations

import math
from typing import Any, Final

from analysis.curves import TRAINING
from analysis.finetuned_choice import ACCURACY, LP, RELATIVE_DISTANCE, TARGET, TEST, chosen, moved, newest
from analysis.graph.look import EIGENVALUE, PREFIX
from analysis.metrics.base import UNLABELLED
from analysis.table import IMAGES
from ray_ssl.ledger import Ledger, TrialState
from ray_ssl.mlflow_store import PARENT, now_ms
from ray_ssl.tracking import Tracker

HEADLINE: Final = "headline.json"
LEVELS: Final = ("class", "superclass")

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""


def publish_headline(tracker: Tracker, ledger: Ledger, measurements: Frame) -> None:
    """Logs the headline numbers on the sweep's run: one step for every time that they changed.

    The steps are kept beside the sweep, so that every MLflow server gets each of them once.
    """
    record = ledger.sweep.read_sealed(HEADLINE) or {"steps": []}
    values = headline(ledger, measurements)
    if not record["steps"] or record["steps"][-1]["values"] != values:
        record["steps"].append({"time_ms": now_ms(), "values": values})
        ledger.sweep.write_sealed(HEADLINE, record)
    series: dict[str, dict[int, float]] = {}
    for number, step in enumerate(record["steps"], start=1):
        for name, value in step["values"].items():
            series.setdefault(name, {})[number] = value
    for name, points in series.items():
        tracker.analysis_points(PARENT, name, points, record["steps"][-1]["time_ms"])


def headline(ledger: Ledger, measurements: Frame) -> dict[str, float]:
    """Returns the headline numbers.

    Args:
        measurements: See `analysis.table`.

    Returns:
        "linear_accuracy/LEVEL/best" and ".../mean" over the finished trials, 0..1: of the representation after the
        last epoch, on test images; absent where no trial has it. "trials/finished" (those that were stopped early
        count) and "trials/failed". Of a sweep on an exact graph "graph/NUMBER" and "graph/LEVEL/NUMBER", what that
        looks like (see `analysis.graph.look`), without its eigenvalues. Of fine-tuning "fine_tuning/PROTOCOL/test",
        ".../target" and ".../relative_feature_distance/IMAGES" for "lp", "ft" and "lp_ft", what validation images
        choose of each encoder's newest checkpoint, mean over encoders and seeds, with "frozen_BatchNorm/" before the
        protocol where that is so.
    """
    ended = fully_measured(ledger, measurements)
    states = [ledger.state(trial.key) for trial in ledger.all_trials()]
    rows: Frame = measurements[
        (measurements.metric == "linear_accuracy")
        & (measurements.split == "test")
        & (measurements.layer_name == "representation")
        & measurements.trial_key.isin(ended)
    ]
    values: dict[str, float] = {}
    for level in LEVELS:
        of_level: Frame = rows[rows.level == level].sort_values("epoch")
        last = [float(v) for v in of_level.groupby("trial_key").value.last() if math.isfinite(v)]
        if last:
            values[f"linear_accuracy/{level}/best"] = max(last)
            values[f"linear_accuracy/{level}/mean"] = sum(last) / len(last)
    values["trials/finished"] = float(sum(state in (TrialState.DONE, TrialState.STOPPED) for state in states))
    values["trials/failed"] = float(states.count(TrialState.FAILED))
    return values | _of_graph(measurements) | _of_fine_tuning(measurements[measurements.trial_key.isin(ended)])


def _of_fine_tuning(measurements: Frame) -> dict[str, float]:
    """What was chosen of fully measured trials."""
    if not (measurements.metric == ACCURACY).any():
        return {}
    choice: Frame = newest(chosen(measurements))
    tables = {"": choice, f"{RELATIVE_DISTANCE}/": moved(choice, measurements, RELATIVE_DISTANCE)}
    values = {}
    for kind, table in tables.items():
        for (setting, protocol), rows in table.groupby(["setting", "protocol"]):
            where = "/".join(filter(None, (setting.replace(", ", "_").replace(" ", "_"), protocol)))
            for images in (TEST, TARGET):
                value = rows[images].mean()
                if math.isfinite(value) and not (kind and protocol == LP):
                    values[f"fine_tuning/{where}/{kind}{images}"] = float(value)
    return values


def _of_graph(measurements: Frame) -> dict[str, float]:
    """What the graph looks like; of several in one table nothing."""
    rows: Frame = measurements[(measurements.layer_name == IMAGES) & measurements.metric.str.startswith(PREFIX)]
    if rows.trial_key.nunique() != 1:
        return {}
    return {
        f"graph/{f'{one.level}/' if one.level != UNLABELLED else ''}{one.metric.removeprefix(PREFIX)}": float(one.value)
        for one in rows.itertuples()
        if not one.metric.startswith(EIGENVALUE) and math.isfinite(one.value)
    }


def fully_measured(ledger: Ledger, measurements: Frame) -> list[str]:
    """Returns the keys of the finished trials whose last checkpoint is measured.

    What is logged of a trial's last checkpoint cannot be changed in MLflow, so it must not be that of an earlier one.
    """
    last: Frame = measurements[measurements.layer_name != TRAINING].groupby("trial_key").epoch.max()
    keys = []
    for trial in ledger.all_trials():
        state, epoch = ledger.state(trial.key), last.get(trial.key)
        if state is TrialState.STOPPED or (state is TrialState.DONE and epoch == trial.config.num_epochs):
            keys.append(trial.key)
    return keys
