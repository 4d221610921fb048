"""What features of a graph's nodes are compared with: its top eigenvectors, or where these are tied the closest span.

Where eigenvalue k equals the next, as in a graph of more than k components, the top k eigenvectors are those that the
solver happens to return. Many spans then have the least loss (see `analysis.graph.ties`), and features are compared
with the one that is closest to them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from analysis.graph.alignment import Alignment, alignment
from analysis.graph.pair_graph import Floats
from analysis.graph.spectrum import top_eigenpairs
from analysis.graph.ties import Minimisers, closest, is_tied, minimisers, with_all_equal
from analysis.graph.weighted_graph import Graph

SIZES: Final = (5, 10, 20, 50)
"""Numbers of eigenvectors that encoders are compared with, k."""

UNKNOWN: Final = Alignment(math.nan, math.nan)


@dataclass(frozen=True)
class TopSpans:
    """The top eigenvectors of a graph of N nodes, and for which k their span is not the only one of least loss.

    Attributes:
        vectors: float64 [N, K]: top eigenvectors of the normalised adjacency, K = 50 or N.
        ties: By k below N whose eigenvalue equals the next, all spans of least loss; None: more eigenvalues are equal
            than can be computed.
    """

    vectors: Floats
    ties: Mapping[int, Minimisers | None] = field(default_factory=dict)

    def alignment(self, basis: Floats, k: int) -> Alignment:
        """Returns how close features are to the top k eigenvectors (see `alignment.alignment`).

        Where k is tied it is the closest span of least loss, for `principal` to the k strongest directions of the
        features, for `whole` to all of them, so that neither depends on the solver. A random span is then closer than k
        / N. NaN where nobody knows which eigenvalues are equal.

        Args:
            basis: float64 [N, D], see `alignment.feature_basis`.
            k: One of `SIZES`, K at most.
        """
        if k not in self.ties:
            return alignment(basis, self.vectors[:, :k])
        spans = self.ties[k]
        if spans is None:
            return UNKNOWN
        strongest = alignment(basis, closest(basis[:, :k], spans)).principal
        return Alignment(strongest, alignment(basis, closest(basis, spans)).whole)

    def num_equal(self, k: int) -> float:
        """Returns how many eigenvalues besides the top k equal the k-th, 0: the span of the top k is the only one of
        least loss; NaN: nobody knows."""
        spans = self.ties.get(k)
        return (math.nan if k in self.ties else 0.0) if spans is None else float(spans.num_equal)


def top_spans(graph: Graph, sizes: Sequence[int] = SIZES) -> TopSpans:
    """Returns them; for k of `sizes` it is known whether they are tied.

    That takes one eigenvalue more. Its solver would round the other eigenvectors otherwise, so it is asked for apart.
    """
    most = min(max(sizes), graph.num_nodes)
    vectors = top_eigenpairs(graph, most).vectors
    spectrum = top_eigenpairs(graph, min(most + 1, graph.num_nodes))
    ties: dict[int, Minimisers | None] = {}
    shared: dict[int, Any] = {}  # ties of the same eigenvalue hold the same vectors, once
    for k in (k for k in sorted(sizes) if k < graph.num_nodes and is_tied(spectrum, k)):
        whole = with_all_equal(graph, spectrum, k)
        if whole is None:
            ties[k] = None
            continue
        spectrum = whole
        spans = minimisers(graph, spectrum, k)
        ties[k] = spans._replace(equal=shared.setdefault(spans.above.shape[1], spans.equal))
    return TopSpans(vectors, ties)


def fingerprint() -> dict[str, Any]:
    """Returns what decides the numbers, besides the graph and its images: others are measured again."""
    return {"num_eigenvectors": SIZES[-1], "ties": "closest span of least loss"}
