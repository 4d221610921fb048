"""Which layer has which number and name: those of the table, in every figure."""

from __future__ import annotations

from typing import NamedTuple

from analysis.figures.base.numbers import REPRESENTATION, Frame


class _Run(NamedTuple):
    """Layers of one kind that follow each other, such as block1 to block5, as they are named in a note."""

    kind: str
    first: str
    last: str


def layers_note(rows: Frame) -> str:
    """Returns the numbers and names: "layers: 0 stem, 1 block1 to 5 block5, 6 representation (as block5)".

    Args:
        rows: Numbers of a figure, with the columns network, layer, layer_name and mean.
    """
    each = {name: of.sort_values("layer", kind="stable") for name, of in rows.groupby("network")}
    runs = {tuple(_runs(of)): None for of in each.values()}
    several = sorted(runs, key=lambda one: [len(run.last) for run in one] + [run.last for run in one])
    if len({tuple(run.kind for run in one) for one in several}) > 1:
        return f"layers: 0 {rows.loc[rows['layer'] == 0, 'layer_name'].iloc[0]} to {REPRESENTATION}, see the CSV"
    words = []
    for same in zip(*several, strict=True):
        first, last = (_either([getattr(run, end) for run in same]) for end in ("first", "last"))
        words.append(first if all(run.first == run.last for run in same) else f"{first} to {last}")
    repeats = " (as the layer before it)" if all(map(_repeats, each.values())) else ""
    return f"layers: {', '.join(words)}{repeats}"


def _runs(of: Frame) -> list[_Run]:
    found: list[_Run] = []
    named = of[["layer", "layer_name"]].drop_duplicates()
    for layer, name in named.itertuples(index=False):
        kind, text = name.rstrip("0123456789."), f"{layer} {name}"
        if found and found[-1].kind == kind:
            found[-1] = found[-1]._replace(last=text)
        else:
            found.append(_Run(kind, text, text))
    return found


def _either(texts: list[str]) -> str:
    """ "2 block2 or 5 block5", "3 or 6 representation"; of many the first and the last."""
    texts = list(dict.fromkeys(texts))
    if len({text.partition(" ")[2] for text in texts}) == 1:
        texts = [*(text.partition(" ")[0] for text in texts[:-1]), texts[-1]]
    return " or ".join(texts) if len(texts) < 4 else f"{texts[0]} ... {texts[-1]}"


def _repeats(of: Frame) -> bool:
    """Whether a network's last layer has the numbers of the layer before it."""
    end = of["layer"].max()
    last, before = (of.loc[of["layer"] == layer, "mean"].tolist() for layer in (end, end - 1))
    return last == before
