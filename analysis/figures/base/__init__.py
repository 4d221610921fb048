"""What all figures share, and writing them to files. `numbers` computes, `panels` draws."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from ray_ssl.plugins import plugin_module, plugin_names


def draw_all(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Writes every figure the table has the measurements for, for each data set by itself.

    Args:
        table: As `analysis.table.read_table` returns it.
        folder: Where `NAME.png` (300 dpi), `NAME.svg` and `NAME.csv` (the plotted numbers) are put; NAME ends with
            the data set where there are several.

    Returns:
        The paths written, in the order of the names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    datasets = sorted(table["dataset"].unique())
    written: list[Path] = []
    for name in plugin_names("analysis.figures"):
        module = plugin_module("analysis.figures", name)
        for dataset in datasets:
            rows = table[table["dataset"] == dataset]
            figure = module.draw(rows)
            if figure is not None:
                stem = folder / (name if len(datasets) == 1 else f"{name}-{_file_word(dataset)}")
                written += [*_save(figure, stem), _save_numbers(module.numbers(rows), stem)]
    return written


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
