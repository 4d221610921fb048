"""What figures of fine-tuning share: means over seeds with their interval, looks, and what their note says."""

from __future__ import annotations

import math
from typing import Final

import pandas as pd

from analysis.claims.base.interval import t_interval
from analysis.figures.base.networks import OKABE_ITO
from analysis.figures.base.numbers import Frame
from analysis.figures.base.sheet import Line
from analysis.finetuned_choice import FINE_TUNINGS, FT, LP, LP_FT, USUAL

LOOKS: Final = {
    LP: Line("LP, linear probe", OKABE_ITO[2], "solid", "^"),
    FT: Line("FT, fine-tuning", OKABE_ITO[3], "solid", "s"),
    LP_FT: Line("LP-FT, both in turn", OKABE_ITO[0], "solid", "o"),
}
SEEDS: Final = "seeds"
CHOSEN: Final = "learning rate and epoch chosen on validation images of the source"


def over_seeds(rows: Frame, by: list[str]) -> Frame:
    """Returns mean, half the width of its 95 % interval (`spread`, NaN of one seed), n and `over`, what the n are, for
    each `by`.

    Seeds are those of the pretraining where there are several, each the mean over its fine-tunings; else those of
    fine-tuning.

    Args:
        rows: With the columns pretrained_seed, seed and value (finite).
        by: Columns, `pretrained_seed` and `seed` not among them.
    """
    found = []
    for key, one in rows.groupby(by, sort=True):
        several = one["pretrained_seed"].nunique() > 1
        units = one.groupby("pretrained_seed" if several else "seed")["value"].mean().to_numpy(float)
        low, high = t_interval(units)
        spread = math.nan if math.isnan(low) else (high - low) / 2
        over = SEEDS if several or len(units) == 1 else FINE_TUNINGS
        about = dict(zip(by, key, strict=True))
        found.append({**about, "mean": units.mean(), "spread": spread, "n": len(units), "over": over})
    return pd.DataFrame(found, columns=[*by, "mean", "spread", "n", "over"])


def interval_note(found: Frame) -> str:
    """Returns what the bars are: "mean and 95% interval over 3 seeds", or "over 3 fine-tunings of one encoder".

    Args:
        found: With the column n, and `over` where it is not seeds (see `over_seeds`).
    """
    most, least = int(found["n"].max()), int(found["n"].min())
    if most == 1:
        return "one seed: no interval"
    kinds = set(found.loc[found["n"] > 1, "over"]) if "over" in found else {SEEDS}
    words = " or ".join(kind for kind in (SEEDS, FINE_TUNINGS) if kind in kinds)
    return f"mean and 95% interval over {most if most == least else f'up to {most}'} {words}"


def start_names(found: Frame, several_datasets: bool = False) -> Frame:
    """Returns what tells the rows' pretrained networks and settings apart, as a column of text."""
    settings = found["setting"].replace("", USUAL) if found["setting"].nunique() > 1 else found["setting"]
    names = found["network"] + settings.map(lambda text: f", {text}" if text else "")
    several_levels = found["level"].nunique() > 1
    names = names + (", " + found["level"] if several_levels else "")
    return names + (" on " + found["dataset"] if several_datasets else "")
