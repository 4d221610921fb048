"""The linear probe of fine-tuning: a path of logistic regressions, the one that is best on validation images.

Source: arXiv 2202.10054, appendix on linear probing: L2-regularised logistic regression on features of unaugmented
images, warm-started over C log-spaced from 1e-7 to 1e2, chosen on in-distribution validation. Like scikit-learn's, C
weighs the summed cross-entropy against |W|^2 / 2. The authors scale all features by one mean and one standard
deviation; here each dimension has its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from analysis.logistic import Scaling, fit_path
from analysis.newton import Fit
from ray_ssl.errors import UserError

NUM_CS: Final = 50
CS: Final = tuple(10 ** (-7 + 9 * i / (NUM_CS - 1)) for i in range(NUM_CS))
TOLERANCE: Final = 1e-4
"""Share of the objective that its optimum is estimated to lie lower (see `logistic.fit`)."""
MAX_EVALUATIONS: Final = 50
"""Sweeps through the features for each C; where C is so large that the penalty vanishes, more change no prediction."""


class LinearHead(NamedTuple):
    """A classifier of raw features, argmax_c (W f + b)_c.

    Attributes:
        weight: float32 [K, D].
        bias: float32 [K].
    """

    weight: Tensor
    bias: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """Returns int64 [N] of features [N, D]."""
        return torch.addmm(self.bias, features, self.weight.T).argmax(1)

    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Returns the share of features [N, D] whose label int64 [N] is predicted, 0..1."""
        return (self.predict(features) == labels.to(features.device)).double().mean().item()


class Probe(NamedTuple):
    """The chosen classifier and how it was chosen.

    Attributes:
        head: Of raw features.
        c: Its C.
        path: Of every C, ascending: "c", "validation_accuracy" (0..1), "converged".
    """

    head: LinearHead
    c: float
    path: list[dict[str, Any]]


def fold(fit: Fit, scaling: Scaling) -> LinearHead:
    """Returns the classifier of raw features that equals one of standardised features."""
    weight = fit.weight.double() * scaling.inverse_std[:, None]  # [D, K]
    bias = fit.bias.double() - scaling.mean @ weight
    return LinearHead(weight.T.float().contiguous(), bias.float())


def probe_path(
    train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], num_classes: int, cs: Sequence[float] = CS
) -> Probe:
    """Returns the classifier of the training features whose validation accuracy is best; of several, the smallest C.

    Args:
        train: float32 features [N, D] and int64 labels [N], 0 .. num_classes - 1.
        validation: The same of the validation images.
        num_classes: K.
        cs: Ascending, above 0.

    Raises:
        UserError: A class without a training image: the head could never predict it.
    """
    features, labels = train
    lacking = sorted(set(range(num_classes)) - set(labels.unique().tolist()))
    if lacking:
        raise UserError(
            f"a linear probe needs training images of every class: {len(lacking)} of {num_classes} have none "
            f"(label {lacking[0]} is the first); give more training images, or fewer classes"
        )
    scaling, fits = fit_path(
        features, labels, num_classes, [1 / (c * len(features)) for c in cs], TOLERANCE, MAX_EVALUATIONS
    )
    best, best_c, best_accuracy = None, math.nan, -1.0
    path = []
    for c, one in zip(cs, fits, strict=True):
        head = fold(one, scaling)
        accuracy = head.accuracy(*validation)
        path.append({"c": c, "validation_accuracy": accuracy, "converged": one.converged})
        if accuracy > best_accuracy:
            best, best_c, best_accuracy = head, c, accuracy
    assert best is not None
    return Probe(best, best_c, path)
