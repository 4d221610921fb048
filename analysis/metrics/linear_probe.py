"""Accuracy of a linear classifier on frozen features."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.logistic import fit, predict
from analysis.metrics.base import Measurement, MetricSpec, split_labels

SPECS = (MetricSpec("linear_accuracy", 0, 1, "up"),)

PENALTY = 3e-4
"""Weight of |W|^2 / 2. On CIFAR-100 features of 128 dimensions within a point of the best fixed one, for 4,000
to 50,000 images; larger costs accuracy on many images, smaller on few (and takes longer)."""

TOLERANCE = 3e-4
"""Share of the objective that its optimum is estimated to lie lower (see `logistic.fit`)."""


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields the share of images that a linear classifier of the training features gets right, 0 (worst) to 1.

    The classifier minimises mean cross-entropy + (PENALTY / 2) |W|^2 over weights W and an unpenalised
    intercept, on training features standardised per dimension (constant dimensions become 0). scikit-learn's
    `LogisticRegression(C=1 / (PENALTY * N))` has the same optimum. All levels are fitted together.

    Warns:
        RuntimeWarning: A fit ended short of TOLERANCE; its accuracy is still yielded.

    Source: linear probe of arXiv 2305.15614, there trained by gradient descent; here solved.
    """
    scaling, fits = fit(features.train, [(level.train, level.num_classes) for level in levels], PENALTY, TOLERANCE)
    for level, one in zip(levels, fits, strict=True):
        if not one.converged:
            warnings.warn(
                f"linear probe of level {level.name!r} did not converge: gradient norm {one.gradient_norm:.1e}, "
                f"loss {one.loss:.4f} about {one.excess:.1e} above its optimum, wanted {TOLERANCE:.0e}",
                RuntimeWarning,
                stacklevel=2,
            )
    predictions = predict(features.train, scaling, fits), predict(features.test, scaling, fits)
    for level, train, test in zip(levels, *predictions, strict=True):
        for split, predicted, labels in split_labels(train, test, level):
            yield Measurement(level.name, split, SPECS[0].name, (predicted == labels).double().mean().item())
