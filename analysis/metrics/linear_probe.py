"""Accuracy of a linear classifier on frozen features."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.logistic import Scaling, fit, predict
from analysis.metrics.base import Measurement, MetricSpec, split_labels
from analysis.newton import Fit

SPECS = (MetricSpec("linear_accuracy", 0, 1, "up"),)

PENALTY = 3e-4
"""Weight of |W|^2 / 2. On CIFAR-100 features of 128 dimensions within a point of the best fixed one, for 4,000
to 50,000 images; larger costs accuracy on many images, smaller on few (and takes longer)."""

TOLERANCE = 3e-4
"""Share of the objective that its optimum is estimated to lie lower (see `logistic.fit`)."""


class LinearProbe(NamedTuple):
    """The linear classifier of one level.

    Attributes:
        fit: Its weights, for features standardised by `scaling`.
        scaling: Of the training features.
        train: int64 [N] labels that it predicts for the training images.
        test: int64 [M] labels that it predicts for the test images.
    """

    fit: Fit
    scaling: Scaling
    train: Tensor
    test: Tensor


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields the share of images that a linear classifier of the training features gets right, 0 (worst) to 1.

    The classifier minimises mean cross-entropy + (PENALTY / 2) |W|^2 over weights W and an unpenalised
    intercept, on training features standardised per dimension (constant dimensions become 0). scikit-learn's
    `LogisticRegression(C=1 / (PENALTY * N))` has the same optimum. All levels are fitted together.

    Warns:
        RuntimeWarning: A fit ended short of TOLERANCE; its accuracy is still yielded.

    Source: linear probe of arXiv 2305.15614, there trained by gradient descent; here solved.
    """
    for level, probe in zip(levels, linear_probes(features, levels), strict=True):
        for split, predicted, labels in split_labels(probe.train, probe.test, level):
            yield Measurement(level.name, split, SPECS[0].name, (predicted == labels).double().mean().item())


def linear_probes(features: LayerFeatures, levels: list[LabelLevel]) -> list[LinearProbe]:
    """Returns the linear classifier of each level (see `measure`), fitted once per layer and set of labels.

    Warns:
        RuntimeWarning: A fit ended short of TOLERANCE.
    """
    known: dict[bytes, LinearProbe] = features.shared("linear probes", lambda _: {})
    missing = [level for level in levels if _key(level) not in known]
    if missing:
        scaling, fits = fit(features.train, [(v.train, v.num_classes) for v in missing], PENALTY, TOLERANCE)
        predictions = predict(features.train, scaling, fits), predict(features.test, scaling, fits)
        for level, one, train, test in zip(missing, fits, *predictions, strict=True):
            _warn_unless_converged(level, one)
            known[_key(level)] = LinearProbe(one, scaling, train, test)
    return [known[_key(level)] for level in levels]


def _key(level: LabelLevel) -> bytes:
    """Tells sets of training labels apart by what they hold: a level's name does not say which images it is of."""
    return f"{level.num_classes} ".encode() + level.train.cpu().numpy().tobytes()


def _warn_unless_converged(level: LabelLevel, one: Fit) -> None:
    if not one.converged:
        warnings.warn(
            f"linear probe of level {level.name!r} did not converge: gradient norm {one.gradient_norm:.1e}, "
            f"loss {one.loss:.4f} about {one.excess:.1e} above its optimum, wanted {TOLERANCE:.0e}",
            RuntimeWarning,
            stacklevel=4,  # where the metric is measured
        )
