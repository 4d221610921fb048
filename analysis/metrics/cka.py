"""Linear centred kernel alignment (CKA) between layers, and between epochs of one layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import torch
from torch import Tensor

from analysis.blas import matmul
from analysis.features import LayerFeatures
from analysis.metrics.base import Measurement, MetricSpec

SPECS = (
    MetricSpec("cka_between_layers", 0, 1, "", labelled=False),
    MetricSpec("cka_between_epochs", 0, 1, "", labelled=False),
)

GROUPS: Final = ("data",)
ON_REQUEST: Final = True


def measure_network(
    layers: list[LayerFeatures], others: Mapping[int, list[LayerFeatures]]
) -> Iterator[tuple[int, Measurement]]:
    """Yields layer index and CKA with every layer before it, and with itself at earlier epochs, of the test images.

    The level says with what: "layer-03", "epoch-000005".

    Args:
        layers: All layers of one network, in order.
        others: Epoch -> layers of the same network at that epoch, on the same images.

    Raises:
        ValueError: Numbers of images or of layers differ.

    Source: Kornblith et al. 2019, arXiv 1905.00414, section 3 (linear CKA; its biased estimate, as there).
    """
    factors = [_kernel_factor(layer.test) for layer in layers]
    for index, factor in enumerate(factors):
        for before in range(index):
            value = _alignment(factor, factors[before])
            yield index, Measurement(f"layer-{before:02d}", "test", "cka_between_layers", value)
    for epoch, earlier in others.items():
        for index, (factor, layer) in enumerate(zip(factors, earlier, strict=True)):
            value = _alignment(factor, _kernel_factor(layer.test))
            yield index, Measurement(f"epoch-{epoch:06d}", "test", "cka_between_epochs", value)


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Returns the linear CKA of float [N, D1] and [N, D2], of the same N images: 0 (unrelated) .. 1 (alike).

    It is |Y^T X|^2 / (|X^T X| |Y^T Y|), Frobenius norms of centred features: the cosine of their Gram matrices, so
    1 for features that differ by a rotation, a scale and a shift only. NaN where either is constant.

    Raises:
        ValueError: Numbers of images differ.
    """
    return _alignment(_kernel_factor(first), _kernel_factor(second))


def _kernel_factor(features: Tensor) -> Tensor:
    """Returns F float64 [N, min(N, D)] with F F^T the centred Gram matrix over its Frobenius norm."""
    centred = features.double()
    centred = centred - centred.mean(0)
    if features.shape[1] > features.shape[0]:
        # The Gram matrix is all that counts: X^T = Q R has X X^T = R^T R, and R is the smaller one.
        centred = torch.linalg.qr(centred.T, mode="r").R.T
    return centred / matmul(centred.T, centred).norm().sqrt()


def _alignment(first: Tensor, second: Tensor) -> float:
    if len(first) != len(second):
        raise ValueError(f"CKA compares features of the same images, got {len(first)} and {len(second)}")
    return matmul(second.T, first).square().sum().clamp_max(1).item()
