"""Figures: one file each, found by name; drawn from the table of measurements alone.

Each module has `TITLE`, a docstring that says what is shown and which published panel it corresponds to,
`numbers(table) -> pandas.DataFrame` with every plotted number (empty where the table lacks what is needed) and
`draw(table) -> Figure | None`. A table given to them holds one data set; `base.draw_all` takes any.
"""
