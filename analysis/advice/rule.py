"""What follows from the facts: a layer, and LP, PFA, FT or LP-FT. A few thresholds, no fit: none was tuned on results.

With the skill of an accuracy its way from chance (0) to 1 (1), that of a linear probe of the representation on
validation images of the source tells how good the features are:

    1. skill at most `POOR`          FT: there is little in the features that fine-tuning could distort
    2. skill of `SATURATED` or more  a head on frozen features: there is little that fine-tuning could gain
    3. else                          LP-FT: fine-tuning gains in the source, the probe before it keeps features

Of arXiv 2202.10054: fine-tuning with a fresh head moves features of the source and hardly those of the target, so that
where features are good and the shift is large it does worse there than a linear probe; that needs both. LP-FT, whose
head fits before features can move, is on average better than either in both domains. So the size of the shift decides
between LP and FT alone, not against LP-FT, and here it decides nothing: it is printed, as the part of the skill that is
expected to be lost in the target.

Ours: to measure "good" by skill, both thresholds, rule 2 (a probe that is right leaves LP-FT no gradient: it would cost
training and change little), and LP before FT for features that are not poor, where there is no LP-FT.

A head on frozen features is LP, or PFA where that is expected to be `GAIN` better in the target and is at most `SLACK`
worse on validation images. Its layer is the deepest of those where it is at most `SLACK` worse than its best on
validation images, or the one of them where it is expected to be best in the target, where that is `GAIN` better there:
what is expected is too rough an estimate to follow for less. Fine-tuning is of the whole network, with its head on the
representation. PFA is of arXiv 2204.02683; how it is chosen is ours.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from analysis.advice.facts import LOGISTIC, LayerFacts

LP, PFA, FT, LP_FT = "LP", "PFA", "FT", "LP-FT"
WAYS: Final = (LP, PFA, FT, LP_FT)

POOR: Final = 0.1
SATURATED: Final = 0.9
GAIN: Final = 0.02
SLACK: Final = 0.02


class Advice(NamedTuple):
    """What is recommended.

    Attributes:
        way: One of `WAYS`.
        layer: Its name.
        head: Of a way that trains no network "logistic" or "pfa1" to "pfa3", else "".
        reasons: Phrases with numbers.
    """

    way: str
    layer: str
    head: str
    reasons: tuple[str, ...]


def skill(accuracy: float, num_classes: int) -> float:
    """Returns the way from chance (0) to 1 (1); below 0 worse than chance."""
    return (accuracy - 1 / num_classes) / (1 - 1 / num_classes)


def recommend(layers: Sequence[LayerFacts], num_classes: int, ways: Collection[str] = WAYS) -> Advice:
    """Returns the advice.

    Args:
        layers: The representation last.
        num_classes: Of the source.
        ways: Those there are: the best of them is recommended, where a sweep measured no others.
    """
    last = layers[-1]
    probe = last.heads[LOGISTIC]
    good = skill(probe.validation, num_classes)
    lost = 1 - skill(probe.expected, num_classes) / good if good > 0 else 0.0
    if good <= POOR:
        order, why = (FT, LP_FT, LP, PFA), f"at most {POOR:.0%}: little in them that fine-tuning could distort"
    elif good >= SATURATED:
        order, why = (LP, PFA, LP_FT, FT), f"{SATURATED:.0%} or more: little that fine-tuning could gain"
    else:
        order, why = (LP_FT, LP, PFA, FT), "neither poor nor saturated: fine-tuning pays, after a probe that keeps them"
    if good > 0:
        goes = f"goes {good:.0%} of the way from chance to all right"
        share = f"{min(max(lost, 0.0), 1.0):.0%}"
        shift = f"{share} of that is lost in the target by the estimate, which nobody measured; it decides nothing"
    else:
        goes, shift = "is no better than chance", "there is nothing to lose in the target"
    reasons = (f"features: a linear probe of the representation {goes}, {why}", f"shift: {shift}")
    way = next(way for way in order if way in ways)
    return _frozen(layers, ways, reasons) if way in (LP, PFA) else Advice(way, last.name, "", reasons)


def _frozen(layers: Sequence[LayerFacts], ways: Collection[str], reasons: tuple[str, ...]) -> Advice:
    """A head on frozen features."""
    layer = best_layer(layers, LOGISTIC)
    if PFA not in ways:
        return Advice(LP, layer.name, LOGISTIC, reasons)
    found = {head: best_layer(layers, head) for head in layer.heads if head != LOGISTIC}
    head = max(found, key=lambda name: found[name].heads[name].validation)
    mine, theirs = layer.heads[LOGISTIC], found[head].heads[head]
    gain, behind = theirs.expected - mine.expected, mine.validation - theirs.validation
    about = (f"PFA: t = {head[-1]}, layer {found[head].name}, against LP, layer {layer.name}: {-100 * behind:+.1f} "
             f"points measured in the source, {100 * gain:+.1f} estimated in the target")  # fmt: skip
    if LP not in ways or (gain >= GAIN and behind <= SLACK):
        return Advice(PFA, found[head].name, head, (*reasons, about))
    return Advice(LP, layer.name, LOGISTIC, (*reasons, about))


def best_layer(layers: Sequence[LayerFacts], head: str) -> LayerFacts:
    """Returns the layer on which a head is best, as far as one can tell (see the module)."""
    most = max(layer.heads[head].validation for layer in layers)
    near = [layer for layer in layers if layer.heads[head].validation >= most - SLACK]
    best, deepest = max(reversed(near), key=lambda layer: layer.heads[head].expected), near[-1]
    return best if best.heads[head].expected - deepest.heads[head].expected >= GAIN else deepest
