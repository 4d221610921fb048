"""Newton's method for multinomial logistic regression, many label sets side by side; `logistic.py` is its door."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from analysis.blas import matmul

_HESSIAN_SHARE, _MIN_HESSIAN_ROWS = 16, 2048
_MAX_CG_STEPS, _CG_TOLERANCE = 20, 0.2
_NUM_PAIRS = 8
_MAX_SEARCH_STEPS, _SEARCH_TOLERANCE = 6, 0.1
_TINY = torch.finfo(torch.float32).tiny
_INTERCEPT_FLOOR = 1e-6  # keeps the preconditioner of an unpenalised, saturated intercept away from 0


class Fit(NamedTuple):
    """The classifier of one label set, argmax_c (f W + b)_c.

    Attributes:
        weight: float32 [D, K]; zero for classes without images.
        bias: float32 [K]; -inf for classes without images.
        loss: The objective reached, nats.
        excess: Estimate of (loss - optimum) / loss (see `logistic.fit`).
        gradient_norm: Euclidean norm of the objective's gradient.
        converged: `excess` is within the tolerance.
    """

    weight: Tensor
    bias: Tensor
    loss: float
    excess: float
    gradient_norm: float
    converged: bool


def chunk_rows(rows: Tensor, num_columns: int = 0) -> int:
    """Returns how many rows of [N, D] to take at a time: half a million numbers on a CPU, 16 M elsewhere.

    Args:
        num_columns: Of what is computed of them; if wider than the rows, it is what is counted.
    """
    # Scores that outgrow the cache cost twice the time; smaller chunks wait at more barriers where cores are shared.
    numbers = 2**19 if rows.device.type == "cpu" else 2**24
    return max(512, numbers // max(rows.shape[1], num_columns))


def evaluate(rows: Tensor, solvers: list[LabelSetSolver]) -> list[tuple[float, Tensor]]:
    """Returns objective and gradient [D + 1, K] at every solver's trial point, from one sweep through the rows."""
    trials = [s.trial for s in solvers]
    chunk = chunk_rows(rows, max(w.shape[1] for w in trials))
    losses = rows.new_zeros(len(solvers), dtype=torch.float64)
    gradients = [torch.zeros_like(w) for w in trials]
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        for i, (solver, weights) in enumerate(zip(solvers, trials, strict=True)):
            labels = solver.labels[start : start + chunk, None]
            scores = matmul(part, weights)  # [B, K]
            residual = torch.softmax(scores, 1)  # turned in place into p - y
            own = residual.gather(1, labels)
            log_own = own.log()
            far = (own[:, 0] < _TINY).nonzero()[:, 0]  # their logarithm is finite, though p is not a normal number
            log_own[far] = torch.log_softmax(scores[far], 1).gather(1, labels[far])
            losses[i] -= log_own.sum(dtype=torch.float64)
            residual.scatter_add_(1, labels, torch.full_like(own, -1))
            gradients[i] += matmul(part.T, residual)
    results = []
    for loss, gradient, weights, solver in zip(losses.tolist(), gradients, trials, solvers, strict=True):
        decay = solver.decay * weights
        results.append((loss / len(rows) + (decay * weights).sum().item() / 2, gradient / len(rows) + decay))
    return results


class LabelSetSolver:
    """One label set's Newton iteration. Weights are [D + 1, K], the last row the intercept, K the classes present.

    `trial` is the point whose loss and gradient it waits for; `receive` takes them and moves on.
    """

    def __init__(
        self,
        rows: Tensor,
        labels: Tensor,
        num_classes: int,
        spectrum: Tensor,
        penalty: float,
        start: Tensor | None = None,
    ) -> None:
        """`start`: weights to begin at, those that another penalty ended with; None: W = 0, b = log prior."""
        self.present, self.labels, counts = torch.unique(labels, return_inverse=True, return_counts=True)
        self.num_classes, self.penalty = num_classes, penalty
        self.decay = rows.new_full((rows.shape[1], 1), penalty)
        self.decay[-1] = 0
        self.rows, self.turn = rows, 0
        self.pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=_NUM_PAIRS)
        self.loss, self.excess, self.finished = float("inf"), float("inf"), False
        if start is not None:
            self.weights, self.gradient, self.step = start, torch.zeros_like(start), 0.0
            self.direction = torch.zeros_like(start)  # the first sweep finds out where it stands
            return
        # At W = 0, b = log prior, gradient and Hessian are known without a sweep.
        prior = counts / len(rows)
        self.gradient = _first_gradient(rows, self.labels, len(counts))
        self.weights = torch.zeros_like(self.gradient)
        self.weights[-1] = prior.log()
        self.direction = _first_direction(self.gradient, prior, spectrum, penalty)
        self.step = self._step_length()

    @property
    def trial(self) -> Tensor:
        return self.weights + self.step * self.direction

    @property
    def hessian_rows(self) -> Tensor:
        """The rows whose Hessian this step takes: other ones than the step before.

        In directions that few of them know of, a share of the rows says too little and steps are too long; each share
        errs in others. On 500 classes and 50,000 rows, that and the start saved half the time.
        """
        size = max(len(self.rows) // _HESSIAN_SHARE, _MIN_HESSIAN_ROWS)
        start = self.turn % max(1, len(self.rows) // size) * size
        return self.rows[start : start + size]

    def receive(self, loss: float, gradient: Tensor, tolerance: float) -> None:
        """Takes the step to the trial point where the loss falls enough, else shortens it."""
        slope = (self.gradient * self.direction).sum().item()
        rounding = 1e-7 * abs(loss)  # the loss is a sum of float32 terms
        if not loss <= self.loss + 1e-4 * self.step * slope + rounding:
            end_slope = (gradient * self.direction).sum().item()
            secant = slope / (slope - end_slope) if end_slope > slope else 0.5
            self.step *= min(0.5, max(0.1, secant))
            self.finished = self.step < 1e-6
            return
        if self.loss < float("inf"):
            moved, turned = self.step * self.direction, gradient - self.gradient
            curvature = (moved * turned).sum()
            if curvature > 0:
                self.pairs.append((moved, turned, curvature))
        self.weights, self.loss, self.gradient, self.turn = self.trial, loss, gradient, self.turn + 1
        squared = gradient.double().square().sum().item()
        # By strong convexity an upper bound; a loss of 0, as of a single class, is the least there can be.
        self.excess = squared / (2 * self.penalty) / loss if squared and loss else 0.0
        if self.excess > tolerance:
            self.direction = self._newton_direction()
            decrement = -(gradient * self.direction).sum().item() / 2
            if decrement > 0:
                self.excess = min(self.excess, decrement / loss)
            else:
                self.direction = -gradient
        self.finished = self.excess <= tolerance
        if not self.finished:
            self.step = self._step_length()

    def _newton_direction(self) -> Tensor:
        """L-BFGS two-loop recursion around the subsampled Newton solve."""
        target = -self.gradient
        shares = []
        for moved, turned, curvature in reversed(self.pairs):
            shares.append((moved * target).sum() / curvature)
            target = target - shares[-1] * turned
        direction = self._solve(target)
        for (moved, turned, curvature), share in zip(self.pairs, reversed(shares), strict=True):
            direction += moved * (share - (turned * direction).sum() / curvature)
        return direction

    def _step_length(self) -> float:
        """Where the slope along `direction` crosses zero, at most 1.

        The slope at 0 is exact; how it turns from there is read off `hessian_rows`.
        """
        scores, change = (matmul(self.hessian_rows, weights) for weights in (self.weights, self.direction))
        start = torch.softmax(scores, 1)
        slope = (self.gradient * self.direction).sum().item()
        decay = (self.decay * self.direction.square()).sum().item()

        def slope_at(step: float) -> float:
            turned = torch.softmax(torch.add(scores, change, alpha=step), 1).sub_(start).mul_(change)
            return slope + turned.sum(dtype=torch.float64).item() / len(change) + step * decay

        low, low_slope, high, high_slope = 0.0, slope, 1.0, slope_at(1.0)
        step, end = high, high_slope
        for _ in range(_MAX_SEARCH_STEPS):
            if high_slope <= 0 or abs(end) <= _SEARCH_TOLERANCE * abs(slope):
                break
            share = low_slope / (low_slope - high_slope)
            step = low + min(0.9, max(0.1, share)) * (high - low)
            end = slope_at(step)
            if end < 0:
                low, low_slope = step, end
            else:
                high, high_slope = step, end
        return step

    def _solve(self, target: Tensor) -> Tensor:
        """Solves H x = target by preconditioned conjugate gradients, H the Hessian of `hessian_rows`."""
        rows = self.hessian_rows
        p = torch.softmax(matmul(rows, self.weights), 1)
        diagonal = matmul(rows.square().T, p - p * p) / len(rows) + self.decay
        diagonal[-1] += _INTERCEPT_FLOOR
        solution, residual = torch.zeros_like(target), _without_shift(target)
        scaled = residual / diagonal
        search, product = scaled, (residual * scaled).sum()
        goal = _CG_TOLERANCE * target.norm()
        for _ in range(_MAX_CG_STEPS):
            curved = _hessian_times(rows, p, search) + self.decay * search
            curvature = (search * curved).sum()
            if not curvature > 0:  # what is left is rounding
                break
            length = product / curvature
            solution += length * search
            residual = _without_shift(residual - length * curved)
            if residual.norm() <= goal:
                break
            scaled = residual / diagonal
            previous, product = product, (residual * scaled).sum()
            search = scaled + product / previous * search
        return solution

    def result(self, basis: Tensor | None, tolerance: float) -> Fit:
        """The fit reached, for standardised features in their own basis and all classes."""
        inner = self.weights[:-1] if basis is None else basis @ self.weights[:-1]
        weight = inner.new_zeros(len(inner), self.num_classes)
        bias = inner.new_full((self.num_classes,), -torch.inf)
        weight[:, self.present], bias[self.present] = inner, self.weights[-1]
        norm = self.gradient.double().norm().item()
        return Fit(weight, bias, self.loss, self.excess, norm, self.excess <= tolerance)


def _without_shift(residual: Tensor) -> Tensor:
    """Takes the mean from the intercepts' row: to shift all of them changes nothing, and rounding would grow there."""
    residual = residual.clone()
    residual[-1] -= residual[-1].mean()
    return residual


def _hessian_times(rows: Tensor, p: Tensor, search: Tensor) -> Tensor:
    """Mean over rows of f (diag p - p p^T) f^T applied to `search` [D + 1, K]."""
    chunk = chunk_rows(rows, search.shape[1])
    out = torch.zeros_like(search)
    for part, part_p in zip(rows.split(chunk), p.split(chunk), strict=True):
        scores = matmul(part, search)
        scores -= torch.linalg.vecdot(scores, part_p)[:, None]
        out += matmul(part.T, scores.mul_(part_p))
    return out / len(rows)


def _first_gradient(rows: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """The objective's gradient [D + 1, K] at W = 0, b = log prior; the mean feature is 0."""
    sums = rows.new_zeros(rows.shape[1], num_classes)
    chunk = chunk_rows(rows, num_classes)
    for part, part_labels in zip(rows.split(chunk), labels.split(chunk), strict=True):
        sums += matmul(part.T, one_hot(part_labels, num_classes).to(rows.dtype))
    sums[-1] = 0
    return -sums / len(rows)


def _first_direction(gradient: Tensor, prior: Tensor, spectrum: Tensor, penalty: float) -> Tensor:
    """The Newton step from W = 0, b = log prior, where the Hessian is spectrum x (diag prior - prior prior^T)."""
    spectrum = spectrum[:, None]
    inverse = 1 / (spectrum * prior + penalty)
    # Sherman-Morrison for the rank-one term of each dimension.
    plain = -gradient[:-1] * inverse
    spread = inverse * prior
    scale = spectrum * (plain @ prior)[:, None] / (1 - spectrum * (spread @ prior)[:, None])
    return torch.cat([plain + scale * spread, torch.zeros_like(prior)[None]])
