"""What an estimated graph looks like: numbers for the table, and lines for who asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np
import torch

from analysis.connectivity.estimated import EstimatedGraph
from analysis.connectivity.groups import Labels
from analysis.graph.alignment import alignment, random_alignment_with_constant
from analysis.graph.facts import PathLengths, path_lengths
from analysis.graph.labels import EdgeWeights, edge_weights
from analysis.graph.pair_graph import Floats
from analysis.graph.partition import SweepCut, conductances, spectral_clusters, sweep_cut
from analysis.graph.spectrum import ZERO, Spectrum, top_eigenpairs
from analysis.graph.ties import EQUAL, is_tied
from analysis.graph.weighted_graph import WeightedGraph
from analysis.metrics.base import UNLABELLED
from analysis.metrics.cluster_purity import purity
from ray_ssl.rng import numpy_stream

NUM_SHUFFLES: Final = 100
"""Random assignments of the clusters to the nodes, whose mean is called chance."""

AGREEMENT_SIZES: Final = (5, 10, 20, 50)
"""Numbers of eigenvectors in which estimates of several seeds are compared."""


class NodeLabels(NamedTuple):
    """Labels of nodes.

    Attributes:
        name: Of the level.
        labels: int64 [N], 0 or more.
    """

    name: str
    labels: Labels


class LevelFacts(NamedTuple):
    """How well the graph and labels agree.

    Attributes:
        level: Name.
        num_labels: C, those that occur; there are as many spectral clusters.
        purity, nmi: Of the clusters, 0 .. 1; NMI is scikit-learn's.
        purity_chance, nmi_chance: Of clusters of the same sizes that are put together at random.
        same, other: Mean error of two different groups of one label, and of two labels.
        edges: Weight within labels; that of a group and itself counts as within.
        gap: Eigenvalue no. C less the next.
        expansion: Largest conductance of a cluster: an upper bound on the C-way expansion.
        expansion_lower: (1 - eigenvalue no. C) / 2, a lower bound on it; see `conductances`.
    """

    level: str
    num_labels: int
    purity: float
    nmi: float
    purity_chance: float
    nmi_chance: float
    same: float
    other: float
    edges: EdgeWeights
    gap: float
    expansion: float
    expansion_lower: float


class Facts(NamedTuple):
    """An estimated graph in numbers.

    Attributes:
        estimated: The graph.
        spectrum: Of all its nodes; eigenvalues below 0 count as 0.
        eigenvalues: float64 [N], the same as they are, descending.
        smallest: Smallest eigenvalue of the normalised adjacency of all errors, edges or not: below 0 where classifiers
            err by chance or more than is necessary.
        paths: See there.
        cut: See there.
        levels: Those with two labels or more, and fewer than nodes.
    """

    estimated: EstimatedGraph
    spectrum: Spectrum
    eigenvalues: Floats
    smallest: float
    paths: PathLengths
    cut: SweepCut
    levels: list[LevelFacts]

    @property
    def component_weights(self) -> Floats:
        """Weight of each component, float64."""
        graph = self.estimated.graph
        return np.bincount(graph.components, graph.node_weights).astype(np.float64)

    @property
    def largest_gap(self) -> tuple[int, float]:
        """After which eigenvalue from the second on the largest gap is, and how large it is."""
        gaps = self.spectrum.gaps[1:]
        return int(gaps.argmax()) + 2, float(gaps.max())


def facts(estimated: EstimatedGraph, levels: Sequence[NodeLabels]) -> Facts:
    """Returns the numbers of a graph of three nodes or more."""
    graph = estimated.graph
    spectrum = top_eigenpairs(graph, graph.num_nodes)
    smallest = float(np.linalg.eigvalsh(WeightedGraph(estimated.errors).normalised_adjacency())[0])
    fitting = [one for one in levels if 2 <= len(np.unique(one.labels)) < graph.num_nodes]
    found = [_of_level(estimated, spectrum, one) for one in fitting]
    eigenvalues = np.linalg.eigvalsh(graph.normalised_adjacency())[::-1].astype(np.float64)
    return Facts(estimated, spectrum, eigenvalues, smallest, path_lengths(graph), sweep_cut(graph, spectrum), found)


def _of_level(estimated: EstimatedGraph, spectrum: Spectrum, level: NodeLabels) -> LevelFacts:
    from sklearn.metrics import normalized_mutual_info_score as nmi  # takes seconds to import

    graph, labels = estimated.graph, np.unique(level.labels, return_inverse=True)[1].astype(np.int64)
    count = int(labels.max()) + 1
    clusters = spectral_clusters(graph, spectrum, count)
    random = numpy_stream(0, f"clusters at random, {level.name}")
    shuffled = [random.permutation(clusters) for _ in range(NUM_SHUFFLES)]
    first, second = np.triu_indices(len(labels), 1)
    same = labels[first] == labels[second]
    by_chance = np.mean([_purity(one, labels) for one in shuffled]), np.mean([nmi(labels, one) for one in shuffled])
    return LevelFacts(
        level.name, count, _purity(clusters, labels), float(nmi(labels, clusters)),
        float(by_chance[0]), float(by_chance[1]),
        float(estimated.pairs[same].mean()) if same.any() else float("nan"), float(estimated.pairs[~same].mean()),
        edge_weights(graph, labels, count), float(spectrum.values[count - 1] - spectrum.values[count]),
        float(np.nanmax(conductances(graph, clusters, count))), float(1 - spectrum.values[count - 1]) / 2,
    )  # fmt: skip


def _purity(clusters: Labels, labels: Labels) -> float:
    return purity(torch.from_numpy(clusters), torch.from_numpy(labels))


def agreement_sizes(estimates: Sequence[EstimatedGraph]) -> list[int]:
    """Returns those of `AGREEMENT_SIZES` that are below the number of nodes, and at which no graph has equal
    eigenvalues: the top eigenvectors would be an arbitrary choice there."""
    sizes = [k for k in AGREEMENT_SIZES if k < estimates[0].graph.num_nodes]
    spectra = [top_eigenpairs(one.graph, max(sizes) + 1) for one in estimates] if sizes else []
    return [k for k in sizes if not any(is_tied(one, k) for one in spectra)]


def seed_agreement(estimates: Sequence[EstimatedGraph], k: int) -> Floats:
    """Returns the mean squared cosine of the top k eigenvectors of every two graphs of the same nodes, [S, S].

    Args:
        estimates: Of S seeds.
        k: One of `agreement_sizes`.
    """
    found = np.eye(len(estimates))
    tops = [top_eigenpairs(one.graph, k).vectors for one in estimates]
    for i, j in combinations(range(len(estimates)), 2):
        found[i, j] = found[j, i] = alignment(tops[i], tops[j]).principal
    return found


def numbers(found: Facts) -> Iterator[tuple[str, str, float]]:
    """Yields (level, name, value) of what goes into the table."""
    estimated, (at, gap) = found.estimated, found.largest_gap
    for name, value in (
        ("num_nodes", estimated.graph.num_nodes), ("floor", estimated.floor), ("error_within", estimated.within.mean()),
        ("error_between", estimated.pairs.mean()), ("share_of_edges", estimated.share_of_edges),
        ("num_components", len(found.component_weights)), ("largest_component", found.component_weights.max()),
        ("mean_path", found.paths.mean), ("longest_path", found.paths.longest),
        ("second_eigenvalue", found.spectrum.values[1]), ("smallest_eigenvalue", found.smallest),
        ("largest_eigengap", gap), ("largest_eigengap_after", at), ("cut_conductance", found.cut.conductance),
        ("cut_conductance_lower", found.cut.lower), ("cut_conductance_upper", found.cut.upper),
    ):  # fmt: skip
        yield UNLABELLED, name, float(value)
    for level in found.levels:
        for name, value in (
            ("cluster_purity", level.purity), ("cluster_purity_chance", level.purity_chance),
            ("cluster_nmi", level.nmi), ("cluster_nmi_chance", level.nmi_chance), ("error_same", level.same),
            ("error_other", level.other), ("weight_within", level.edges.within),
            ("weight_within_chance", level.edges.chance), ("eigengap", level.gap),
            ("largest_conductance", level.expansion), ("largest_conductance_lower", level.expansion_lower),
        ):  # fmt: skip
            yield level.level, name, float(value)


def say(found: Facts) -> Iterator[str]:
    """Yields what the graph looks like, in lines."""
    estimated, values, pairs = found.estimated, found.eigenvalues, found.estimated.pairs
    low, high = float(estimated.threshold.min()), float(estimated.threshold.max())
    threshold = f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f} to {high:.3f}"
    yield (f"errors    between two {pairs.mean():.3f} ({pairs.min():.3f} to {pairs.max():.3f}), within one "
           f"{estimated.within.mean():.3f}; up to {threshold} one is within the noise of the smallest and is no edge: "
           f"{estimated.share_of_edges:.1%} of the pairs have one")  # fmt: skip
    paths, mass = found.paths, found.component_weights
    yield (f"paths     {len(mass)} component(s), the largest {mass.max():.1%} of the weight, {paths.num_nodes} nodes; "
           f"{_lengths(paths)}")  # fmt: skip
    shown = np.unique(np.geomspace(1, len(values), 8).round().astype(int))
    at, gap = found.largest_gap
    below = int((values < -ZERO).sum())
    yield "spectrum  " + ", ".join(f"{values[i - 1]:.4f} (no. {i})" for i in shown)
    largest = f"largest eigengap from the second on {gap:.4f}, after no. {at}" if gap > EQUAL else "no eigengap"
    yield f"          {largest}; smallest eigenvalue {found.smallest:.4f} of all errors, edges or not"
    if below:
        yield f"          {below} eigenvalue(s) are below 0, where an exact graph has none; they count as 0 in all else"
    cut = found.cut
    yield (f"cut       conductance {cut.conductance:.4f} ({np.count_nonzero(cut.inside)} nodes); Cheeger: "
           f"{cut.lower:.4f} <= best <= {min(1.0, cut.upper):.4f}")  # fmt: skip
    for level in found.levels:
        yield (f"{level.level:9} error between two of one {level.same:.3f}, of two {level.other:.3f}; weight within "
               f"{level.edges.within:.3f} (chance {level.edges.chance:.3f})")  # fmt: skip
        yield (f"          {level.num_labels} spectral clusters: purity {level.purity:.3f} (chance "
               f"{level.purity_chance:.3f}), NMI {level.nmi:.3f} (chance {level.nmi_chance:.3f}); eigengap "
               f"{level.gap:.4f}; largest conductance of one {level.expansion:.3f}, of the best partition at least "
               f"{level.expansion_lower:.3f}")  # fmt: skip


def _lengths(paths: PathLengths) -> str:
    if paths.num_nodes == 1:
        return "no path"
    return f"shortest paths: mean {paths.mean:.2f} steps, longest {paths.longest}"


def say_agreement(estimates: Mapping[int, EstimatedGraph]) -> Iterator[str]:
    """Yields how much the estimates of several seeds have in common, in a line; none of one seed."""
    graphs = list(estimates.values())
    if len(graphs) < 2:
        return
    others = ~np.eye(len(graphs), dtype=bool)
    weights = np.mean(np.asarray(np.corrcoef([one.pairs for one in graphs]))[others])
    num_nodes = graphs[0].graph.num_nodes
    shared = [
        f"top {k}: {seed_agreement(graphs, k)[others].mean():.3f} (random ones {random:.3f})"
        for k in agreement_sizes(graphs)
        for random in (random_alignment_with_constant(k, num_nodes),)
    ]
    of_spans = f"; mean squared cosine of eigenvectors {', '.join(shared)}" if shared else ""
    yield f"seeds     two of {len(graphs)} estimates: correlation of errors {weights:.3f}{of_spans}"
