"""Metrics: one file each, found by name.

Each module has `SPECS`, the `base.MetricSpec` of everything it yields, and
`measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[base.Measurement]`.
`SUMS`, where a module has it, are the `sums.Statistic` of a layer that it looks at and nothing else: it can then be
measured block by block, of image sets whose features outgrow one process.
`ONE_LAYER_AT_A_TIME`, where a module has it, says that its layers are not to be measured in several threads.
One that puts pictures into the plane has `project`, with the same arguments `-> Iterator[base.Point]`, instead.
"""
