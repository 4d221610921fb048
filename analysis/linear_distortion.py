"""Fine-tuning of a two-layer linear network, f(x) = v^T B x, where the theory of feature distortion is exact.

Training inputs (in distribution, ID) span a subspace S of the inputs; the loss is |X B^T v - y|^2 / n on them. Along
gradient flow

    dB/dt = -v g^T,  dv/dt = -B g,  g = (2 / n) X^T (X B^T v - y), which lies in S,

so that

* features B x of inputs orthogonal to S never change (`flow` keeps them to rounding), while those in S do: that is the
  distortion;
* v v^T - B B^T is conserved;
* a head that is optimal from the start has g = 0 where B can fit the labels: nothing moves (LP-FT);
* where S is a line, the end of the flow has a closed form for any number of features, see `limit_of_one_direction`.

Source: arXiv 2202.10054, section 3 (two-layer linear networks; lemmas on orthogonal directions and on the conserved
quantity; theorem on the error of fine-tuning out of distribution).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


class TwoLayer(NamedTuple):
    """The network.

    Attributes:
        head: v, float64 [k].
        features: B, float64 [k, d].
    """

    head: Matrix
    features: Matrix

    def predict(self, x: Matrix) -> Matrix:
        """Returns v^T B x, float64 [n], of inputs [n, d]."""
        return x @ self.features.T @ self.head

    def loss(self, x: Matrix, y: Matrix) -> float:
        """Returns the mean squared error on inputs [n, d] with labels [n]."""
        return float(np.square(self.predict(x) - y).mean())

    @property
    def balance(self) -> Matrix:
        """v v^T - B B^T, float64 [k, k]: conserved along gradient flow."""
        return np.outer(self.head, self.head) - self.features @ self.features.T


def linear_probe(features: Matrix, x: Matrix, y: Matrix) -> TwoLayer:
    """Returns the network with the head of least squares (of several, the shortest) on fixed features B [k, d]."""
    return TwoLayer(np.linalg.lstsq(x @ features.T, y, rcond=None)[0].astype(np.float64), features)


def flow(start: TwoLayer, x: Matrix, y: Matrix, time: float, num_steps: int) -> TwoLayer:
    """Returns the network after gradient flow of all weights (Runge-Kutta of order 4 in `num_steps` steps).

    Args:
        start: Where it begins.
        x: float64 [n, d] training inputs.
        y: float64 [n] labels.
        time: That the flow takes; a step of gradient descent with rate r takes r.
        num_steps: The error falls with its fourth power.
    """
    step, at = time / num_steps, start
    for _ in range(num_steps):
        first = _velocity(at, x, y)
        second = _velocity(_moved(at, first, step / 2), x, y)
        third = _velocity(_moved(at, second, step / 2), x, y)
        fourth = _velocity(_moved(at, third, step), x, y)
        mean = (a + 2 * b + 2 * c + d for a, b, c, d in zip(first, second, third, fourth, strict=True))
        at = _moved(at, TwoLayer(*mean), step / 6)
    return at


def descend(start: TwoLayer, x: Matrix, y: Matrix, rate: float, num_steps: int) -> TwoLayer:
    """Returns the network after gradient descent; for small rates it follows the flow of time rate x steps."""
    at = start
    for _ in range(num_steps):
        at = _moved(at, _velocity(at, x, y), rate)
    return at


def distortion(before: TwoLayer, after: TwoLayer, x: Matrix) -> Matrix:
    """Returns how far the features of inputs [n, d] moved, float64 [n]."""
    return np.linalg.norm(x @ (after.features - before.features).T, axis=1)


def limit_of_one_direction(start: TwoLayer, direction: Matrix, slope: float) -> TwoLayer:
    """Returns where gradient flow ends in closed form, where all training inputs are multiples of one direction e.

    With b = B e, the flow is db/dt = -c v, dv/dt = -c b for a scalar c(t), hence v + b = (v_0 + b_0) sqrt(q) and
    v - b = (v_0 - b_0) / sqrt(q). At zero loss v^T b is the labels' slope w: |v_0 + b_0|^2 q - |v_0 - b_0|^2 / q = 4 w,
    whose positive root is taken. Everything else of B stays.

    Args:
        start: Where it begins.
        direction: e, float64 [d], of length 1.
        slope: w, the label of the input e.

    Raises:
        ValueError: v_0 = -b_0 or v_0 = b_0, from where the flow cannot reach every slope.
    """
    along = start.features @ direction
    plus, minus = start.head + along, start.head - along
    grown, shrunk = float(plus @ plus), float(minus @ minus)
    if not grown or not shrunk:
        raise ValueError("the closed form needs a head that is neither B e nor -B e")
    ratio = (2 * slope + math.sqrt(4 * slope**2 + grown * shrunk)) / grown
    sum_, difference = plus * math.sqrt(ratio), minus / math.sqrt(ratio)
    features = start.features + np.outer((sum_ - difference) / 2 - along, direction)
    return TwoLayer((sum_ + difference) / 2, features)


def _velocity(at: TwoLayer, x: Matrix, y: Matrix) -> TwoLayer:
    gradient = 2 / len(x) * x.T @ (at.predict(x) - y)
    return TwoLayer(-at.features @ gradient, -np.outer(at.head, gradient))


def _moved(at: TwoLayer, velocity: TwoLayer, step: float) -> TwoLayer:
    return TwoLayer(at.head + step * velocity.head, at.features + step * velocity.features)
