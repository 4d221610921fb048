"""Puts the curves of pretraining into the table of measurements, so that whoever reads the table needs no MLflow."""

from __future__ import annotations

from typing import Any, Final

from analysis import table
from analysis.metrics.base import UNLABELLED, Measurement
from analysis.pipeline import MEASUREMENTS
from analysis.survey import columns
from ray_ssl.ledger import DONE, Ledger

TRAINING: Final = "training"
"""Task of these parts, and the layer's name of their rows."""

TRAINING_LAYER: Final = -1
"""Layer of their rows: they are of the whole network."""

CURVES: Final = ("loss", "invariance", "regularisation", "embedding_std", "embedding_rank")
"""What is taken: means over the steps of each epoch, and the health of the embeddings where it was looked at."""


def add_curves(ledger: Ledger, measurements: Any) -> bool:
    """Writes the curves of finished trials whose curves the table lacks; returns whether there were any.

    Args:
        measurements: The table as it is.
    """
    there = set(measurements.trial_key[measurements.layer == TRAINING_LAYER])
    dataset = dict(zip(measurements.trial_key, measurements.dataset, strict=True))
    added = False
    for trial in ledger.known_trials():
        record = ledger.record(trial.key, DONE)
        if record is None or trial.key in there or trial.key not in dataset:
            continue
        about = columns(trial.config, ledger.sweep.name, trial.key, dataset[trial.key], trial.config.training.epochs)
        values = []
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
