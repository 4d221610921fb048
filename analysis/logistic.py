"""Multinomial logistic regression for many label sets of the same features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from analysis.blas import matmul
from analysis.newton import Fit, LabelSetSolver, chunk_rows, evaluate
from ray_ssl.rng import torch_stream

MAX_ROTATED = 2048
"""Features of more dimensions are not rotated into their eigenbasis (its cost grows with the cube)."""

_START_SHARE, _MIN_START_ROWS, _FEW_ROWS = 4, 8192, 200
_START_PENALTY, _START_TOLERANCE = 2, 1e-2


class Scaling(NamedTuple):
    """Per-dimension mean [D] and 1 / std [D] (0 for constant dimensions), float64."""

    mean: Tensor
    inverse_std: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Scaling:
        """Measures features [N, D]; a std below 1e-6 of the mean is float32 rounding, hence constant."""
        mean = features.mean(0, dtype=torch.float64)
        moments = [(rows.double() - mean).square().sum(0) for rows in features.split(chunk_rows(features))]
        std = (torch.stack(moments).sum(0) / len(features)).sqrt()
        return cls(mean, torch.where(std > 1e-6 * mean.abs(), 1 / std, 0.0))

    def apply(self, rows: Tensor) -> Tensor:
        """Returns standardised rows [B, D] as float32."""
        return ((rows.double() - self.mean) * self.inverse_std).float()


def fit(
    features: Tensor,
    label_sets: list[tuple[Tensor, int]],
    penalty: float,
    tolerance: float,
    max_evaluations: int = 200,
    inverse_std: Tensor | None = None,
) -> tuple[Scaling, list[Fit]]:
    """Minimises mean cross-entropy + (penalty / 2) |W|^2 over W and an unpenalised intercept b, for every label set.

    Stops where half the Newton decrement, g^T H^-1 g / 2, is within tolerance * loss: the estimate of loss - optimum
    that is exact for a quadratic (measured: 1.2 times too small as a rule, 2.6 at most). It also stops where
    |g|^2 / (2 penalty) is, which bounds loss - optimum by strong convexity in W.

    Method: Newton steps whose Hessian is that of 1/16 of the rows, others each time, solved by conjugate gradients
    preconditioned with the Hessian's diagonal in the eigenbasis of the covariance; exact loss and gradient of all
    rows, taken for all unfinished label sets in one sweep through the features; what the subsampled Hessian gets wrong
    is corrected by L-BFGS pairs; step lengths come from the subsample and are checked on all rows. The start is the
    Newton step from W = 0, in closed form; of many classes with few rows each, what a quarter of the rows leads to from
    there. Memory holds one standardised copy of the features, one chunk of rows, and 2 x 8 copies of the weights.

    Args:
        features: float [N, D], finite.
        label_sets: (int64 [N] labels, K) each.
        penalty: Of |W|^2, for standardised features; above 0.
        tolerance: Of (loss - optimum) / loss.
        max_evaluations: Sweeps through the features at most; a fit not converged by then says so.
        inverse_std: float64 [D], what centred features are multiplied by; None: their own 1 / std.

    Returns:
        The standardisation and one fit per label set. Deterministic; a set's fit does not depend on the others.
    """
    scaling = Scaling.of(features)
    scaling = scaling if inverse_std is None else scaling._replace(inverse_std=inverse_std)
    rows, basis, spectrum = _prepare(features, scaling)
    order = _row_order(len(features))
    ordered = [(labels.cpu()[order].to(rows.device), num_classes) for labels, num_classes in label_sets]
    starts = _starts(rows, ordered, spectrum, penalty, tolerance, max_evaluations)
    solvers = [
        LabelSetSolver(rows, *labelled, spectrum, penalty, start)
        for labelled, start in zip(ordered, starts, strict=True)
    ]
    _solve(rows, solvers, tolerance, max_evaluations)
    return scaling, [s.result(basis, tolerance) for s in solvers]


def fit_path(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    penalties: Sequence[float],
    tolerance: float,
    max_evaluations: int = 200,
) -> tuple[Scaling, Iterator[Fit]]:
    """As `fit`, of one label set for several penalties: each begins where the one before it ended.

    Args:
        features: float [N, D], finite.
        labels: int64 [N], 0 .. num_classes - 1.
        num_classes: K.
        penalties: Of |W|^2, above 0; descending, so that each start is near its end.
        tolerance: As `fit`.
        max_evaluations: As `fit`, for each penalty.

    Returns:
        The standardisation and one fit per penalty, in their order, each made when it is asked for.
    """
    scaling = Scaling.of(features)
    rows, basis, spectrum = _prepare(features, scaling)
    labels = labels.cpu()[_row_order(len(features))].to(rows.device)

    def fits() -> Iterator[Fit]:
        weights = None
        for penalty in penalties:
            solver = LabelSetSolver(rows, labels, num_classes, spectrum, penalty, weights)
            _solve(rows, [solver], tolerance, max_evaluations)
            weights = solver.weights
            yield solver.result(basis, tolerance)

    return scaling, fits()


def _starts(
    rows: Tensor,
    label_sets: list[tuple[Tensor, int]],
    spectrum: Tensor,
    penalty: float,
    tolerance: float,
    max_evaluations: int,
) -> list[Tensor | None]:
    """Returns where each label set begins: the weights that a part of the rows leads to, or None.

    Many classes with few rows each take many short steps before full ones are safe; a part of the rows says as well
    where these lead. It overfits, hence the larger penalty. With fewer classes or rows it costs more than it saves.
    """
    part = rows[: len(rows) // _START_SHARE]
    starts: list[Tensor | None] = [None] * len(label_sets)
    if len(part) < _MIN_START_ROWS:
        return starts
    chosen = [
        number
        for number, (labels, _) in enumerate(label_sets)
        if len(rows) <= _FEW_ROWS * len(present := labels.unique())
        and torch.equal(labels[: len(part)].unique(), present)
    ]
    solvers = [
        LabelSetSolver(part, labels[: len(part)], num_classes, spectrum, _START_PENALTY * penalty)
        for labels, num_classes in (label_sets[number] for number in chosen)
    ]
    if solvers:
        _solve(part, solvers, max(_START_TOLERANCE, tolerance), max_evaluations)
    for number, solver in zip(chosen, solvers, strict=True):
        starts[number] = solver.weights
    return starts


def _solve(rows: Tensor, solvers: list[LabelSetSolver], tolerance: float, max_evaluations: int) -> None:
    """Moves all solvers to their optimum, or as far as `max_evaluations` sweeps through the rows take them."""
    active = solvers
    for _ in range(max_evaluations):
        for solver, (loss, gradient) in zip(active, evaluate(rows, active), strict=True):
            solver.receive(loss, gradient, tolerance)
        active = [s for s in active if not s.finished]
        if not active:
            break


def predict(features: Tensor, scaling: Scaling, fits: list[Fit]) -> list[Tensor]:
    """Returns the labels int64 [N] that each fit predicts for features [N, D]."""
    parts: list[list[Tensor]] = [[] for _ in fits]
    for rows in features.split(chunk_rows(features)):
        standardised = scaling.apply(rows)
        for part, one in zip(parts, fits, strict=True):
            part.append(matmul(standardised, one.weight).add_(one.bias).argmax(1))
    return [torch.cat(part) for part in parts]


def _row_order(num_rows: int) -> Tensor:
    """A fixed shuffle, so that the first rows are a fair sample of sorted data."""
    return torch.randperm(num_rows, generator=torch_stream(0, "logistic rows"))


def _prepare(features: Tensor, scaling: Scaling) -> tuple[Tensor, Tensor | None, Tensor]:
    """Returns shuffled, standardised, rotated rows with a column of ones [N, D + 1], basis [D, D], spectrum [D].

    A rotation leaves |W|^2 and the optimum unchanged, and makes the Hessian nearly diagonal.
    """
    num_rows, num_dims = features.shape
    chunk = chunk_rows(features)
    rows = torch.ones(num_rows, num_dims + 1, device=features.device)
    for picked, out in zip(_row_order(num_rows).to(features.device).split(chunk), rows.split(chunk), strict=True):
        out[:, :-1] = scaling.apply(features[picked])
    if num_dims > MAX_ROTATED:
        return rows, None, (scaling.inverse_std > 0).float()
    covariance = torch.zeros(num_dims, num_dims, dtype=torch.float64, device=features.device)
    for part in rows[:, :-1].split(chunk):
        covariance += matmul(part.T, part) / num_rows
    spectrum, basis = torch.linalg.eigh(covariance)
    basis = basis.float()
    for part in rows[:, :-1].split(chunk):
        part.copy_(matmul(part, basis))
    return rows, basis, spectrum.clamp_min(0).float()
