"""What is measured of a layer without a label of the target: heads, how they do there as far as one can tell, domains.

    validation     accuracy of a head of the source's labels on held-out images of the source, 0..1
    expected       its accuracy in the target, expected from its confidence, 0..1 (see `expected_accuracy`)
    agreement      share of target images of which the logistic head and the best PFA say the same; `source_agreement`
                   that of validation images
    domain_accuracy, domain_distance, effective_rank: as the metrics of these names

What is expected of the logistic head is too much under large shifts: of 24 encoders of 20 epochs or fewer 14 points on
average (CIFAR-100 subpopulations 8 to 15; shapes from photo to sketch up to 85, where it is wrong with confidence).
Under blur confidence rises where accuracy falls: 42 % were expected of RES-2-32 on CIFAR-100 at strength 1, it has 8 %.
So `estimates` says which of these are not to be used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

import torch
from torch import Tensor

from analysis.advice.domains import Domains
from analysis.features import Pictures, extract, load_backbone, require_finite
from analysis.logistic import Scaling, fit
from analysis.metrics.domain_distance import domain_classifier, domain_distances
from analysis.metrics.linear_probe import PENALTY, TOLERANCE
from analysis.metrics.rank import effective_rank
from analysis.metrics.transfer import HEADS, feature_averages
from analysis.probe_path import LinearHead, fold
from ray_ssl.checkpoints import Checkpoint
from ray_ssl.data.base import SOURCE, TARGET, UNLABELLED
from ray_ssl.errors import UserError
from ray_ssl.rng import torch_stream

LOGISTIC: Final = HEADS[0]
PFA: Final = HEADS[1:]


class HeadFacts(NamedTuple):
    """A head of the source's labels; see the module."""

    validation: float
    expected: float


class LayerFacts(NamedTuple):
    """A layer; see the module.

    Attributes:
        name: As in the table.
        heads: Of each of `HEADS`.
        num_validation: Images of the source that `HeadFacts.validation` and `source_agreement` are shares of.
        num_target: Images of the target that `agreement` is a share of; half of them stand behind `domain_accuracy`.
    """

    name: str
    heads: Mapping[str, HeadFacts]
    agreement: float
    source_agreement: float
    domain_accuracy: float
    domain_distance: float
    effective_rank: float
    num_validation: int
    num_target: int

    @property
    def best_pfa(self) -> str:
        """The PFA that is best on validation images; of equal ones the first."""
        return best_pfa(self.heads)


def best_pfa(heads: Mapping[str, HeadFacts]) -> str:
    """Returns the PFA that is best on validation images; of equal ones the first."""
    return max(PFA, key=lambda name: heads[name].validation)


class _Sets(NamedTuple):
    """Features float32 [., D] of one layer."""

    train: Tensor
    validation: Tensor
    target: Tensor


class _Scores(NamedTuple):
    """What a head says: labels int64 [N], and its confidence, float [N], larger where it is surer."""

    labels: Tensor
    confidence: Tensor


def measure_layers(checkpoint: Checkpoint, images: Domains, device: torch.device | str = "cpu") -> list[LayerFacts]:
    """Returns what is measured of every layer of a checkpoint, the representation last.

    Raises:
        UserError: Features that are not finite.
    """
    where, card = torch.device(device), checkpoint.card
    backbone = load_backbone(checkpoint).to(where)
    sets = [extract(backbone, Pictures(one), card, where) for one in (images.train, images.validation, images.target)]
    found: list[LayerFacts] = []
    for name, *layer in zip(card["layer_names"], *sets, strict=True):
        try:
            for one, what in zip(layer, ("source", "validation", "target"), strict=True):
                require_finite(one, f"{what} features of layer {name}")
        except ValueError as error:
            raise UserError(str(error)) from None
        found.append(_measure(name, _Sets(*layer), images))
    return found


def _measure(name: str, features: _Sets, images: Domains) -> LayerFacts:
    both = torch.cat([features.train, features.target])
    heads: dict[str, HeadFacts] = {}
    said: dict[str, tuple[Tensor, Tensor]] = {}
    for head, say in _fit_heads(features.train, images, both).items():
        on_validation, on_target = say(features.validation), say(features.target)
        said[head] = on_validation.labels, on_target.labels
        right = on_validation.labels == images.validation_labels
        expected = expected_accuracy(right, on_validation.confidence, on_target.confidence)
        heads[head] = HeadFacts(right.double().mean().item(), expected)
    counts = torch.tensor([len(features.train), len(features.target)])
    domain = torch.tensor([SOURCE, TARGET]).repeat_interleave(counts)
    labels = torch.cat([images.labels, torch.full((len(features.target),), UNLABELLED)])
    distance, _ = domain_distances(both, labels, domain, images.num_classes)
    best = best_pfa(heads)
    in_source, in_target = ((a == b).double().mean().item() for a, b in zip(said[LOGISTIC], said[best], strict=True))
    return LayerFacts(
        name, heads, in_target, in_source, _domain_accuracy(features), distance, effective_rank(features.train),
        len(features.validation), len(features.target),
    )  # fmt: skip


def _fit_heads(source: Tensor, images: Domains, both: Tensor) -> dict[str, Callable[[Tensor], _Scores]]:
    """What maps features [N, D] to what each head says of them, by head.

    Args:
        source: Training features of the source.
        images: Their labels.
        both: Training features of source and target.
    """
    # A dimension in which the source hardly varies must not be blown up in the target.
    logistic = _logistic(source, images.labels, images.num_classes, Scaling.of(both).inverse_std)
    averages = feature_averages(both, source, images.labels, images.num_classes)
    found: dict[str, Callable[[Tensor], _Scores]] = {LOGISTIC: partial(_of_logistic, logistic)}
    return found | {head: partial(_of_averages, one) for head, one in zip(PFA, averages, strict=True)}


def _of_logistic(head: LinearHead, rows: Tensor) -> _Scores:
    logits = torch.addmm(head.bias, rows, head.weight.T)
    return _Scores(logits.argmax(1), logits.softmax(1).amax(1))


def _of_averages(averages: Tensor, rows: Tensor) -> _Scores:
    scores = rows.double() @ averages
    first, second = scores.topk(2, dim=1).values.unbind(1)
    spread = scores.std(1).clamp_min(1e-300)  # scores have no scale of their own
    return _Scores(scores.argmax(1), (first - second) / spread)


def _logistic(features: Tensor, labels: Tensor, num_classes: int, inverse_std: Tensor) -> LinearHead:
    scaling, fits = fit(features, [(labels, num_classes)], PENALTY, TOLERANCE, inverse_std=inverse_std)
    return fold(fits[0], scaling)


def _domain_accuracy(features: _Sets) -> float:
    """As the metric "domain_accuracy": learned on source training images and half of the target's, asked of others."""
    order = torch.randperm(len(features.target), generator=torch_stream(0, "advice halves"))
    seen, unseen = features.target[order].chunk(2)
    head = domain_classifier(features.train, seen)
    sides = (features.validation, SOURCE), (unseen, TARGET)
    return sum((head.predict(rows) == domain).double().mean().item() for rows, domain in sides) / 2


def expected_accuracy(right: Tensor, confidence: Tensor, elsewhere: Tensor) -> float:
    """Returns the accuracy that a head is expected to have elsewhere: the share of images it is sure enough of there.

    Sure enough is what as many validation images are as the head gets right.

    Args:
        right: bool [V], of validation images.
        confidence: float [V], of them.
        elsewhere: float [N], of other images.

    Source: average thresholded confidence, arXiv 2201.04234, section 4.
    """
    num_wrong = int((~right).sum())
    if num_wrong == len(right):
        return 0.0
    threshold = confidence.sort().values[num_wrong]
    return (elsewhere >= threshold).double().mean().item()
