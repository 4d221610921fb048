"""Puts the curves of pretraining, and how many classes there are, into the table of measurements.

Whoever reads the table needs no MLflow, and knows the accuracy of guessing whichever metrics were measured.
"""

from __future__ import annotations

from typing import Any, Final

from analysis import table
from analysis.metrics import num_classes
from analysis.metrics.base import UNLABELLED, Measurement
from analysis.pipeline import MEASUREMENTS
from analysis.survey import columns
from ray_ssl.ledger import DATA, DONE, Ledger

TRAINING: Final = "training"
"""Task of these parts, and the layer's name of their rows."""

TRAINING_LAYER: Final = -1
"""Layer of their rows: they are of the whole network."""

CURVES: Final = ("loss", "invariance", "regularisation", "embedding_std", "embedding_rank")
"""What is taken of each epoch: means over its steps, and the health of the embeddings where it was looked at."""

NUM_CLASSES: Final = num_classes.SPECS[0].name


def add_curves(ledger: Ledger, measurements: Any) -> bool:
    """Writes the curves of finished trials whose curves the table lacks; returns whether there were any.

    Where the metric `num_classes` was not measured, what the sweep knows of its data stands with them.

    Args:
        measurements: The table as it is.
    """
    classes = [] if (measurements.metric == NUM_CLASSES).any() else _num_classes(ledger)
    there = set() if classes else set(measurements.trial_key[measurements.layer == TRAINING_LAYER])
    dataset = dict(zip(measurements.trial_key, measurements.dataset, strict=True))
    added = False
    for trial in ledger.known_trials():
        record = ledger.record(trial.key, DONE)
        if record is None or trial.key in there or trial.key not in dataset:
            continue
        about = columns(trial.config, ledger.sweep.name, trial.key, dataset[trial.key], trial.config.training.epochs)
        values = [about._asdict() | one.as_row() for one in classes]
        for epoch in record["history"]:
            at = about._replace(epoch=int(epoch["epoch"]))._asdict()
            for name in CURVES:
                if name in epoch:
                    found = Measurement(UNLABELLED, "train", name, float(epoch[name]))
                    values.append(at | table.LayerMeasurement(TRAINING_LAYER, TRAINING, found).as_row())
        sweep = ledger.sweep
        table.KIND.write(sweep.filesystem, sweep.path(MEASUREMENTS), about, TRAINING, values, {})
        added = True
    return added


def _num_classes(ledger: Ledger) -> list[table.LayerMeasurement]:
    card: dict[str, Any] = (ledger.sweep.read_sealed(DATA) or {}).get("card", {})
    counts = {"class": card.get("num_classes", 0), "superclass": card.get("num_superclasses", 0)}
    return [
        table.LayerMeasurement(TRAINING_LAYER, TRAINING, Measurement(level, "test", NUM_CLASSES, float(count)))
        for level, count in counts.items()
        if count
    ]
