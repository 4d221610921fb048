"""What all figures share, and writing them to files. `numbers` computes, `panels` draws."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.base.numbers import networks_alone
from analysis.finetuned_choice import without_fine_tuned
from analysis.lacking import Unmeasured, first_lacking
from analysis.needs import Need
from ray_ssl.plugins import plugin_module, plugin_names

FIGURES: Final = "analysis.figures"

MEASUREMENTS: Final = "measurements"
PROJECTIONS: Final = "projections"
"""`TABLE` of a figure says which of the two tables it is drawn from; that of measurements where it says nothing."""


def draw_all(table: pd.DataFrame, folder: Path, projections: pd.DataFrame | None = None) -> list[Path]:
    """Writes every figure the tables have the numbers for, for each data set by itself.

    Args:
        table: As `analysis.table.read_table` returns it.
        folder: Where `NAME.png` (300 dpi), `NAME.svg` and `NAME.csv` (the plotted numbers; of some figures further
            ones beside it) are put; NAME ends with the data set where there are several.
        projections: As `analysis.stored.read_projections` returns it; None or empty: figures of it are left out.

    Returns:
        The paths written, in the order of the names.
    """
    return [path for name in plugin_names(FIGURES) for path in draw_one(name, table, folder, projections)]


def draw_one(name: str, table: pd.DataFrame, folder: Path, projections: pd.DataFrame | None = None) -> list[Path]:
    """Writes one figure as `draw_all` does; returns the paths, none where the table lacks its measurements."""
    folder.mkdir(parents=True, exist_ok=True)
    module = plugin_module(FIGURES, name)
    points = _shown(module, table.iloc[:0] if projections is None else projections)
    table = _shown(module, table)
    source = drawn_of(name, table, points)
    if getattr(module, "ACROSS_DATASETS", False):
        return _write(module, source, folder / name)
    datasets = sorted({str(of) for one in (table, points) for of in one["dataset"].unique()})
    written: list[Path] = []
    for dataset in datasets:
        rows = source[source["dataset"] == dataset]
        stem = folder / (name if len(datasets) == 1 else f"{name}-{_file_word(dataset)}")
        written += _write(module, rows, stem)
    return written


def drawn_of(name: str, table: pd.DataFrame, projections: pd.DataFrame) -> pd.DataFrame:
    """Returns the one of both tables that a figure is drawn from."""
    return projections if getattr(plugin_module(FIGURES, name), "TABLE", MEASUREMENTS) == PROJECTIONS else table


def _write(module: Any, rows: Any, stem: Path) -> list[Path]:
    """Draws some rows of a table; returns the paths written, none where these lack what is needed."""
    figure = None if rows.empty else module.draw(rows)
    if figure is None:
        return []
    more = module.more_numbers(rows) if hasattr(module, "more_numbers") else {}
    others = [_save_numbers(found, stem.with_name(f"{stem.name}_{word}")) for word, found in more.items()]
    return [*_save(figure, stem), _save_numbers(module.numbers(rows), stem), *others]


def why_not_drawn(
    name: str,
    table: pd.DataFrame,
    sweep: str,
    projections: pd.DataFrame | None = None,
    unmeasured: Collection[Unmeasured] = (),
    whole: tuple[pd.DataFrame, pd.DataFrame] | None = None,
) -> str:
    """Returns what a figure that is not drawn lacks, in one line.

    Args:
        name: Of the figure.
        table: What it is not drawn of.
        sweep: The sweep's folder, as it is to stand in a command.
        projections: As in `draw_all`.
        unmeasured: Trials of the sweep that the table does not have.
        whole: Both tables with all trials, where these are of chosen ones.
    """
    module = plugin_module(FIGURES, name)
    source = table if projections is None else drawn_of(name, table, projections)
    needs = _needs(module, table)
    if needs is None:
        return f"is {no_networks(sweep, whole is not None)}"
    shown = _shown(module, source)
    if shown.empty and not source.empty:
        return "leaves out fine-tuned networks, and there are no others: figure finetuning compares them"
    if whole is not None and (lacking := _lacks_by_choice(needs, shown, _shown(module, drawn_of(name, *whole)), sweep)):
        return lacking
    lacking = first_lacking(needs, shown, sweep, unmeasured)
    # Every figure says in its docstring where it returns None.
    return (
        str(lacking)
        if lacking
        else f"is not drawn {' '.join((module.draw.__doc__ or '').split()).partition('None ')[2].rstrip('.')}"
    )


def _lacks_by_choice(needs: Sequence[Need], chosen: pd.DataFrame, whole: pd.DataFrame, sweep: str) -> str | None:
    """What the trials that were chosen lack first, where others of the sweep have it."""
    for need in needs:
        if (lacking := need.lacking(chosen, sweep)) is not None:
            others_have = need.lacking(whole, sweep) is None
            return f"{lacking.what}: the trials chosen by --trials lack it, others have it" if others_have else None
    return None


def lacks(
    name: str,
    table: pd.DataFrame,
    sweep: str,
    unmeasured: Collection[Unmeasured] = (),
    projections: pd.DataFrame | None = None,
) -> str | None:
    """Returns what the tables of a sweep lack of what a figure needs, in one line; None where they lack nothing.

    Args:
        name: Of the figure.
        table: As in `draw_all`.
        sweep: See `why_not_drawn`.
        unmeasured: See `why_not_drawn`.
        projections: As in `draw_all`; None: `table` is what the figure is drawn from.
    """
    module = plugin_module(FIGURES, name)
    needs = _needs(module, table)
    if needs is None:
        return f"is {no_networks(sweep)}"
    source = table if projections is None else drawn_of(name, table, projections)
    found = first_lacking(needs, source, sweep, unmeasured)
    return None if found is None else str(found)


def is_of_networks(name: str, table: pd.DataFrame) -> bool:
    """Returns whether a table is of exact graphs alone, and the figure is not of any."""
    return _needs(plugin_module(FIGURES, name), table) is None


def no_networks(sweep: str, chosen: bool = False) -> str:
    """Returns why figures of networks are not drawn, in words; `chosen`: of some trials of the sweep."""
    return f"of networks, and {'--trials chose' if chosen else f'{sweep} holds'} an exact graph's features alone"


def _needs(module: Any, table: Any) -> Sequence[Need] | None:
    """What a figure needs of a table; None where that is of exact graphs alone and the figure is not of any."""
    of_graph = len(table) > 0 and "metric" in table and networks_alone(table).empty
    return getattr(module, "GRAPH_NEEDS", None) if of_graph else getattr(module, "NEEDS", ())


def _shown(module: Any, table: Any) -> Any:
    """The rows that a figure may show."""
    return table if getattr(module, "FINE_TUNED", False) or table.empty else without_fine_tuned(table)


def _save(figure: Figure, stem: Path) -> list[Path]:
    paths = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")]
    with matplotlib.rc_context({"svg.hashsalt": stem.name, "svg.fonttype": "path"}):
        figure.savefig(paths[0], dpi=300, metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
    return paths


def _save_numbers(found: pd.DataFrame, stem: Path) -> Path:
    path = stem.with_name(f"{stem.name}.csv")
    found.to_csv(path, index=False, lineterminator="\n")
    return path


def _file_word(dataset: str) -> str:
    """A data set's name as part of a file name; a shortened one carries a hash, so that no two are the same."""
    word = re.sub(r"[^0-9A-Za-z_]+", "_", dataset)[-40:]
    return word if word == dataset else f"{word}_{hashlib.sha256(dataset.encode()).hexdigest()[:6]}"
