"""Whether an estimated accuracy in the target can be used: it is of confidence, which fails under large shifts.

Average thresholded confidence (`facts.expected_accuracy`) takes for granted that an image of which a head is as sure is
right as often in the target as in the source. Nothing measured without labels shows that it is; three things show that
it is not, and an estimate where one of them holds is printed as unusable and decides nothing:

    above the source    a head of the source's labels is more accurate where it did not learn: what is new to it makes
                        it surer, not better; what is within the 95 % interval of the measured accuracy may be chance
    `TOLD_APART`        the target lies where there is no image of the source to tell what confidence means there
    `HARDLY_AGREE`      two heads of the same labels that go apart cannot both be right, yet both may be sure

The thresholds are ours, set by the reasons beside them and not fitted to results.
"""

from __future__ import annotations

import math
from typing import Final

from analysis.advice.facts import LOGISTIC, LayerFacts
from analysis.connectivity.estimated import QUANTILE, interval, upper_end

TOLD_APART: Final = 0.95
"""Domain accuracy, chance 1/2: an image in twenty, at most, is taken to be of the other domain."""
HARDLY_AGREE: Final = 0.5
"""Of `agreement_kept`: of the images that heads agree on in the source, they agree on half as many in the target."""


def agreement_kept(layer: LayerFacts) -> float:
    """Returns how much of the heads' agreement in the source is left in the target, 0 (none) to about 1 (all).

    Weak heads disagree in the source too, which tells nothing of the target.
    """
    return layer.agreement / layer.source_agreement if layer.source_agreement > 0 else 1.0


def agreement_interval(layer: LayerFacts) -> tuple[float, float]:
    """Returns the 95 % interval of `agreement_kept`, of shares of so many images: delta method, on its logarithm."""
    shares = ((layer.agreement, layer.num_target), (layer.source_agreement, layer.num_validation))
    if min(share for share, _ in shares) <= 0:
        return 0.0, math.inf
    spread = math.sqrt(sum((1 - share) / share / count for share, count in shares))
    kept = agreement_kept(layer)
    return kept * math.exp(-QUANTILE * spread), kept * math.exp(QUANTILE * spread)


def domain_interval(layer: LayerFacts) -> tuple[float, float]:
    """Returns the 95 % interval of the domain accuracy, the mean of two shares of so many images."""
    return interval(layer.domain_accuracy, 4 / (1 / layer.num_validation + 1 / (layer.num_target / 2)))


def why_unusable(layer: LayerFacts, head: str = LOGISTIC) -> str:
    """Returns why the estimate of a head of a layer is not to be used, for people; "" where it can be."""
    facts, found = layer.heads[head], []
    if facts.expected > (most := upper_end(facts.validation, layer.num_validation)):
        found.append(
            f"it is above the {facts.validation:.1%} measured in the source, and above {most:.1%}, what chance explains"
        )
    if layer.domain_accuracy >= TOLD_APART:
        found.append(
            f"domains are told apart in {layer.domain_accuracy:.1%}, {TOLD_APART:.0%} or more, so that confidence "
            "means something else in the target"
        )
    if agreement_kept(layer) < HARDLY_AGREE:
        found.append(
            f"LP and PFA agree on {layer.agreement:.1%} of target images, less than {HARDLY_AGREE:.0%} of what they do "
            f"in the source ({layer.source_agreement:.1%})"
        )
    return "; ".join(found)
