"""Mutual information between the network's input and a representation, as critics find it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Final

from analysis.features import LayerFeatures
from analysis.labels import LabelLevel
from analysis.metrics.base import UNLABELLED, Measurement, MetricSpec
from analysis.mutual_information import Settings, estimate, fingerprint, nats_to_bits
from analysis.saturation import SAME_CRITICS, SATURATED, SaturatedWarning
from analysis.tasks import DATA

BOUNDS: Final = ("mi_dv", "mi_infonce", "mi_nwj")
SPECS = (
    *(MetricSpec(name, -math.inf, math.inf, "", labelled=False) for name in BOUNDS),
    *(MetricSpec(f"{name}_std", 0, math.inf, "", labelled=False) for name in BOUNDS),
    *(MetricSpec(f"{name}_ceiling", 0, math.inf, "", labelled=False) for name in BOUNDS),
    *(MetricSpec(f"{name}_bits", -math.inf, math.inf, "", labelled=False) for name in BOUNDS),
    *(MetricSpec(f"{name}_std_bits", 0, math.inf, "", labelled=False) for name in BOUNDS),
)
GROUPS: Final = (DATA,)
ON_REQUEST: Final = True
NEEDS_INPUTS: Final = True
SETTINGS: Final = Settings()
NUMBERS_FROM: Final = {"estimator": fingerprint(SETTINGS)}
"""What changes the numbers, besides the settings of the analysis: other critics measure again."""


def measure(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
    """Yields three bounds of the information between input and features, on the test images.

    A deterministic network of a continuous input has infinite mutual information with it. What falls during
    training in arXiv 2305.15614 (figure 3, middle) is this estimate: how much of the information critics of a
    given size find, from a given number of pairs. `--mine-input` says what stands for the input (pixels, or an
    earlier layer), `--mine-layer` against which layer. Of pixels the table has them at level "none", of a layer at
    its own, such as "layer-01".

    `mi_dv`, `mi_infonce` and `mi_nwj` are means over the critics of `SETTINGS` in nats, `_std`
    their standard deviations (divided by their number less 1); the same in bits with `_bits`. No bound exceeds its
    `_ceiling`, ln of the number of test images in nats: estimates of different numbers of images are not comparable
    near it. Of more than 256 input dimensions the critics see 256 principal components, which can only lower them.

    Warns:
        RuntimeWarning: A bound is within 5 % of its ceiling, see `Estimate.saturated`; or there are too few pairs.

    Raises:
        ValueError: The features come without the inputs.

    Source: MINE, arXiv 1801.04062; see `analysis.mutual_information` for the bounds and where we differ.
    """
    if features.inputs is None:
        raise ValueError("mutual information with the input needs LayerFeatures.inputs, given None")
    train_inputs, test_inputs = features.inputs
    found = estimate((train_inputs, features.train), (test_inputs, features.test), SETTINGS)
    for bound in found.saturated():
        warnings.warn(
            f"mi_{bound} is within {1 - SATURATED:.0%} of its ceiling, ln of the number of test images = "
            f"{found.ceiling:.2f} nats{_or_other(f'mi_{bound}')}: the information is at least so large, how much "
            "larger it does not say",
            SaturatedWarning,
            stacklevel=2,
        )
    for name, values in zip(BOUNDS, (found.dv, found.infonce, found.nwj), strict=True):
        mean, std = values.mean().item(), values.std().item()
        for suffix, value in (
            ("", mean), ("_std", std), ("_ceiling", found.ceiling),
            ("_bits", nats_to_bits(mean)), ("_std_bits", nats_to_bits(std)),
        ):  # fmt: skip
            yield Measurement(UNLABELLED, "test", f"{name}{suffix}", value)


def _or_other(bound: str) -> str:
    return f", or {SAME_CRITICS[bound]} of the same critics is" if bound in SAME_CRITICS else ""
