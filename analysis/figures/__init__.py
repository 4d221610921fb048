"""Figures: one file each, found by name; drawn from a table alone, as a rule that of measurements.

Each module has `TITLE`, a docstring that says what is shown and which published panel it corresponds to,
`numbers(table) -> pandas.DataFrame` with every plotted number (empty where the table lacks what is needed) and
`draw(table) -> Figure | None`; `more_numbers(table)`, where it has that, gives further CSV files by name. With
`TABLE = "projections"` the table is that of projections (`analysis.projections`); `TOPIC` is the heading it stands
under in the report, where that is its own (`analysis.report.images`). A table given to them holds one data set, any
number with `ACROSS_DATASETS = True`; and fine-tuned trials with `FINE_TUNED = True` alone, since those of one network
differ in learning rates that no column holds. `NEEDS` is what it looks for in a table (`analysis.needs`), `GRAPH_NEEDS`
in one of exact graphs alone: a figure without it is not of any. `base.draw_all` takes any.
"""
