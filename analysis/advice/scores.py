"""Whether advice was right where accuracies in the target are known, against always choosing one; see `evidence`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Final, NamedTuple

from analysis.advice.rule import FT, LP, LP_FT, Advice
from analysis.claims.base.contract import AT_LEAST
from analysis.metrics.transfer import HEADS

FINE_TUNING, TRANSFER = "fine-tuning", "transfer"

ADVICE: Final = "this advice"
REPRESENTATION: Final = "representation"
FEWEST: Final = 3
"""Encoders that say something of others."""

_NO_CHECKPOINT: Final = "no one checkpoint is left to measure the domains of"
_WHAT: Final = {
    FINE_TUNING: "the whole advice, of LP, PFA, FT and LP-FT",
    TRANSFER: "the advice for a network that is not to be trained, LP or PFA of a layer: nothing is fine-tuned there",
}
"""Which advice is scored, by kind of evidence."""


class Case(NamedTuple):
    """A checkpoint of an encoder in a shift, and of fine-tuning with BatchNorm in training or frozen.

    Attributes:
        kind: `FINE_TUNING` or `TRANSFER`.
        name: Of the checkpoint, and of how it was fine-tuned where that is unusual.
        advised: Key of `accuracies` where that was measured; "" where nothing could be advised.
        accuracies: In the target, 0..1, by what was measured: "LP", "FT", "pfa2 of block3" ...
        encoder: Key of the pretraining that it is of, "" where each is of another.
        untrained: Whether the checkpoint is that of initialisation.
    """

    kind: str
    name: str
    advised: str
    accuracies: Mapping[str, float]
    encoder: str = ""
    untrained: bool = False

    @property
    def why_unscored(self) -> str:
        """What is missing to say whether the advice was right; "" where nothing is."""
        if not self.advised:
            return _NO_CHECKPOINT
        return "" if self.advised in self.accuracies else f"the table lacks what was advised, {self.advised}"

    def lost(self, option: str) -> float:
        """Returns how far an option is below the best, 0..1."""
        return max(self.accuracies.values()) - self.accuracies[option]


def option_of(advice: Advice, kind: str) -> str:
    """Returns the key of `Case.accuracies` of an advice; the LP of fine-tuning is its own, of the representation."""
    if advice.way in (FT, LP_FT) or (kind, advice.way, advice.layer) == (FINE_TUNING, LP, REPRESENTATION):
        return advice.way
    return f"{advice.head} of {advice.layer}"


def constants(kind: str) -> dict[str, str]:
    """Returns what one could always choose, by name: of the representation, an option of a case of this kind."""
    averages = {f"always PFA, t = {head[-1]}": f"{head} of {REPRESENTATION}" for head in HEADS[1:]}
    if kind == FINE_TUNING:
        return {f"always {way}": way for way in (LP, FT, LP_FT)} | averages
    return {f"always {LP}": f"{HEADS[0]} of {REPRESENTATION}"} | averages


class Better(NamedTuple):
    """A constant choice that lost less than the advice.

    Attributes:
        name: One of `constants`.
        option: What it chooses, a key of `Case.accuracies`.
        by: How much less it lost on average, 0..1.
        over: What says so, see `counted`.
        num_encoders: That say so.
    """

    name: str
    option: str
    by: float
    over: str
    num_encoders: int

    @property
    def doubt(self) -> str:
        """Why it tells nothing of other encoders, for people; "" where it does."""
        if self.num_encoders < FEWEST:
            return f"too few cases to tell, fewer than {FEWEST} encoders"
        return "" if self.by >= AT_LEAST else f"too close to tell, less than {100 * AT_LEAST:g} point"


def better(cases: Sequence[Case], kind: str, own: str = "") -> Better | None:
    """Returns the best constant choice of the cases of a kind, where it lost less than the advice.

    Args:
        cases: Of any kinds.
        kind: `FINE_TUNING` or `TRANSFER`.
        own: See `counted`.
    """
    mine = [case for case in cases if case.kind == kind and not case.why_unscored]
    means = _mean_losses(mine, constants(kind))
    least = min(means, key=lambda name: means[name], default="")
    ours = fmean(case.lost(case.advised) for case in mine) if mine else 0.0
    if not least or means[least] >= ours:
        return None
    return Better(least, constants(kind)[least], ours - means[least], counted(mine, own), num_encoders(mine))


def _mean_losses(cases: Sequence[Case], options: Mapping[str, str]) -> dict[str, float]:
    """Of the constant choices that were measured of all cases, by name."""
    there = {name: option for name, option in options.items() if all(option in case.accuracies for case in cases)}
    return {name: fmean(case.lost(option) for case in cases) for name, option in there.items()} if cases else {}


def num_encoders(cases: Sequence[Case]) -> int:
    """Returns how many encoders cases are of."""
    return len({case.encoder or number for number, case in enumerate(cases)})


def counted(cases: Sequence[Case], own: str = "") -> str:
    """Returns how many encoders cases are of, how many cases these are where they are more, and whether `own` is one.

    Args:
        cases: Of one kind.
        own: Key of the pretraining of the encoder that is advised on.
    """
    number = num_encoders(cases)
    of_cases = "" if number == len(cases) else f"{len(cases)} cases (checkpoint, shift, BatchNorm mode) of "
    one_is = "" if number == 1 else "one of them "
    itself = f", {one_is}the very encoder that is advised on," if own and own in {c.encoder for c in cases} else ""
    return f"{of_cases}{number} encoder(s){itself}"


def lines(cases: Sequence[Case], own: str = "") -> Iterator[str]:
    """Yields how often the advice was right and how much it lost, against always choosing one; in lines.

    Args:
        cases: The evidence.
        own: See `counted`.
    """
    for kind in (FINE_TUNING, TRANSFER):
        of_kind = [case for case in cases if case.kind == kind]
        if not of_kind:
            continue
        mine = [case for case in of_kind if not case.why_unscored]
        yield (f"evidence  {counted(mine, own)} of sweeps on {kind}; right: less than {100 * AT_LEAST:g} point below "
               "the best")  # fmt: skip
        yield f"          scored: {_WHAT[kind]}"
        if untrained := sum(case.untrained for case in mine):
            yield (f"          {untrained} of the cases are of untrained encoders, where a probe has little to keep: "
                   "LP-FT says little of others there")  # fmt: skip
        yield from _unscored(of_kind)
        if not mine:
            continue
        rows: dict[str, list[float]] = {ADVICE: [case.lost(case.advised) for case in mine]}
        for name, option in constants(kind).items():
            rows[name] = [case.lost(option) for case in mine if option in case.accuracies]
        for name, lost in rows.items():
            if not lost:
                continue
            right = sum(one < AT_LEAST for one in lost)
            yield (f"          {name:17} right {right} of {len(lost)} ({right / len(lost):.0%}), "
                   f"{100 * fmean(lost):.1f} points below the best")  # fmt: skip
        yield _against_constants(mine, kind)


def _unscored(cases: Sequence[Case]) -> Iterator[str]:
    """What the tables of a kind lack, in lines."""
    for why, number in sorted(Counter(case.why_unscored for case in cases if case.why_unscored).items()):
        yield f"          NOT SCORED {number} of {len(cases)}: {why}"


def _against_constants(cases: Sequence[Case], kind: str) -> str:
    """What the encoders of a kind say of the advice; a constant is compared that was measured of all of them."""
    if (best := better(cases, kind)) is not None:
        if best.doubt:
            return f"          there, {best.name!r} was better than this advice, but {best.doubt}"
        return f"          there, {best.name!r} would have been better than this advice"
    options = constants(kind)
    means = _mean_losses(cases, options)
    same = [name for name in means if all(case.advised == options[name] for case in cases)]
    if same:
        return f"          there, this advice was {same[0]!r}: that measuring beats that is not shown"
    if means:
        return "          there, this advice lost no more than the best constant choice"
    return "          no constant choice was measured of all of them"
