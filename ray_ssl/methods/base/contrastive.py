"""InfoNCE, the contrastive cross entropy that several methods share (arXiv 1807.03748)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ray_ssl.methods.base.contract import Terms


def info_nce_terms(queries: Tensor, keys: Tensor, temperature: float, negatives: Tensor | None = None) -> Terms:
    """Computes the cross entropy of picking each query's own key out of all keys, and out of further negatives.

    Args:
        queries: float [N, D] of any length.
        keys: float [N, D] of any length; row i belongs to query i.
        temperature: tau > 0.
        negatives: float [K, D] of any length; rows that belong to no query.

    Returns:
        Scalars in nats, lower is better: "loss" = "invariance" + "regularisation", where invariance is minus the mean
        similarity of queries and their keys over tau (-1/tau..1/tau) and regularisation the mean logsumexp of each
        query's similarities to all N + K candidates, its own key included.

    Source:
        arXiv 2104.02057, equation 1; with N = 1 arXiv 1911.05722, equation 1.
    """
    candidates = keys if negatives is None else torch.cat([keys, negatives])
    similarities = normalize(queries, dim=1) @ normalize(candidates, dim=1).T / temperature  # [N, N + K]
    invariance, regularisation = -similarities.diagonal().mean(), similarities.logsumexp(1).mean()
    return {"loss": invariance + regularisation, "invariance": invariance, "regularisation": regularisation}


def both_ways(first: Terms, second: Terms, weight: float = 0.5) -> Terms:
    """Returns `weight` times the sum of each term: of a loss and the same with views swapped, by default the mean."""
    return {name: weight * (first[name] + second[name]) for name in first}
