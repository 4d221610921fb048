"""The measurements that the report's chart can show, as compact JSON inside the page.

Of every network, metric, level and split there is one block: its epochs by its layers, row by row. Names, epochs and
layers are written once each and referred to by position. Values have five significant digits; those that are not
finite are null.
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np

from analysis.class_pairs import PAIR_MARK
from analysis.curves import TRAINING_LAYER
from analysis.figures.base.numbers import Frame, evenly
from analysis.report.opening import first_choice, ranked

MAX_VALUES: Final = 400_000
"""Values in a page, about 3 MB."""

MAX_CURVE_EPOCHS: Final = 200
"""Epochs of a trial's training curves in a page, evenly over all."""

_MIN_EPOCHS: Final = 4
_TRIAL: Final = ["dataset", "trial_key"]
_BLOCK: Final = [*_TRIAL, "metric", "level", "split"]

RULE: Final = (
    f"A page holds at most {MAX_VALUES:,} values, training curves at {MAX_CURVE_EPOCHS} epochs each. Where there are "
    "more, every network keeps its first, its last and some epochs evenly between; where that is not enough, networks "
    "are left out, evenly over their order. Pairs of classes are left out. The table has them all."
)


def payload(table: Frame) -> dict[str, Any]:
    """Returns what the chart reads, as plain JSON values.

    Args:
        table: As `results.with_networks` returns it.
    """
    rows = _fitting(table)
    names: dict[str, list[Any]] = {}
    codes = {column: _coded(rows[column], names, column) for column in ("metric", "level", "split")}
    trials = rows[[*_TRIAL, "network", "method", "seed"]].drop_duplicates(_TRIAL)
    sets: dict[str, dict[tuple[Any, ...], int]] = {"epochs": {}, "layers": {}}
    number = {key: i for i, key in enumerate(zip(trials["dataset"], trials["trial_key"], strict=True))}
    owner = [number[key] for key in zip(rows["dataset"], rows["trial_key"], strict=True)]
    one_of: dict[tuple[str, str], int] = {}  # trial of each network
    for i, network in enumerate(zip(trials["dataset"], trials["network"], strict=True)):
        one_of.setdefault(network, i)
    first = first_choice(names["metrics"], names["splits"])
    columns = np.array([owner, *codes.values()], int).T.reshape(len(rows), 4)
    return {
        "trials": [
            {"key": key, "network": network, "method": method, "seed": int(seed), "dataset": dataset}
            for dataset, key, network, method, seed in trials.itertuples(index=False, name=None)
        ],
        **names,
        "first": first,
        "ranked": [one_of[network] for network in ranked(rows, first)],
        "blocks": _blocks(rows, columns, sets),
        **{name: [list(items) for items in found] for name, found in sets.items()},
        "total": len(table),
        "shown": len(rows),
        "rule": RULE,
    }


def to_script(values: dict[str, Any]) -> str:
    """Returns JSON that can stand inside a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _coded(column: Frame, names: dict[str, list[Any]], name: str) -> Frame:
    codes, found = column.factorize(sort=True)
    names[f"{name}s"] = [str(one) for one in found]
    return codes


def _blocks(rows: Frame, columns: np.ndarray, sets: dict[str, dict[tuple[Any, ...], int]]) -> list[list[Any]]:
    """[trial, metric, level, split, epochs, layers, values] of each block, all but the values by position.

    Args:
        rows: Each measurement once.
        columns: [N, 4] positions of trial, metric, level and split.
        sets: The distinct lists of epochs and of layers; added to.
    """
    epochs, layers, values = (rows[name].to_numpy() for name in ("epoch", "layer", "value"))
    names = rows["layer_name"].to_numpy()
    order = np.lexsort([layers, epochs, *columns.T[::-1]])
    starts = np.flatnonzero(np.any(np.diff(columns[order], axis=0, prepend=-1) != 0, axis=1))
    found = []
    for at in np.split(order, starts[1:]) if len(order) else []:
        its_epochs, row = np.unique(epochs[at], return_inverse=True)
        its_layers, first, column = np.unique(layers[at], return_index=True, return_inverse=True)
        matrix = np.full((len(its_epochs), len(its_layers)), np.nan)
        matrix[row, column] = values[at]
        titles = tuple((int(i), str(names[at[j]])) for i, j in zip(its_layers, first, strict=True))
        position = [_position(sets["epochs"], tuple(map(int, its_epochs))), _position(sets["layers"], titles)]
        found.append([*map(int, columns[at[0]]), *position, _rounded(matrix.ravel())])
    return found


def _position(known: dict[tuple[Any, ...], int], items: tuple[Any, ...]) -> int:
    return known.setdefault(items, len(known))


def _rounded(values: np.ndarray) -> list[float | int | None]:
    """Values of five significant digits; whole ones as integers, which are shorter."""
    found: list[float | int | None] = []
    for value in values.tolist():
        short = float(f"{value:.5g}") if np.isfinite(value) else None
        found.append(int(short) if short is not None and short.is_integer() and abs(short) < 1e15 else short)
    return found


def _fitting(table: Frame) -> Frame:
    """The rows that a page holds, by the rule that it states; each measurement once."""
    rows = table[~table["level"].str.contains(PAIR_MARK)]
    rows = rows.drop_duplicates([*_BLOCK, "epoch", "layer"], keep="last")
    curves = rows["layer"] == TRAINING_LAYER
    rows = rows[~curves | _kept_epochs(rows[curves], MAX_CURVE_EPOCHS).reindex(rows.index, fill_value=False)]
    most = int(rows.groupby(_TRIAL)["epoch"].nunique().max()) if len(rows) else 0
    while len(rows) > MAX_VALUES and most > _MIN_EPOCHS:
        most = max(_MIN_EPOCHS, min(most - 1, most * MAX_VALUES // len(rows)))
        rows = rows[_kept_epochs(rows, most)]
    if len(rows) > MAX_VALUES:
        sizes = rows.groupby(_TRIAL, sort=False).size()
        kept = evenly(list(sizes.index), max(1, len(sizes) * MAX_VALUES // len(rows)))
        rows = rows[rows.set_index(_TRIAL).index.isin(kept)]
    return rows


def _kept_epochs(rows: Frame, most: int) -> Frame:
    """Whether a row's epoch is among the first, the last and some evenly between, of its trial."""
    if rows.empty:
        return rows["epoch"].astype(bool)
    kept = rows.groupby(_TRIAL)["epoch"].transform(lambda e: e.isin(evenly(sorted(e.unique()), most)))
    return kept.astype(bool)
