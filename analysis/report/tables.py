"""The tables of numbers in the report: claims, and results by network and label level."""

from __future__ import annotations

import math
from typing import Any, Final

from analysis.figures.base.numbers import Frame
from analysis.report import markup
from analysis.report.results import METRICS, Estimate, results

_NUMBERS: Final = ("estimate", "low", "high", "n")
_FIRST: Final = ("statement", "verdict", "estimate", "low", "high", "n", "statistic")
_PLUS_MINUS: Final = "\N{PLUS-MINUS SIGN}"


def claims_table(claims: Frame | None) -> str:
    """Returns the claims, one a row; "" where none was checked.

    Args:
        claims: See `analysis.claims.check`; columns beyond those that every claim has are shown too.
    """
    if claims is None or claims.empty:
        return ""
    columns = [name for name in _FIRST if name in claims] + [name for name in claims if name not in _FIRST]
    rows = [[_claim_cell(name, value) for name, value in zip(columns, row, strict=True)]
            for row in claims[columns].itertuples(index=False, name=None)]  # fmt: skip
    caption = "What the measurements say of each claim. low and high: bounds of the estimate."
    right = [i for i, name in enumerate(columns) if name in _NUMBERS]
    return markup.table([name.replace("_", " ") for name in columns], rows, caption, right)


def _claim_cell(column: str, value: Any) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "\N{EN DASH}"
    if isinstance(value, float):
        return f"{value:.4g}"
    shown = markup.text("" if value is None else value)
    return f'<span class="verdict">{shown}</span>' if column == "verdict" else shown


def results_table(measurements: Frame) -> str:
    """Returns test accuracies after the last epoch, one network and level a row; "" where there are none.

    Args:
        measurements: With networks' names.
    """
    found = results(measurements)
    if not found:
        return ""
    several = len({row.dataset for row in found}) > 1
    metrics = [name for name in METRICS if any(name in row.best for row in found)]
    head = ["network", *(["images"] if several else []), "level", "epoch"]
    for name in metrics:
        head += [f"{METRICS[name]}, representation", f"{METRICS[name]}, best layer", "which"]
    head.append("seeds")
    rows = []
    for row in found:
        cells = [markup.text(row.network), *([markup.text(row.dataset)] if several else []),
                 markup.text(row.level), str(row.epoch)]  # fmt: skip
        for name in metrics:
            layer, best = row.best.get(name, ("", None))
            cells += [_percent(row.representation.get(name)), _percent(best), markup.text(layer)]
        counts = {e.n for e in (*row.representation.values(), *(e for _, e in row.best.values()))}
        rows.append([*cells, " to ".join(map(str, sorted({min(counts), max(counts)})))])
    caption = (
        f"Test accuracy in per cent after the last measured epoch, mean {_PLUS_MINUS} half the 95 % confidence "
        "interval over seeds (Student's t; one seed has none). NCC: nearest class centre. The best layer is chosen by "
        "the same mean, so its number is a little too good."
    )
    names = ("network", "images", "level", "which")
    return markup.table(head, rows, caption, [i for i, title in enumerate(head) if title not in names])


def _percent(estimate: Estimate | None) -> str:
    if estimate is None:
        return "\N{EN DASH}"
    interval = "" if math.isnan(estimate.half_width) else f" {_PLUS_MINUS} {100 * estimate.half_width:.1f}"
    return f"{100 * estimate.mean:.1f}{interval}"
