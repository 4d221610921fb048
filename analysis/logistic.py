"""Multinomial logistic regression for many label sets of the same features."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from ray_ssl.rng import torch_stream

MAX_ROTATED = 2048
"""Features of more dimensions are not rotated into their eigenbasis (its cost grows with the cube)."""

_HESSIAN_SHARE, _MIN_HESSIAN_ROWS = 16, 4096
_MAX_CG_STEPS, _CG_TOLERANCE = 20, 0.1
_NUM_PAIRS = 8
_INTERCEPT_FLOOR = 1e-6  # keeps the preconditioner of an unpenalised, saturated intercept away from 0


class Fit(NamedTuple):
    """The classifier of one label set, argmax_c (f W + b)_c.

    Attributes:
        weight: float32 [D, K]; zero for classes without images.
        bias: float32 [K]; -inf for classes without images.
        loss: The objective reached, nats.
        gap: Bound of (loss - optimum) / loss that was reached (see `fit`).
        gradient_norm: Euclidean norm of the objective's gradient.
        converged: `gap` is within the tolerance.
    """

    weight: Tensor
    bias: Tensor
    loss: float
    gap: float
    gradient_norm: float
    converged: bool


class Scaling(NamedTuple):
    """Per-dimension mean [D] and 1 / std [D] (0 for constant dimensions), float64."""

    mean: Tensor
    inverse_std: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Scaling:
        """Measures features [N, D]; a std below 1e-6 of the mean is float32 rounding, hence constant."""
        mean = features.mean(0, dtype=torch.float64)
        moments = [(rows.double() - mean).square().sum(0) for rows in features.split(_chunk_rows(features.device))]
        std = (torch.stack(moments).sum(0) / len(features)).sqrt()
        return cls(mean, torch.where(std > 1e-6 * mean.abs(), 1 / std, 0.0))

    def apply(self, rows: Tensor) -> Tensor:
        """Returns standardised rows [B, D] as float32."""
        return ((rows.double() - self.mean) * self.inverse_std).float()


def fit(
    features: Tensor,
    label_sets: list[tuple[Tensor, int]],
    penalty: float,
    tolerance: float = 1e-3,
    max_evaluations: int = 200,
) -> tuple[Scaling, list[Fit]]:
    """Minimises mean cross-entropy + (penalty / 2) |W|^2 over W and an unpenalised intercept b, for every label set.

    Stops where |gradient|^2 / (2 penalty) <= tolerance * loss. As the objective is strongly convex in W, this
    bounds the distance to the optimum: it is no estimate (the intercept's share, unpenalised, is driven to zero by
    the same norm). The loss reached is usually ten times closer than the bound.

    Method: Newton steps whose Hessian is that of 1/16 of the rows, solved by conjugate gradients preconditioned
    with the Hessian's diagonal in the eigenbasis of the covariance; exact loss and gradient of all rows, taken
    for all unfinished label sets in one sweep through the features; what the subsampled Hessian gets wrong is
    corrected by L-BFGS pairs; backtracking. The start is the Newton step from W = 0, in closed form. Beyond one
    standardised copy of the features memory holds a chunk of rows and 2 x 8 pairs of weights a label set.

    Args:
        features: float [N, D], finite.
        label_sets: (int64 [N] labels, K) each.
        penalty: Of |W|^2, for standardised features; above 0.
        tolerance: Relative bound of the loss.
        max_evaluations: Sweeps through the features at most; a fit not converged by then says so.

    Returns:
        The standardisation and one fit per label set. Deterministic; a set's fit does not depend on the others.
    """
    scaling = Scaling.of(features)
    rows, basis, spectrum = _prepare(features, scaling)
    order = _row_order(len(features)).to(features.device)
    solvers = [_Solver(rows, labels.to(features.device)[order], k, spectrum, penalty) for labels, k in label_sets]
    active = solvers
    for _ in range(max_evaluations):
        for solver, (loss, gradient) in zip(active, _evaluate(rows, active)):
            solver.receive(loss, gradient, tolerance)
        active = [s for s in active if not s.finished]
        if not active:
            break
    return scaling, [s.result(basis, tolerance) for s in solvers]


def predict(features: Tensor, scaling: Scaling, fits: list[Fit]) -> list[Tensor]:
    """Returns the labels int64 [N] that each fit predicts for features [N, D]."""
    parts: list[list[Tensor]] = [[] for _ in fits]
    for rows in features.split(_chunk_rows(features.device)):
        standardised = scaling.apply(rows)
        for part, one in zip(parts, fits):
            part.append(torch.addmm(one.bias, standardised, one.weight).argmax(1))
    return [torch.cat(part) for part in parts]


def _chunk_rows(device: torch.device) -> int:
    # Smaller chunks are no faster on one thread, and wait at more barriers where cores are shared.
    return 16384 if device.type == "cpu" else 65536


def _row_order(num_rows: int) -> Tensor:
    """A fixed shuffle, so that the first rows are a fair sample of sorted data."""
    return torch.randperm(num_rows, generator=torch_stream(0, "logistic rows"))


def _prepare(features: Tensor, scaling: Scaling) -> tuple[Tensor, Tensor | None, Tensor]:
    """Returns shuffled, standardised, rotated rows with a column of ones [N, D + 1], basis [D, D], spectrum [D].

    A rotation leaves |W|^2 and the optimum unchanged, and makes the Hessian nearly diagonal.
    """
    num_rows, num_dims = features.shape
    chunk = _chunk_rows(features.device)
    rows = torch.ones(num_rows, num_dims + 1, device=features.device)
    covariance = torch.zeros(num_dims, num_dims, dtype=torch.float64, device=features.device)
    for picked, out in zip(_row_order(num_rows).to(features.device).split(chunk), rows.split(chunk)):
        out[:, :-1] = scaling.apply(features[picked])
        if num_dims <= MAX_ROTATED:
            covariance += (out[:, :-1].T @ out[:, :-1]) / num_rows
    if num_dims > MAX_ROTATED:
        return rows, None, (scaling.inverse_std > 0).float()
    spectrum, basis = torch.linalg.eigh(covariance)
    basis = basis.float()
    for out in rows.split(chunk):
        out[:, :-1] = out[:, :-1] @ basis
    return rows, basis, spectrum.clamp_min(0).float()


def _evaluate(rows: Tensor, solvers: list[_Solver]) -> list[tuple[float, Tensor]]:
    """Returns objective and gradient [D + 1, K] at every solver's trial point, from one sweep through the rows."""
    chunk = _chunk_rows(rows.device)
    trials = [s.trial for s in solvers]
    losses = rows.new_zeros(len(solvers), dtype=torch.float64)
    gradients = [torch.zeros_like(w) for w in trials]
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        for i, (solver, weights) in enumerate(zip(solvers, trials)):
            labels = solver.labels[start : start + chunk, None]
            scores = part @ weights  # [B, K], turned in place into p - y
            scores -= scores.amax(1, keepdim=True)
            own = scores.gather(1, labels)
            total = scores.exp_().sum(1, keepdim=True)
            losses[i] += (total.log() - own).sum(dtype=torch.float64)
            scores /= total
            scores.scatter_add_(1, labels, torch.full_like(own, -1))
            gradients[i].addmm_(part.T, scores)
    results = []
    for loss, gradient, weights, solver in zip(losses.tolist(), gradients, trials, solvers):
        decay = solver.decay * weights
        results.append((loss / len(rows) + (decay * weights).sum().item() / 2, gradient / len(rows) + decay))
    return results


class _Solver:
    """One label set's Newton iteration. Weights are [D + 1, K], the last row the intercept, K the classes present.

    `trial` is the point whose loss and gradient it waits for; `receive` takes them and moves on.
    """

    def __init__(self, rows: Tensor, labels: Tensor, num_classes: int, spectrum: Tensor, penalty: float) -> None:
        self.present, self.labels, counts = torch.unique(labels, return_inverse=True, return_counts=True)
        self.num_classes, self.penalty = num_classes, penalty
        self.decay = rows.new_full((rows.shape[1], 1), penalty)
        self.decay[-1] = 0
        self.hessian_rows = rows[: max(len(rows) // _HESSIAN_SHARE, _MIN_HESSIAN_ROWS)]
        self.weights = torch.zeros(rows.shape[1], len(counts), device=rows.device)
        self.direction = _first_step(rows, self.labels, counts / len(rows), spectrum, penalty)
        self.step = 1.0
        self.loss, self.gradient = float("inf"), torch.zeros_like(self.weights)
        self.pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=_NUM_PAIRS)
        self.finished = False

    @property
    def trial(self) -> Tensor:
        return self.weights + self.step * self.direction

    @property
    def gap(self) -> float:
        """Bound of (loss - optimum) / loss."""
        excess = self.gradient.double().square().sum().item() / (2 * self.penalty)
        return excess / self.loss if excess else 0.0

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
        self.weights, self.loss, self.gradient = self.trial, loss, gradient
        self.finished = self.gap <= tolerance
        if not self.finished:
            self.step, self.direction = 1.0, self._newton_direction()

    def _newton_direction(self) -> Tensor:
        """L-BFGS two-loop recursion around the subsampled Newton solve."""
        target = -self.gradient
        shares = []
        for moved, turned, curvature in reversed(self.pairs):
            shares.append((moved * target).sum() / curvature)
            target = target - shares[-1] * turned
        direction = self._solve(target)
        for (moved, turned, curvature), share in zip(self.pairs, reversed(shares)):
            direction += moved * (share - (turned * direction).sum() / curvature)
        return direction if (direction * self.gradient).sum() < 0 else -self.gradient

    def _solve(self, target: Tensor) -> Tensor:
        """Solves H x = target by preconditioned conjugate gradients, H the Hessian of `hessian_rows`."""
        rows = self.hessian_rows
        p = torch.softmax(rows @ self.weights, 1)
        diagonal = rows.square().T @ (p - p * p) / len(rows) + self.decay
        diagonal[-1] += _INTERCEPT_FLOOR
        solution, residual = torch.zeros_like(target), target
        scaled = residual / diagonal
        search, product = scaled, (residual * scaled).sum()
        goal = _CG_TOLERANCE * target.norm()
        for _ in range(_MAX_CG_STEPS):
            curved = _hessian_times(rows, p, search) + self.decay * search
            length = product / (search * curved).sum().clamp_min(1e-30)
            solution += length * search
            residual = residual - length * curved
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
        return Fit(weight, bias, self.loss, self.gap, norm, self.gap <= tolerance)


def _hessian_times(rows: Tensor, p: Tensor, search: Tensor) -> Tensor:
    """Mean over rows of f (diag p - p p^T) f^T applied to `search` [D + 1, K]."""
    chunk = _chunk_rows(rows.device)
    out = torch.zeros_like(search)
    for part, part_p in zip(rows.split(chunk), p.split(chunk)):
        scores = part @ search
        scores -= torch.linalg.vecdot(scores, part_p)[:, None]
        out.addmm_(part.T, scores.mul_(part_p))
    return out / len(rows)


def _first_step(rows: Tensor, labels: Tensor, prior: Tensor, spectrum: Tensor, penalty: float) -> Tensor:
    """The Newton step from W = 0, b = log prior, where the Hessian is spectrum x (diag prior - prior prior^T)."""
    num_classes = len(prior)
    sums = rows.new_zeros(rows.shape[1] - 1, num_classes)
    chunk = _chunk_rows(rows.device)
    for part, part_labels in zip(rows.split(chunk), labels.split(chunk)):
        sums += part[:, :-1].T @ torch.nn.functional.one_hot(part_labels, num_classes).to(rows.dtype)
    descent = sums / len(rows)  # [D, K]; the mean feature is 0
    spectrum = spectrum[:, None]
    inverse = 1 / (spectrum * prior + penalty)
    # Sherman-Morrison for the rank-one term of each dimension.
    plain = descent * inverse
    spread = inverse * prior
    scale = spectrum * (plain @ prior)[:, None] / (1 - spectrum * (spread @ prior)[:, None])
    return torch.cat([plain + scale * spread, prior.log()[None]])
