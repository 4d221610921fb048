"""Cheap signs of health during pretraining: online kNN accuracy, and whether the embeddings collapse."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

KNN_NEIGHBOURS = 20
KNN_TEMPERATURE = 0.1
QUERY_CHUNK = 1024  # 50,000 similarities of each are 200 MB
MAX_RANK_ROWS = 512
MIN_RELATIVE_STD = 0.1
MIN_EFFECTIVE_RANK = 1.5


@torch.no_grad()
def knn_accuracy(bank: Tensor, bank_labels: Tensor, queries: Tensor, query_labels: Tensor) -> float:
    """Returns the accuracy (0..1) of a cosine-weighted nearest-neighbour vote.

    Weights are exp(similarity / 0.1) of the 20 nearest, as in arXiv 1805.01978, section 3.4 (which uses 200
    neighbours of 1.3 million images and temperature 0.07).

    Args:
        bank: [N, D] features of training images; bank_labels: int64 [N].
        queries: [M, D] features of test images; query_labels: int64 [M].
    """
    return vote_accuracy(*nearest_neighbours(bank, queries), bank_labels, query_labels)


@torch.no_grad()
def nearest_neighbours(bank: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Returns cosine similarity float32 [M, k] and bank row int64 [M, k] of the k = 20 nearest of each query.

    Args:
        bank: [N, D]; with fewer than 20 rows, all of them are neighbours.
        queries: [M, D].
    """
    bank = normalize(bank.float())
    chunks = normalize(queries.float()).split(QUERY_CHUNK)
    similarity, rows = zip(*((chunk @ bank.T).topk(min(KNN_NEIGHBOURS, len(bank))) for chunk in chunks), strict=True)
    return torch.cat(similarity), torch.cat(rows)


def vote_accuracy(similarity: Tensor, rows: Tensor, bank_labels: Tensor, query_labels: Tensor) -> float:
    """Returns the accuracy (0..1) of the vote of `nearest_neighbours`, each weighted with exp(similarity / 0.1)."""
    num_classes = int(max(bank_labels.max(), query_labels.max())) + 1
    votes = torch.zeros(len(rows), num_classes, device=rows.device)
    votes.scatter_add_(1, bank_labels[rows], (similarity / KNN_TEMPERATURE).exp())
    return (votes.argmax(1) == query_labels).double().mean().item()


@torch.no_grad()
def embedding_health(z: Tensor) -> dict[str, float]:
    """Returns how far a batch of embeddings is from collapse.

    Args:
        z: [N, D] embeddings; at most the first 512 are looked at.

    Returns:
        "embedding_std": mean over dimensions of the standard deviation of z / |z|, times sqrt(D): near 1 for
        embeddings spread over the sphere, 0 at complete collapse (arXiv 2011.10566, section 4.1).
        "embedding_rank": effective rank of the centred embeddings, exp of the entropy of the normalised
        singular values, 1 .. min(N, D): near 1 at dimensional collapse (arXiv 2110.09348, 2210.02885).
    """
    z = z[:MAX_RANK_ROWS].float()
    unit = normalize(z)
    std = unit.std(0).mean() * z.shape[1] ** 0.5
    centred = (z - z.mean(0)).double()
    gram = centred @ centred.T if z.shape[0] <= z.shape[1] else centred.T @ centred
    singular = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    share = singular / singular.sum().clamp_min(1e-12)
    rank = torch.exp(-(share * share.clamp_min(1e-12).log()).sum())
    return {"embedding_std": std.item(), "embedding_rank": rank.item()}


def is_collapsed(health: dict[str, float]) -> bool:
    """Returns whether `embedding_health` shows complete or dimensional collapse."""
    return health["embedding_std"] < MIN_RELATIVE_STD or health["embedding_rank"] < MIN_EFFECTIVE_RANK
