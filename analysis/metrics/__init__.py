"""Metrics: one file each, found by name.

Each module has `SPECS`, the `base.MetricSpec` of everything it yields, and
`measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[base.Measurement]`.
One that puts pictures into the plane has `project`, with the same arguments `-> Iterator[base.Point]`, instead.
"""
