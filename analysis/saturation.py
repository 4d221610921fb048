"""Which measurements are at their ceiling: a metric NAME has one where the table has NAME_ceiling."""

from __future__ import annotations

from typing import Any, Final

SATURATED: Final = 0.95
"""Share of its ceiling from which an estimate says no more than that the information is at least so large."""

_CEILING: Final = "_ceiling"

SAME_CRITICS: Final = {"mi_nwj": "mi_dv"}
"""Bounds that are at their ceiling where another one of the same critics, never lower, is."""


class SaturatedWarning(RuntimeWarning):
    """An estimate is at its ceiling; `saturated_lines` says so of a whole table."""


def saturated_lines(table: Any) -> list[str]:
    """Returns a line for each metric that is at its ceiling somewhere in a table of measurements."""
    ceilings = sorted({name for name in table["metric"].unique() if name.endswith(_CEILING)})
    names = [ceiling.removesuffix(_CEILING) for ceiling in ceilings]
    rows = table[table["metric"].isin([*ceilings, *names])]
    wide = rows.pivot_table(index=["trial_key", "dataset", "epoch", "layer", "level"], columns="metric", values="value")
    lines = []
    for name, ceiling in zip(names, ceilings, strict=True):
        if name not in wide:
            continue
        there = wide[wide[name].notna() & wide[ceiling].notna()]
        other = SAME_CRITICS.get(name, "")
        highest = there[[name, *({other} & {*wide})]].max(axis=1)
        num_saturated = int((highest >= SATURATED * there[ceiling]).sum())
        if num_saturated:
            lines.append(
                f"saturated {name}: {num_saturated} of {len(there)} are within {1 - SATURATED:.0%} of their ceiling"
                f"{f', or {other} of the same critics is' if other else ''}: the information is at least so large, how "
                "much larger they do not say"
            )
    return lines
