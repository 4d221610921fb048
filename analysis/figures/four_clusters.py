"""UMAP of the representation before and late in training: two classes in source and target, a column for each method.

The picture of arXiv 2204.02683: four clusters. Where a class of the source lies on the side of the same class of the
target, a linear head that learned in the source transfers, however far apart the domains are. Of each method the
deepest and widest network with the first seed is shown; the rows of other trials, given alone, draw those. Methods that
start from the same network share the panel of its start.
"""

from __future__ import annotations

from typing import Final

from matplotlib.figure import Figure

from analysis.figures.base import PROJECTIONS
from analysis.figures.base.networks import OKABE_ITO
from analysis.figures.base.numbers import REPRESENTATION, Frame, evenly
from analysis.figures.base.points import ALONE, MAX_SHOWN, PanelRow, candidates, draw_points, points_of, subsample
from analysis.figures.base.sheet import Line, Words
from analysis.needs import Projected
from analysis.tasks import DOMAINS

TITLE = "UMAP of two classes in source and target, first and last projected epoch"
TOPIC = "Source and target"
TABLE: Final = PROJECTIONS
NEEDS: Final = (Projected(DOMAINS, num_epochs=2),)


def numbers(table: Frame) -> Frame:
    """Returns the points of the representation at the first and the last epoch of one network a method.

    Of more than 6 methods some are taken, evenly in alphabetical order.
    """
    first = candidates(table, [DOMAINS], 2).drop_duplicates("method")
    shown = evenly(sorted(first["method"]), MAX_SHOWN)
    found = points_of(table, [DOMAINS], first[first["method"].isin(shown)])
    found = found[found["layer_name"] == REPRESENTATION]
    epochs = found.groupby("trial_key")["epoch"]
    found = found[found["epoch"].eq(epochs.transform("min")) | found["epoch"].eq(epochs.transform("max"))]
    return found.sort_values(["method", "epoch", "point"]).reset_index(drop=True)


def draw(table: Frame) -> Figure | None:
    """Draws the figure; None where no network was projected at two epochs."""
    found = numbers(table)
    if found.empty:
        return None
    looks = _looks(found)
    titles, ends = list[str](), (list[Frame](), list[Frame]())
    for method, rows in found.groupby("method"):
        titles.append(str(method))
        first, last = rows["epoch"].min(), rows["epoch"].max()
        for panels, epoch in zip(ends, (first, last), strict=True):
            panels.append(rows[rows["epoch"] == epoch])
    untrained = all((panel["epoch"] == 0).all() for panel in ends[0])
    names = ("before training" if untrained else "first projected", "last projected")
    starts = _distinct(ends[0], titles)
    rows = [
        PanelRow(_name(names[0], ends[0]), [points for points, _ in starts], looks, titles=[who for _, who in starts]),
        PanelRow(_name(names[1], ends[1]), ends[1], looks, titles=titles),
    ]
    key = list(looks.values())
    missing = sorted(set(table["method"]) - set(titles))
    fewer = f"; {len(titles)} of {len(titles) + len(missing)} methods, without {', '.join(missing)}" if missing else ""
    note = f"{_who(found)}; {subsample(found)}; {ALONE}{fewer}."
    return draw_points(rows, titles, Words(TITLE, note, ""), key, widest=1.95)


def _distinct(panels: list[Frame], methods: list[str]) -> list[tuple[Frame | None, str]]:
    """The panels with the names of the methods that each is of, which may start from one network; None for others."""
    keys = [panel[["label", "point", "x", "y"]].to_numpy(float).tobytes() for panel in panels]
    found = list[tuple[Frame | None, str]]()
    for key, panel in zip(keys, panels, strict=True):
        same = [method for other, method in zip(keys, methods, strict=True) if other == key]
        who = "all methods" if len(same) == len(methods) > 1 else ", ".join(same)
        found.append((None, "") if key in keys[: len(found)] else (panel, who))
    return found


def _looks(found: Frame) -> dict[int, Line]:
    """Colour tells the class, the marker the domain; labels are 2 * class + domain."""
    shown = found[["label", "label_name"]].drop_duplicates("label").sort_values("label")
    classes = sorted({label // 2 for label in shown["label"]})
    return {
        label: Line(name, OKABE_ITO[3 * classes.index(label // 2)], "", "^" if label % 2 else "o", hollow=label % 2 > 0)
        for label, name in shown.itertuples(index=False)
    }


def _name(name: str, panels: list[Frame]) -> str:
    """With the epoch, where all methods have the same."""
    epochs = {epoch for rows in panels for epoch in rows["epoch"].unique()}
    return f"{name}\n(epoch {epochs.pop()})" if len(epochs) == 1 else name


def _who(found: Frame) -> str:
    """What the shown trials share."""
    words = [f"{name} {found[name].iloc[0]}" for name in ("depth", "width", "seed")
             if found[name].nunique() == 1 and (name == "seed" or found[name].iloc[0] > 0)]  # fmt: skip
    return " on ".join(filter(None, (", ".join(words), found["dataset"].iloc[0])))
