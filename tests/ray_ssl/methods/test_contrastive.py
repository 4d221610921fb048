"""InfoNCE equals equation 1 of arXiv 2104.02057 and, for one query and a queue, equation 1 of arXiv 1911.05722."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from ray_ssl.methods.base import both_ways, info_nce_terms

SHAPES = [(1, 2, 3), (2, 2, 1), (5, 3, 4), (3, 7, 6), (16, 64, 32)]
with_and_without_negatives = pytest.mark.parametrize("further", [False, True])


def _vectors(num_images: int, dim: int, num_negatives: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and further negatives."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2 * num_images + num_negatives, dim, dtype=torch.float64, generator=generator)
    return rows.split([num_images, num_images, num_negatives])  # type: ignore[return-value]


def _similarity(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def _equation(queries: Tensor, keys: Tensor, tau: float, negatives: Tensor | None) -> dict[str, float]:
    """Mean over queries of -log(exp(q k+ / tau) / sum over candidates exp(q k / tau)), in plain Python."""
    candidates = keys.tolist() + ([] if negatives is None else negatives.tolist())
    invariance = regularisation = 0.0
    for query, key in zip(queries.tolist(), keys.tolist(), strict=True):
        invariance -= _similarity(query, key) / tau / len(queries)
        regularisation += math.log(sum(math.exp(_similarity(query, k) / tau) for k in candidates)) / len(queries)
    return {"loss": invariance + regularisation, "invariance": invariance, "regularisation": regularisation}


@with_and_without_negatives
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_equals_the_papers_equation(shape: tuple[int, int, int], temperature: float, further: bool) -> None:
    queries, keys, rows = _vectors(*shape)
    negatives = rows if further else None
    terms = {name: value.item() for name, value in info_nce_terms(queries, keys, temperature, negatives).items()}
    assert terms == pytest.approx(_equation(queries, keys, temperature, negatives))


@pytest.mark.parametrize("shape", SHAPES)
def test_one_query_equals_lightly_with_a_memory_bank(shape: tuple[int, int, int]) -> None:
    """Lightly's candidates are the queue and the key, so its batch is one query after the other."""
    queries, keys, queue = _vectors(*shape)
    reference = pytest.importorskip("lightly.loss").NTXentLoss(0.2, memory_bank_size=(shape[2], shape[1]))
    reference.memory_bank.bank = normalize(queue, dim=1)
    single = [info_nce_terms(queries[i : i + 1], keys[i : i + 1], 0.2, queue)["loss"] for i in range(shape[0])]
    torch.testing.assert_close(torch.stack(single).mean(), reference(queries, keys))


def test_equals_torchs_cross_entropy_of_the_diagonal() -> None:
    queries, keys, negatives = _vectors(7, 5, 4)
    logits = normalize(queries, dim=1) @ normalize(torch.cat([keys, negatives]), dim=1).T / 0.3
    expected = cross_entropy(logits, torch.arange(7))
    torch.testing.assert_close(info_nce_terms(queries, keys, 0.3, negatives)["loss"], expected)


@with_and_without_negatives
def test_gradient(further: bool) -> None:
    queries, keys, negatives = (rows.requires_grad_() for rows in _vectors(4, 3, 5))

    def loss(q: Tensor, k: Tensor, rows: Tensor) -> Tensor:
        return info_nce_terms(q, k, 0.5, rows if further else None)["loss"]

    assert torch.autograd.gradcheck(loss, (queries, keys, negatives))


@pytest.mark.parametrize("num_negatives", [1, 6])
def test_collapsed_vectors_guess_among_all_candidates(num_negatives: int) -> None:
    ones = torch.ones(5, 4, dtype=torch.float64)
    further = ones[:1].expand(num_negatives, 4)
    assert info_nce_terms(ones, ones, 0.1)["loss"].item() == pytest.approx(math.log(5))
    assert info_nce_terms(ones, ones, 0.1, further)["loss"].item() == pytest.approx(math.log(5 + num_negatives))


def test_orthonormal_keys() -> None:
    """Queries on their own keys: a similarity of 1 against zeros."""
    axes = torch.eye(6, dtype=torch.float64)
    terms = info_nce_terms(axes[:4], axes[:4], 0.5)
    assert terms["invariance"].item() == pytest.approx(-2)
    assert terms["regularisation"].item() == pytest.approx(math.log(math.exp(2) + 3))
    further = info_nce_terms(axes[:4], axes[:4], 0.5, axes[4:])
    assert further["invariance"] == terms["invariance"]
    assert further["regularisation"].item() == pytest.approx(math.log(math.exp(2) + 5))


@with_and_without_negatives
def test_lengths_order_and_rotation_change_nothing(further: bool) -> None:
    queries, keys, rows = _vectors(6, 4, 8)
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(6, generator=generator)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=generator)).Q

    def terms(queries: Tensor, keys: Tensor, rows: Tensor) -> dict[str, Tensor]:
        return info_nce_terms(queries, keys, 0.3, rows if further else None)

    expected = terms(queries, keys, rows)
    torch.testing.assert_close(terms(3 * queries, keys / 7, 2 * rows), expected)
    torch.testing.assert_close(terms(queries[order], keys[order], rows.flip(0)), expected)
    torch.testing.assert_close(terms(queries @ rotation, keys @ rotation, rows @ rotation), expected)


@with_and_without_negatives
def test_low_temperatures_do_not_overflow(further: bool) -> None:
    queries, keys, negatives = (rows.float() for rows in _vectors(8, 4, 8))
    assert info_nce_terms(queries, keys, 1e-3, negatives if further else None)["loss"].isfinite()


def test_both_ways_is_the_mean_or_a_weighted_sum() -> None:
    first = {"loss": torch.tensor(3.0), "invariance": torch.tensor(1.0)}
    second = {"loss": torch.tensor(5.0), "invariance": torch.tensor(-1.0)}
    assert both_ways(first, second) == {"loss": 4, "invariance": 0}
    assert both_ways(first, second, weight=2) == {"loss": 16, "invariance": 0}
