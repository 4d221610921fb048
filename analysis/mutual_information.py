"""Mutual information between two random vectors: lower bounds from critics that tell true pairs from chance pairs."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from analysis import critics
from analysis.calibration import Calibration, calibrate
from analysis.critics import Critics, CriticSettings, HeldOut
from analysis.logistic import Scaling
from analysis.normal_scores import NormalScores
from analysis.saturation import SATURATED
from ray_ssl.rng import torch_stream

NUM_POWER_ITERATIONS: Final = 2
NUM_SPARE_DIRECTIONS: Final = 16
_ROW_CHUNK: Final = 512

FEW_TRAIN_PAIRS: Final = 200
FEW_TEST_PAIRS: Final = 50
"""Of fewer, bounds that exponentiate scores are often far below zero, whatever the information is."""

Bound = Literal["dv", "infonce", "nwj"]

Embed = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Embeddings of x and z, as `Critics` gives them."""


@dataclass(frozen=True)
class Settings:
    """Budget of one estimate; the defaults are those of the metrics in the table.

    Attributes:
        seed: Of which pairs are used, and of the principal components.
        critic_seeds: Of the critics, which are trained side by side: each has its own initial weights, its own
            batches and its own tenth of the training pairs that decides when it is best.
        max_train_pairs: Random training pairs used at most.
        max_test_pairs: Random held-out pairs used at most; their number N sets the ceiling ln N of the bounds.
        max_dims: Vectors of more dimensions are reduced to so many whitened principal components of the training
            pairs; None: never. What is lost can only lower the information (data-processing inequality), so the
            bounds stay lower bounds.
        critic: See `analysis.critics.CriticSettings`.
    """

    seed: int = 0
    critic_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    max_train_pairs: int = 10_000
    max_test_pairs: int = 10_000
    max_dims: int | None = 256
    critic: CriticSettings = field(default_factory=CriticSettings)


_METHOD: Final = 4  # of the estimate; one more where the same settings come to give other numbers


def fingerprint(settings: Settings) -> str:
    """Returns 8 hex digits of everything that changes an estimate, besides the pairs."""
    text = json.dumps({"method": _METHOD, **asdict(settings)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class ScoreSums(NamedTuple):
    """What the bounds need of the scores f(x_i, z_j) of N pairs; critics in front.

    Attributes:
        true: [S, N] scores of the true pairs, f(x_i, z_i).
        log_sums: [S, N] log sum_j exp f(x_i, z_j), the true pair among them.
    """

    true: Tensor
    log_sums: Tensor

    @property
    def log_mean(self) -> Tensor:
        """[S] log of the mean of exp f over all N^2 pairs."""
        return self.log_sums.logsumexp(-1) - 2 * math.log(self.true.shape[-1])


class Estimate(NamedTuple):
    """Bounds of the mutual information on held-out pairs, nats, by each critic.

    Attributes:
        dv: float64 [S] Donsker-Varadhan bound of the calibrated critics, see `estimate`.
        infonce: float64 [S] InfoNCE bound of the critics trained on it alone.
        nwj: float64 [S] NWJ bound of the critics of `dv`.
        ceiling: ln N, which none of them exceeds.
    """

    dv: Tensor
    infonce: Tensor
    nwj: Tensor
    ceiling: float

    def saturated(self) -> list[Bound]:
        """Returns the bounds whose mean over the critics is within 5 % of the ceiling; with `dv`, `nwj` is too.

        The latter has the critics of `dv` and is never higher: its constant is that of H held-out pairs, so that the
        best critic of N test pairs has nwj = ln H + 1 - H / N, below ln N, and could show no more either.
        """
        means: dict[Bound, Tensor] = {"dv": self.dv, "infonce": self.infonce, "nwj": torch.maximum(self.dv, self.nwj)}
        return [name for name, values in means.items() if values.mean().item() >= SATURATED * self.ceiling]


def nats_to_bits(nats: float) -> float:
    """Returns the same information in bits."""
    return nats / math.log(2)


def dv_bound(scores: ScoreSums) -> Tensor:
    """Returns the Donsker-Varadhan bound [S], nats: E[f] over true pairs - log E[exp f] over the product of marginals.

    The product is that of the empirical marginals, all N^2 pairs: the divergence of the N true pairs from it is
    ln N, so that no critic gets beyond (arXiv 1811.04251 on why no estimate should claim to).

    Source: MINE, arXiv 1801.04062, equation 10.
    """
    return scores.true.mean(-1) - scores.log_mean


def nwj_bound(scores: ScoreSums) -> Tensor:
    """Returns the NWJ bound [S], nats: E[f] over true pairs - E[exp(f - 1)] over all N^2 pairs; at most ln N.

    Source: arXiv 1606.00709 (f-divergence of Kullback and Leibler).
    """
    return scores.true.mean(-1) - (scores.log_mean - 1).exp()


def infonce_bound(scores: ScoreSums) -> Tensor:
    """Returns the InfoNCE bound [S], nats: ln N - cross-entropy of finding z_i among all z; at most ln N.

    Source: arXiv 1807.03748, section 2.3.
    """
    return (scores.true - scores.log_sums).mean(-1) + math.log(scores.true.shape[-1])


def score_sums(x: Tensor, z: Tensor, calibration: Calibration | None = None) -> ScoreSums:
    """Returns the sums over all N^2 pairs of separable critics, float64, some rows at a time.

    Args:
        x: float [S, N, E] embeddings; the score of (i, j) is the dot product of x_i and z_j.
        z: float [S, N, E].
        calibration: What is made of the scores; None: nothing.
    """
    safe = calibration or (lambda scores: scores)
    z_by_column = z.transpose(1, 2)
    sums = [safe(torch.bmm(rows, z_by_column)).logsumexp(-1) for rows in x.split(_ROW_CHUNK, dim=1)]
    return ScoreSums(safe((x.double() * z).sum(-1)), torch.cat(sums, dim=1).double())


def estimate(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], settings: Settings | None = None) -> Estimate:
    """Returns bounds of the mutual information of x and z, from critics that never saw the pairs they are taken on.

    Every dimension is put on the scale of a normal variable by the training pairs (see `analysis.normal_scores`),
    which leaves the information as it is: critics of heavy tails go astray. Constant ones become 0. Critics start
    from the one that would be optimal for Gaussians (`analysis.gaussian_critic`), are trained on InfoNCE, whose
    gradient varies least, and go on from there on the Donsker-Varadhan bound. That bound and NWJ are taken with the
    best of these three stages, or of the second normalised for each x (see `_normalised`), on the pairs that decided
    when to stop, its scores made safe there (see `analysis.calibration`) and moved by the constant that makes NWJ
    tight: trained on itself NWJ gives the same critic up to that constant, with gradients of exponential variance.

    Args:
        train: x float [N, P] and z float [N, D], row by row a pair.
        test: The same of held-out pairs, [M, P] and [M, D].
        settings: Default: `Settings()`.

    Warns:
        RuntimeWarning: There are fewer than 200 pairs for training, a tenth of which make the scores safe, or 50 for
            testing: the bounds may be far too low.

    Raises:
        ValueError: x and z differ in their number of pairs, or there are fewer than 20 for training or 2 for testing.
    """
    settings = settings or Settings()
    _check_pairs(train, test)
    fitted = _some_pairs(train, settings.max_train_pairs, settings.seed, "training pairs")
    tested = _some_pairs(test, settings.max_test_pairs, settings.seed, "test pairs")
    if len(fitted[0]) < FEW_TRAIN_PAIRS or len(tested[0]) < FEW_TEST_PAIRS:
        warnings.warn(
            f"mutual information from {len(fitted[0])} training and {len(tested[0])} test pairs may be far too low, of "
            f"NWJ even far below zero: give at least {FEW_TRAIN_PAIRS} and {FEW_TEST_PAIRS}",
            RuntimeWarning,
            stacklevel=2,
        )
    (x, x_test), (z, z_test) = (_prepare(a, b, settings) for a, b in zip(fitted, tested, strict=True))
    pairs = HeldOut.split(x, z, settings.critic_seeds)
    with torch.no_grad():
        untrained = critics.untrained(pairs, settings.critic, settings.critic_seeds)
    of_infonce = _trained(pairs, untrained, "infonce", settings)
    of_dv = _trained(pairs, of_infonce, "dv", settings)
    with torch.no_grad():
        candidates = [*map(_plain, (untrained, of_infonce, of_dv)), _normalised(of_infonce, pairs)]
        calibrations, bounds = zip(*(_calibrated(critic, pairs) for critic in candidates), strict=True)
        best = torch.stack(bounds).argmax(0)  # which of them, for each seed
        chosen = Calibration._make(_of_best(best, values) for values in zip(*calibrations, strict=True))
        embedded = [critic(x_test, z_test) for critic in candidates]
        x_best, z_best = (_of_best(best, sides) for sides in zip(*embedded, strict=True))
        test_dv = score_sums(x_best, z_best, chosen)
        test_infonce = score_sums(*embedded[1])
    moved = ScoreSums(test_dv.true + 1, test_dv.log_sums + 1)  # the mean of exp f is 1 on held-out pairs
    return Estimate(dv_bound(test_dv), infonce_bound(test_infonce), nwj_bound(moved), math.log(len(x_test)))


def _plain(critic: Critics) -> Embed:
    """As it is, with a dimension of zeros where `_normalised` has its own."""

    def embed(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        of_x, of_z = critic(x, z)
        return pad(of_x, (0, 1)), pad(of_z, (0, 1))

    return embed


def _normalised(critic: Critics, pairs: HeldOut) -> Embed:
    """The critic f(x, z) - log mean_j exp f(x, z_j) over the z_j that it was trained on, another dimension of its own.

    Such a critic's Donsker-Varadhan bound is InfoNCE's, but for other z_j and the true pair among them: InfoNCE leaves
    a function of x open, which the Donsker-Varadhan bound pays for.
    """
    _, known = critic(pairs.x[pairs.fitted], pairs.z[pairs.fitted])
    by_column = known.transpose(1, 2)

    def embed(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        of_x, of_z = critic(x, z)
        sums = [torch.bmm(rows, by_column).logsumexp(-1, keepdim=True) for rows in of_x.split(_ROW_CHUNK, dim=1)]
        shift = math.log(known.shape[1]) - torch.cat(sums, dim=1)
        return torch.cat([of_x, shift], dim=-1), pad(of_z, (0, 1), value=1.0)

    return embed


def _calibrated(critic: Embed, pairs: HeldOut) -> tuple[Calibration, Tensor]:
    x, z = critic(*pairs.held_out_pairs())
    return calibrate(torch.bmm(x, z.transpose(1, 2)))


def _of_best(best: Tensor, values: Sequence[Tensor]) -> Tensor:
    """Of tensors [S, ...], those that `best` [S] says for each seed."""
    return torch.stack(list(values))[best, torch.arange(len(best))]


def _trained(pairs: HeldOut, start: Critics, objective: critics.Objective, settings: Settings) -> Critics:
    bound = dv_bound if objective == "dv" else infonce_bound
    return critics.train(
        pairs, start, lambda g, h: bound(score_sums(g, h)), objective, settings.critic, settings.critic_seeds
    )


def _check_pairs(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> None:
    for name, (x, z), least in (("training", train, 20), ("test", test, 2)):
        if len(x) != len(z) or len(x) < least:
            raise ValueError(f"at least {least} {name} pairs are needed, given {len(x)} x and {len(z)} z")


def _some_pairs(pairs: tuple[Tensor, Tensor], most: int, seed: int, purpose: str) -> tuple[Tensor, Tensor]:
    rows = torch.randperm(len(pairs[0]), generator=torch_stream(seed, purpose))[:most]
    return pairs[0][rows], pairs[1][rows]


def _prepare(train: Tensor, test: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    if settings.max_dims is not None and train.shape[1] > settings.max_dims:
        train, test = _standardise(train, test)
        directions = principal_directions(train, settings.max_dims, settings.seed)
        train, test = train @ directions, test @ directions
    scores = NormalScores.of(train)
    return _standardise(scores.apply(train), scores.apply(test))


def _standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    scaling = Scaling.of(train)
    return scaling.apply(train), scaling.apply(test)


def principal_directions(centred: Tensor, num_directions: int, seed: int) -> Tensor:
    """Returns the leading principal directions [P, K], orthonormal, by subspace iteration from a random start.

    Args:
        centred: float [N, P] with mean 0.
        num_directions: K; fewer come back where N or P is smaller.
        seed: Of the start.

    Source: randomised range finder, arXiv 0909.4061, algorithm 4.4.
    """
    width = min(num_directions + NUM_SPARE_DIRECTIONS, *centred.shape)
    start = torch.randn(centred.shape[1], width, generator=torch_stream(seed, "principal directions"))
    basis = torch.linalg.qr(start)[0]
    for _ in range(NUM_POWER_ITERATIONS):
        basis = torch.linalg.qr(centred.T @ (centred @ basis))[0]
    projected = centred @ basis
    _, vectors = torch.linalg.eigh(projected.T @ projected)  # ascending
    return basis @ vectors.flip(1)[:, :num_directions]
