"""Which learning rate and epoch of fine-tuning, chosen on validation images of the source, and what came of it.

    lp      the linear probe: epoch 0 of a trial that begins with the probe's head
    ft      fine-tuning with a fresh head
    lp_ft   fine-tuning that begins with the probe's head

Of the trials that differ in the learning rate alone, the one with the best validation accuracy at any epoch after its
start is taken, at that epoch; of equal ones the smallest rate and the earliest epoch. Target images choose nothing.
The start is left out as in the authors' code (arXiv 2202.10054): were it a candidate, LP-FT could be the linear probe
itself, and what compares the two would hold of nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any, Final, NamedTuple

import numpy as np

from analysis.claims.base.interval import t_interval
from analysis.finetuned_choice import ACCURACY, DISTANCE, RELATIVE_DISTANCE, VALIDATION
from ray_ssl.ledger import Trial

PROTOCOLS: Final = {"fresh": "ft", "probe": "lp_ft"}
PROBE: Final = "lp"

Values = Mapping[str, float]


class Case(NamedTuple):
    """What is compared: trials of one case differ in learning rate alone."""

    start: str
    protocol: str
    batch_norm: str
    seed: int


class Chosen(NamedTuple):
    """What was chosen for a case.

    Attributes:
        rate: Its option `learning_rate`; NaN for the linear probe.
        epoch: 0 for the linear probe.
        accuracy: By name of the images, 0..1.
        distance: Mean distance of the representation from its start, by name of the images.
        relative: The same relative to the spread of the start's, see `finetuned`.
    """

    case: Case
    rate: float
    epoch: int
    accuracy: Values
    distance: Values
    relative: Values


def choose(trials: Iterable[Trial], measurements: Any) -> list[Chosen]:
    """Returns what is chosen for every case whose trials are measured, sorted by case.

    Args:
        trials: Of a sweep of fine-tuning; others are left out.
        measurements: The sweep's table.
    """
    by_trial = _by_trial(measurements)
    best: dict[Case, tuple[tuple[float, float, int], Chosen]] = {}
    for trial in trials:
        method: Any = trial.config.method
        if not getattr(method, "start", "") or trial.key not in by_trial:
            continue
        for epoch, values in by_trial[trial.key].items():
            protocol = PROTOCOLS[method.head] if epoch else PROBE if method.head == "probe" else ""
            if not protocol:
                continue  # a fresh head before its first step
            # The probe is the same whatever trains after it, and has no seed.
            case = Case(method.start, protocol, method.batch_norm, trial.config.seed)
            case = case if epoch else case._replace(batch_norm="frozen", seed=0)
            rate = trial.config.optimiser.learning_rate if epoch else math.nan
            accuracy = values[ACCURACY]
            rank = (-accuracy[VALIDATION], trial.config.optimiser.learning_rate, epoch)
            if case not in best or rank < best[case][0]:
                chosen = Chosen(case, rate, epoch, accuracy, values[DISTANCE], values[RELATIVE_DISTANCE])
                best[case] = rank, chosen
    return [best[case][1] for case in sorted(best)]


def _by_trial(measurements: Any) -> dict[str, dict[int, dict[str, dict[str, float]]]]:
    """Trial key -> epoch -> metric -> name of the images -> value, of the representation."""
    rows = measurements[measurements.metric.isin([ACCURACY, DISTANCE, RELATIVE_DISTANCE])]
    rows = rows[rows.layer_name == "representation"]
    found: dict[str, dict[int, dict[str, dict[str, float]]]] = {}
    for row in rows.itertuples():
        found.setdefault(row.trial_key, {}).setdefault(row.epoch, {}).setdefault(row.metric, {})[row.split] = row.value
    return found


def lines(chosen: Sequence[Chosen]) -> list[str]:
    """Returns a table for people: accuracy and moved features of every start and protocol, over the seeds."""
    about = (
        "accuracies in %, mean ± half the 95 % interval over seeds; validation and test: images of the source; moved: "
        "mean distance of features from those of the start (over their spread there)"
    )
    groups: dict[tuple[str, str, str], list[Chosen]] = {}
    for one in chosen:
        groups.setdefault(one.case[:3], []).append(one)
    if not groups:
        return []
    names = list(chosen[0].accuracy)
    head = "  ".join(f"{name:>14}" for name in names)
    moved = "  ".join(f"{f'moved {name}':>14}" for name in names if name != VALIDATION)
    plain = Counter({start: start.partition("@")[0] for start, _, _ in groups}.values())
    shown = {
        start: name if plain[name := start.partition("@")[0]] == 1 else start[: len(name) + 5] for start, _, _ in groups
    }
    table = [about, f"{'start':28}  {'protocol':8}  {'BatchNorm':9}  seeds  {head}  {moved}"]
    for (start, protocol, norm), ones in groups.items():
        accuracies = "  ".join(_percent([one.accuracy[name] for one in ones]) for name in names)
        distances = "  ".join(_distances(ones, name) for name in names if name != VALIDATION)
        table.append(f"{shown[start]:28}  {protocol:8}  {norm:9}  {len(ones):5}  {accuracies}  {distances}")
    return table


def _distances(ones: Sequence[Chosen], images: str) -> str:
    """The mean distance, and in brackets that over the spread of the features."""
    distance, relative = mean(one.distance[images] for one in ones), mean(one.relative[images] for one in ones)
    return f"{f'{distance:.3g} ({relative:.2f})':>14}"


def _percent(values: Sequence[float]) -> str:
    """Mean and half the width of its 95 % interval, of fractions."""
    low, high = t_interval(np.asarray(values))
    half = "" if math.isnan(low) else f" ± {50 * (high - low):.1f}"
    return f"{f'{100 * mean(values):.1f}{half}':>14}"
