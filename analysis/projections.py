"""The table of projections: one row a point of a picture in the plane. `analysis.parts` says how it is stored.

Points are no measurements, so they stand beside them, in a folder of their own with parts named alike.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import pyarrow as pa

from analysis.metrics.base import Point
from analysis.parts import CHECKPOINT_FIELDS, Kind

PROJECTIONS: Final = "projections"
"""Folder of a sweep that holds the parts."""

SCHEMA: Final = pa.schema(
    [
        *CHECKPOINT_FIELDS,
        ("layer", pa.int32()),
        ("layer_name", pa.string()),
        ("level", pa.string()),
        ("label", pa.int32()),
        ("label_name", pa.string()),
        ("point", pa.int32()),
        ("x", pa.float32()),
        ("y", pa.float32()),
    ]
)
"""Columns of the table, besides `CHECKPOINT_FIELDS`:

    layer: Index of the layer from the input, 0 is the first that is measured.
    layer_name: Its name; the last layer of every network is "representation".
    level: Label level: "sample", "class" or "superclass"; "domains" has a label for each class of each domain.
    label: The picture's label at that level.
    label_name: The label's name, "" where it has none.
    point: Row of the picture among those measured; the same picture in all checkpoints and layers.
    x, y: Where it is. Each checkpoint, layer and level is projected by itself: no two share their coordinates.
"""

KEY: Final = ("sweep", "trial_key", "dataset", "epoch", "layer", "level", "point")
"""Columns that identify a point."""

KIND: Final = Kind(PROJECTIONS, SCHEMA, KEY, format="1")


class LayerPoint(NamedTuple):
    """One point and the layer it belongs to."""

    layer: int
    layer_name: str
    found: Point

    def as_row(self) -> dict[str, Any]:
        """Returns the columns of `SCHEMA` that it fills."""
        return {"layer": self.layer, "layer_name": self.layer_name, **self.found._asdict()}
