"""What figures look for that show self-supervised trials alone: a need that others meet is none that is met."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analysis.figures.base.numbers import LEARNED, LEVELS, REPRESENTATION, Frame, measured_split
from analysis.figures.base.targets import TEACHER, measured_randomness, self_supervised
from analysis.needs import Lacking, Measured, Need
from analysis.table import GRAPH


class Shown(NamedTuple):
    """A need, of the representation of self-supervised trials."""

    need: Need

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `analysis.needs.Need`."""
        found = self.need.lacking(_shown(table), sweep)
        of_others = found is not None and self.need.lacking(table, sweep) is None
        return found._replace(what=f"{found.what}, of self-supervised trials") if found and of_others else found


class Ratio(NamedTuple):
    """Two numbers of the representation of a self-supervised trial, both measured at the same epochs.

    Attributes:
        over, under: What is divided by what; of no level: both of the same one of the data's own.
        num_epochs: At so many at least.
        start: Epoch 0 among them.
    """

    over: Measured
    under: Measured
    num_epochs: int = 2
    start: bool = False

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `analysis.needs.Need`."""
        shown = _shown(table)
        over, under = (_rows(shown, one) for one in (self.over, self.under))
        same = ["trial_key", "epoch", "split", *(["level"] if not self.over.level else [])]
        both = over[same].merge(under[same], on=same)
        for _, one in both.groupby([name for name in same if name != "epoch"]):
            if one["epoch"].nunique() >= self.num_epochs and (not self.start or (one["epoch"] == 0).any()):
                return None
        start = ", epoch 0 among them" if self.start else ""
        what = f"needs {self.over.words} and {self.under.words} at the same {self.num_epochs} epochs of a trial{start}"
        return Lacking(what, " && ".join(dict.fromkeys(one.command(sweep) for one in (self.over, self.under))))


class Learned(NamedTuple):
    """Features that were learned on an exact graph, measured at so many steps."""

    num_steps: int = 1

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `analysis.needs.Need`."""
        rows = table[table["method"].isin(LEARNED)]
        if rows.empty:
            return Lacking(
                "needs features that are learned on the graph", "python sweeps/graph.py with the same images and views"
            )
        if rows.groupby("trial_key")["epoch"].nunique().max() < self.num_steps:
            return Lacking(f"needs {self.num_steps} measured steps of a training", "the sweep's command again")
        return None


class Labelled(NamedTuple):
    """Images with labels, of an exact graph."""

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `analysis.needs.Need`."""
        there = table.loc[table["method"] != GRAPH, "level"].isin(LEVELS).any()
        return None if there else Lacking("needs labels of the images, which have none")


class Graded(NamedTuple):
    """Targets of a teacher that differ in how random they are (see `targets.measured_randomness`)."""

    num_targets: int

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `analysis.needs.Need`."""
        known = measured_randomness(table[table["level"].str.startswith(TEACHER)])
        if len(known) >= self.num_targets:
            return None
        return Lacking(
            f"needs targets of {self.num_targets} degrees of randomness, those that were measured have {len(known)}",
            "a sweep on targets of a teacher with more --teacher-epochs",
        )


def _shown(table: Frame) -> Frame:
    return self_supervised(table[table["layer_name"] == REPRESENTATION])


def _rows(table: Frame, need: Measured) -> Frame:
    split = need.split or measured_split(table, need.metric)
    levels = [need.level] if need.level else list(LEVELS)
    rows = table[(table["metric"] == need.metric) & table["level"].isin(levels) & (table["split"] == split)]
    return rows[np.isfinite(rows["value"])]
