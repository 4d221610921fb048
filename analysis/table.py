"""The one table of measurements: its schema, one row a number. `analysis.parts` says how it is stored."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import pandas as pd
import pyarrow as pa
from pyarrow import fs as pafs

from analysis.metrics.base import Measurement
from analysis.parts import CHECKPOINT_FIELDS, Kind
from analysis.parts import Checkpoint as Checkpoint
from analysis.parts import part_name as part_name
from ray_ssl.ledger import MEASUREMENTS as MEASUREMENTS

SCHEMA: Final = pa.schema(
    [
        *CHECKPOINT_FIELDS,
        ("layer", pa.int32()),
        ("layer_name", pa.string()),
        ("level", pa.string()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)
"""Columns of the table, besides `CHECKPOINT_FIELDS`:

    layer: Index of the layer from the input, 0 is the first that is measured; -1 for the curves of pretraining,
        -2 for what is measured of the images themselves. Figures and report number layers in this way too: RES-5-32
        has 0 stem, 1 block1 to 5 block5, and 6 representation, whose features are those of block5.
    layer_name: Its name; the last layer of every network is "representation"; "training" for those curves, "images".
    level: Label level: "sample", "class", "superclass" ...; "class:3-17" for two labels of one (see
        `analysis.class_pairs`); "none" where no label is looked at.
    split: "train" or "test": which images the value is measured on.
    metric: Name of a `MetricSpec`, which states range and direction.
    value: The measured number. Accuracies are fractions 0 .. 1, never percent; NaN where it is undefined.
"""

KEY: Final = ("sweep", "trial_key", "dataset", "epoch", "layer", "level", "split", "metric")
"""Columns that identify a measurement; of rows that agree in all of them one is kept."""

IMAGES: Final = "images"
IMAGES_LAYER: Final = -2

GRAPH: Final = "graph"
"""Method of what an exact graph of positive pairs looks like, which is no network: layer "images", epoch 0."""

FOREIGN: Final = "foreign"
"""Method of networks that were trained elsewhere."""

KIND: Final = Kind(MEASUREMENTS, SCHEMA, KEY, format="2")


class LayerMeasurement(NamedTuple):
    """One number and the layer it belongs to."""

    layer: int
    layer_name: str
    measurement: Measurement

    def as_row(self) -> dict[str, Any]:
        """Returns the columns of `SCHEMA` that it fills."""
        return {"layer": self.layer, "layer_name": self.layer_name, **self.measurement._asdict()}


def read_table(fs: pafs.FileSystem, folder: str) -> pd.DataFrame:
    """Returns all measurements in `folder`, columns as in `SCHEMA`, in the order of the part names; see `Kind.read`."""
    return KIND.read(fs, folder)
