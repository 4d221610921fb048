"""Metrics: one file each, found by name.

Each module has `SPECS`, the `base.MetricSpec` of everything it yields, and
`measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[base.Measurement]`.
"""
