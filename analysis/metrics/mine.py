"""Mutual information between the network's input and a representation, as critics find it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Final

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics.base import UNLABELLED, Measurement, MetricSpec
from analysis.mutual_information import SATURATED, Settings, estimate
from analysis.tasks import DATA

SPECS = (
    MetricSpec("mi_dv", -math.inf, math.inf, "", labelled=False),
    MetricSpec("mi_dv_std", 0, math.inf, "", labelled=False),
    MetricSpec("mi_infonce", -math.inf, math.inf, "", labelled=False),
    MetricSpec("mi_infonce_ceiling", 0, math.inf, "", labelled=False),
    MetricSpec("mi_nwj", -math.inf, math.inf, "", labelled=False),
    MetricSpec("mi_nwj_ceiling", 0, math.inf, "", labelled=False),
)
GROUPS: Final = (DATA,)
ON_REQUEST: Final = True
NEEDS_INPUTS: Final = True
LAST_LAYER_ONLY: Final = True


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields three bounds of the information between input and features, nats, on the test images.

    A deterministic network of a continuous input has infinite mutual information with it. What falls during
    training in arXiv 2305.15614 (figure 3, middle) is this estimate: how much of the information critics of a
    given size find, from a given number of pairs.

    `mi_dv`, `mi_infonce` and `mi_nwj` are means over the critics of `mutual_information.Settings()`, `mi_dv_std` is
    their standard deviation (divided by their number less 1). No bound exceeds its ceiling, ln of the number of
    test images: estimates of different numbers of images are not comparable near it.

    Warns:
        RuntimeWarning: A bound is within 5 % of its ceiling.

    Raises:
        ValueError: The features come without the inputs.

    Source: MINE, arXiv 1801.04062; see `analysis.mutual_information` for the bounds and where we differ.
    """
    if features.inputs is None:
        raise ValueError("mutual information with the input needs LayerFeatures.inputs, given None")
    train_inputs, test_inputs = features.inputs
    found = estimate((train_inputs, features.train), (test_inputs, features.test), Settings())
    for bound in found.saturated():
        warnings.warn(
            f"mi_{bound} is within {1 - SATURATED:.0%} of its ceiling, ln of the number of test images = "
            f"{found.ceiling:.2f} nats: the information is at least so large, how much larger it does not say",
            RuntimeWarning,
            stacklevel=2,
        )
    values = {
        "mi_dv": found.dv.mean().item(),
        "mi_dv_std": found.dv.std().item(),
        "mi_infonce": found.infonce.mean().item(),
        "mi_infonce_ceiling": found.ceiling,
        "mi_nwj": found.nwj.mean().item(),
        "mi_nwj_ceiling": found.ceiling,
    }
    for name, value in values.items():
        yield Measurement(UNLABELLED, "test", name, value)
