"""What follows from the facts: a layer, and LP, PFA, FT or LP-FT. A few thresholds, no fit: none was tuned on results.

With the skill of an accuracy its way from chance (0) to 1 (1), that of a linear probe of the representation on
validation images of the source tells how good the features are; where that leaves a choice, the target decides:

    1. skill at most `POOR`          FT: there is little in the features that fine-tuning could distort
    2. skill of `SATURATED` or more  a head on frozen features: there is little that fine-tuning could gain
    3. else, domains look alike      FT: what it does to features of the source it does to those of the target
    4. else                          LP-FT: fine-tuning gains in the source, the probe before it keeps features

Domains look alike where a linear classifier of the representation tells them apart with an accuracy below `APART` and
LP and PFA keep `AGREE` of their agreement in the source: the one looks at where images lie, the other at what heads
make of it. Both are measured without labels.

Of arXiv 2202.10054: fine-tuning with a fresh head moves features of the source and hardly those of the target, so that
it does worse there than a linear probe where features are good AND the shift is large, and only there; LP-FT, whose
head fits before features can move, is on average better than either in both domains. Rules 1, 3 and 4 are of that
theory and were not fitted to sweeps. Ours: to measure "good" by skill and "large" by domain accuracy and agreement, all
thresholds, rule 2 (a probe that is right leaves LP-FT no gradient: it would cost training and change little).

A head on frozen features is LP, or PFA where that is estimated `GAIN` better in the target and is at most `SLACK` worse
on validation images. Its layer is the deepest of those where it is at most `SLACK` worse than its best on validation
images, or the one of them where it is estimated best in the target, where that is `GAIN` better there. An estimate that
is unusable (`estimates`) decides none of it: then PFA is taken where it is `GAIN` better on validation images, and of
these layers the one where the domains lie nearest, where that is less than `NEARER` of the deepest one's distance.
Fine-tuning is of the whole network, with its head on the representation. PFA is of arXiv 2204.02683; how it is chosen
is ours.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from analysis.advice.estimates import agreement_interval, agreement_kept, domain_interval, why_unusable
from analysis.advice.facts import LOGISTIC, LayerFacts
from analysis.connectivity.estimated import interval

LP, PFA, FT, LP_FT = "LP", "PFA", "FT", "LP-FT"
WAYS: Final = (LP, PFA, FT, LP_FT)

POOR: Final = 0.1
SATURATED: Final = 0.9
APART: Final = 0.6
"""Domain accuracy, chance 1/2: two standard errors of it, on the 50 validation images that advice asks for at least and
as many of the target."""
AGREE: Final = 0.8
"""Of `agreement_kept`, 1 where the target is as the source: a fifth less is one standard error of it on as few images,
of heads that agree on half of them, and three on ten times as many."""
GAIN: Final = 0.02
SLACK: Final = 0.02
NEARER: Final = 0.8
"""Of the distance of the domains: what is less than a fifth nearer may be of the images that were drawn."""


class Advice(NamedTuple):
    """What is recommended.

    Attributes:
        way: One of `WAYS`.
        layer: Its name.
        head: Of a way that trains no network "logistic" or "pfa1" to "pfa3", else "".
        reasons: Phrases with numbers, why this way.
        frozen: The same of the layer and of LP against PFA, of a way that trains no network.
    """

    way: str
    layer: str
    head: str
    reasons: tuple[str, ...]
    frozen: tuple[str, ...] = ()


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
    good = skill(last.heads[LOGISTIC].validation, num_classes)
    domains = _domains(last)
    theory, unsure = "by the theory of arXiv 2202.10054, not fitted to sweeps", _doubt_of_domains(last)
    if good <= POOR:
        order, why = (FT, LP_FT, LP, PFA), f"at most {POOR:.0%}: little in them that fine-tuning could distort"
        target = f"{domains}; whether to fine-tune this does not decide, poor features are of no use in any target"
    elif good >= SATURATED:
        order, why = (LP, PFA, LP_FT, FT), f"{SATURATED:.0%} or more: little that fine-tuning could gain"
        target = f"{domains}; whether to fine-tune this does not decide"
    elif not (differ := _how_apart(last)):
        order, why = (FT, LP_FT, LP, PFA), "neither poor nor saturated: fine-tuning pays"
        target = (
            f"{domains}; THIS DECIDES: the domains look alike, features moved for one serve both ({theory}){unsure}"
        )
    else:
        order, why = (LP_FT, LP, PFA, FT), "neither poor nor saturated: fine-tuning pays, if it keeps them"
        target = f"{domains}; THIS DECIDES, {differ}: from a fresh head features would be distorted ({theory}){unsure}"
    goes = f"goes {good:.0%} of the way from chance to all right" if good > 0 else "is no better than chance"
    features = f"features: a linear probe of the representation {goes}, {why}{_doubt(last, num_classes)}"
    reasons = (features, f"target: {target}", _estimate(last, num_classes))
    way = next(way for way in order if way in ways)
    return _frozen(layers, ways, reasons) if way in (LP, PFA) else Advice(way, last.name, "", reasons)


def _doubt(layer: LayerFacts, num_classes: int) -> str:
    """Where so few validation images do not tell on which side of a threshold the skill is, that; else ""."""
    accuracy, count = layer.heads[LOGISTIC].validation, layer.num_validation
    low, high = (skill(end, num_classes) for end in interval(accuracy, count))
    near = [f"{edge:.0%}" for edge in (POOR, SATURATED) if low <= edge < high]
    if not near:
        return ""
    return (
        f"; NOT SURE: by {count} validation images it is {max(low, 0):.0%} to {high:.0%} (95 % interval), on either "
        f"side of {' and '.join(near)}"
    )


def _domains(layer: LayerFacts) -> str:
    """What is measured of the target."""
    return (
        f"domains are told apart in {layer.domain_accuracy:.1%} (chance 50%, apart from {APART:.0%}), LP and PFA agree "
        f"on {layer.agreement:.1%} of its images and {layer.source_agreement:.1%} of the source's, "
        f"{agreement_kept(layer):.0%} of it (alike from {AGREE:.0%})"
    )


def _how_apart(layer: LayerFacts) -> str:
    """Which measurement shows that the domains lie apart; "" where they look alike."""
    found = ["domain accuracy"] * (layer.domain_accuracy >= APART) + ["agreement"] * (agreement_kept(layer) < AGREE)
    return " and ".join(found)


def _doubt_of_domains(layer: LayerFacts) -> str:
    """Where so few images do not tell whether the domains lie apart, that; else ""."""
    (least, most), (fewest, more) = domain_interval(layer), agreement_interval(layer)
    if (least >= APART or more < AGREE) or (most < APART and fewest >= AGREE):
        return ""
    return (
        f"; NOT SURE: by {layer.num_validation} images of the source and {layer.num_target} of the target they are "
        f"told apart in {least:.1%} to {most:.1%}, and keep {fewest:.0%} to {more:.0%} of the agreement (95 % "
        "intervals)"
    )


def _estimate(layer: LayerFacts, num_classes: int) -> str:
    """What comes of the estimate of a linear probe of the representation."""
    probe = layer.heads[LOGISTIC]
    if why := why_unusable(layer):
        return f"estimate: LP's ~{probe.expected:.1%} in the target is SET ASIDE and decides nothing: {why}"
    good = skill(probe.validation, num_classes)
    if good <= POOR:
        return "estimate: there is next to nothing to lose in the target"
    lost = min(max(1 - skill(probe.expected, num_classes) / good, 0.0), 1.0)
    return (f"estimate: {lost:.0%} of this skill is lost in the target, which nobody measured; whether to fine-tune "
            "it does not decide")  # fmt: skip


def _frozen(layers: Sequence[LayerFacts], ways: Collection[str], reasons: tuple[str, ...]) -> Advice:
    """A head on frozen features."""
    layer, by = best_layer(layers, LOGISTIC)
    probe = Advice(LP, layer.name, LOGISTIC, reasons, (f"layer of LP: {by}",))
    if PFA not in ways:
        return probe
    found = {head: best_layer(layers, head) for head in layer.heads if head != LOGISTIC}
    head = max(found, key=lambda name: found[name][0].heads[name].validation)
    other, by = found[head]
    mine, theirs = layer.heads[LOGISTIC], other.heads[head]
    gain, behind = theirs.expected - mine.expected, mine.validation - theirs.validation
    about = (f"PFA: t = {head[-1]}, layer {other.name}, against LP, layer {layer.name}: {-100 * behind:+.1f} "
             "points measured in the source, ")  # fmt: skip
    if why_unusable(layer) or why_unusable(other, head):
        takes = -behind >= GAIN
        about += f"which decides ({100 * GAIN:g} or more for PFA): the estimate in the target is set aside"
    else:
        takes = gain >= GAIN and behind <= SLACK
        about += f"{100 * gain:+.1f} estimated in the target"
    if LP not in ways or takes:
        return Advice(PFA, other.name, head, reasons, (about, f"layer of PFA: {by}"))
    return probe._replace(frozen=(about, *probe.frozen))


def best_layer(layers: Sequence[LayerFacts], head: str) -> tuple[LayerFacts, str]:
    """Returns the layer on which a head is best, as far as one can tell, and what decided that (see the module)."""
    most = max(layer.heads[head].validation for layer in layers)
    near = [layer for layer in layers if layer.heads[head].validation >= most - SLACK]
    deepest = near[-1]
    if len(near) == 1:
        return deepest, f"accuracy in the source, no other is within {100 * SLACK:g} points"
    among = f"of the {len(near)} within {100 * SLACK:g} points of the best in the source "
    if aside := [layer.name for layer in near if why_unusable(layer, head)]:
        among += f"(the estimate is set aside of {', '.join(aside)}) "
        best = min(reversed(near), key=lambda layer: layer.domain_distance)
        if max(best.domain_distance, 0) < NEARER * deepest.domain_distance:
            nearer = f"{best.domain_distance:.2f} against {deepest.domain_distance:.2f} of the deepest"
            return best, f"{among}the one where the domains lie nearest, {nearer}"
        return deepest, f"{among}the deepest, in none the domains lie much nearer"
    best = max(reversed(near), key=lambda layer: layer.heads[head].expected)
    if (gain := best.heads[head].expected - deepest.heads[head].expected) >= GAIN:
        return best, f"{among}the one of the best estimate in the target, {100 * gain:+.1f} points against the deepest"
    return deepest, f"{among}the deepest, in none the estimate in the target is much better"
