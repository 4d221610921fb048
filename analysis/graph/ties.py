"""Where the k-th eigenvalue equals the next many spans have the least loss: features are compared with the closest.

With A the eigenvectors whose eigenvalue is above the k-th, a of them, and T those whose eigenvalue equals it, the loss
is least for the span of A and any k - a dimensions inside the span of T. Where the k-th and the next eigenvalue differ,
that is one span, of the top k eigenvectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from analysis.graph.pair_graph import Floats, Sparse, one_hot
from analysis.graph.spectrum import ZERO, Spectrum, top_eigenpairs
from analysis.graph.weighted_graph import Graph
from ray_ssl.errors import UserError

EQUAL: Final = 1e-9
"""Eigenvalues that differ by no more are equal: the rest is rounding."""

MOST_NUMBERS: Final = 2**27
"""Of all eigenvectors that are computed for a tie, 8 bytes each: 1 GiB."""


class Minimisers(NamedTuple):
    """The spans of features of k dimensions that have the least loss.

    Attributes:
        above: float64 [N, a], A: eigenvectors that every one of them holds, a <= k.
        equal: float64 or sparse [N, t], T, orthonormal.
        num_chosen: k - a, so many dimensions inside the span of T are in each; 0 where eigenvalue k is 0, for a
            dimension that is not used has the same loss.
        num_equal: Eigenvectors besides the top k whose eigenvalue equals the k-th; 0: there is one span.
    """

    above: Floats
    equal: Sparse
    num_chosen: int
    num_equal: int


def is_tied(spectrum: Spectrum, k: int) -> bool:
    """Returns whether eigenvalue k equals the next; the spectrum has k + 1 or more."""
    return float(spectrum.values[k - 1] - spectrum.values[k]) <= EQUAL


def nearest_gaps(graph: Graph, spectrum: Spectrum, k: int) -> list[int]:
    """Returns the nearest numbers of eigenvectors after which the eigenvalue falls, below k and above it; of the
    components that is known, of others as far as the spectrum goes."""
    num_components = int(graph.components.max()) + 1
    gaps = {int(i) + 1 for i in np.flatnonzero(spectrum.gaps > EQUAL)}
    gaps |= {num_components} if num_components < graph.num_nodes else set()
    below, above = [i for i in gaps if 2 <= i < k], [i for i in gaps if i > k]
    return [*([max(below)] if below else []), *([min(above)] if above else [])]


def at_a_gap(graph: Graph, spectrum: Spectrum, k: int) -> int:
    """Returns k, or where eigenvalue k is above 0 and equals the next the nearest number at a gap that the spectrum
    reaches, if any does."""
    if spectrum.values[k - 1] <= ZERO or not is_tied(spectrum, k):
        return k
    gaps = [i for i in nearest_gaps(graph, spectrum, k) if i < len(spectrum.values)]
    return min(gaps, key=lambda i: abs(i - k)) if gaps else k


def spectrum_with_ties(graph: Graph, ks: Sequence[int], least: int) -> Spectrum:
    """Returns the `least` top eigenpairs or as many as `minimisers` needs of each k, each below `least`.

    Raises:
        UserError: Too many eigenvalues are equal to the k-th.
    """
    spectrum = top_eigenpairs(graph, least)
    for k in ks:
        found = with_all_equal(graph, spectrum, k)
        if found is None:
            num_known = len(spectrum.values)
            raise UserError(
                f"--k {k}: eigenvalues {k} to {num_known} and perhaps more are equal, too many to compare features "
                f"with; choose --k at a gap: {' or '.join(map(str, nearest_gaps(graph, spectrum, k))) or 'none known'}"
            )
        spectrum = found
    return spectrum


def with_all_equal(graph: Graph, spectrum: Spectrum, k: int) -> Spectrum | None:
    """Returns the spectrum, of more eigenvalues where `minimisers` needs them for k; None where these are too many."""
    while _goes_on(graph, spectrum, k):
        count = min(2 * len(spectrum.values), graph.num_nodes)
        if count * graph.num_nodes > MOST_NUMBERS:
            return None
        spectrum = top_eigenpairs(graph, count)
    return spectrum


def _goes_on(graph: Graph, spectrum: Spectrum, k: int) -> bool:
    """Whether more eigenvalues may equal the k-th than are known, and their vectors are not known otherwise."""
    values = spectrum.values
    known = len(values) == graph.num_nodes or graph.components.max() >= k or values[k - 1] <= ZERO
    return not known and values[k - 1] - values[-1] <= EQUAL


def minimisers(graph: Graph, spectrum: Spectrum, k: int) -> Minimisers:
    """Returns the spans that have the least loss.

    Args:
        graph: N nodes.
        spectrum: Of all eigenvalues that equal the k-th and one more, see `spectrum_with_ties`.
        k: Features.
    """
    values, vectors = spectrum
    num_components, nothing = int(graph.components.max()) + 1, np.zeros((graph.num_nodes, 0))
    if num_components > k:
        mass = np.bincount(graph.components, graph.node_weights)
        scale = np.sqrt(graph.node_weights / mass[graph.components])
        indicators = one_hot(graph.components, num_components).multiply(scale[:, None]).tocsr()
        return Minimisers(nothing, indicators, k, num_components - k)
    if values[k - 1] <= ZERO:
        return Minimisers(vectors[:, values > ZERO], nothing, 0, graph.num_nodes - k)
    if not is_tied(spectrum, k):
        return Minimisers(vectors[:, :k], nothing, 0, 0)
    equal = np.abs(values - values[k - 1]) <= EQUAL
    num_above = int(equal.argmax())
    return Minimisers(vectors[:, :num_above], vectors[:, equal], k - num_above, num_above + int(equal.sum()) - k)


def closest(basis: Floats, spans: Minimisers) -> Floats:
    """Returns an orthonormal basis of that span of least loss which is closest to features, float64 [N, k].

    With P the projection on the span of the features, the mean squared cosine with the span of A and S, S inside the
    span of T, is (|P A|^2 + |P S|^2) / k. It is largest, (|P A|^2 + the k - a largest squared cosines of the features'
    span with that of T) / k, for the principal directions of T that belong to these, and it is 1 where, and only where,
    the span of the features has the least loss. Directions of T that features of few dimensions lack are columns of 0.

    Args:
        basis: float64 [N, D], orthonormal; of D > k the span is the closest in that all of it counts.
        spans: Of N nodes. Where eigenvalue k is 0 the result has a columns.
    """
    if not spans.num_chosen:
        return spans.above
    principal = np.linalg.svd(spans.equal.T @ basis, full_matrices=False)[0][:, : spans.num_chosen]
    chosen = np.zeros((len(basis), spans.num_chosen))
    chosen[:, : principal.shape[1]] = spans.equal @ principal
    return np.hstack([spans.above, chosen])
