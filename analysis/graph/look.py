"""What an exact graph looks like, in numbers: for the table, the report, and who asks in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from analysis.graph.experiment import Study
from analysis.graph.facts import GraphFacts, PathLengths, crossing_purity, describe, path_lengths
from analysis.graph.labels import LabelWeights, cluster_agreement, label_weights, labels_of_nodes
from analysis.graph.pair_graph import Integers
from analysis.graph.partition import SweepCut, conductances, spectral_clusters, sweep_cut
from analysis.graph.spectrum import Spectrum, top_eigenpairs
from analysis.labels import LabelLevel
from analysis.metrics.base import UNLABELLED, Measurement
from ray_ssl.rng import numpy_stream

PREFIX: Final = "graph_"
EIGENVALUE: Final = f"{PREFIX}eigenvalue_top"
"""Begins the metric of eigenvalue no. k, `graph_eigenvalue_topK`."""

SAMPLE: Final = "sample"
NUM_EIGENVALUES: Final = 101
"""That are in the table, however many eigenvectors are compared: those of 100 clusters and the next."""

NUM_SHUFFLES: Final = 20
"""Random assignments of the clusters to the nodes, whose mean is called chance."""


class LevelLook(NamedTuple):
    """How well the graph and the labels of a level agree.

    Attributes:
        level: Name; of "sample" each image is a label of its own.
        num_labels: C, those that occur.
        weights: Of edges within and between labels.
        kept, kept_chance: Of steps to another image, see `crossing_purity`; NaN at level sample.
    """

    level: str
    num_labels: int
    weights: LabelWeights
    kept: float
    kept_chance: float


class Look(NamedTuple):
    """What takes seconds of 100,000 nodes; spectral clusters take longer.

    Attributes:
        facts, paths, cut: See there.
        levels: "sample" first.
    """

    facts: GraphFacts
    paths: PathLengths
    cut: SweepCut
    levels: list[LevelLook]


class ClusterFacts(NamedTuple):
    """As many spectral clusters as there are labels at a level, C.

    Attributes:
        cluster_purity, cluster_nmi: Of clusters and labels, see `labels.cluster_agreement`.
        cluster_purity_chance, cluster_nmi_chance: Of the same clusters that are put on random nodes.
        eigengap: Eigenvalue no. C less the next.
        largest_conductance: Of a cluster: an upper bound on the C-way expansion, of the sparsest partition.
        largest_conductance_lower: (1 - eigenvalue no. C) / 2, a lower bound on it; see `conductances`.
    """

    cluster_purity: float
    cluster_purity_chance: float
    cluster_nmi: float
    cluster_nmi_chance: float
    eigengap: float
    largest_conductance: float
    largest_conductance_lower: float


def look(study: Study) -> Look:
    """Returns the numbers of a graph."""
    graph = study.graph
    nothing = float("nan")
    samples = label_weights(graph, np.arange(graph.num_images), graph.num_images)
    levels = [LevelLook(SAMPLE, graph.num_images, samples, nothing, nothing)]
    for level in study.levels:
        labels, count = _occurring(study, level)
        found = label_weights(graph, labels, count)
        levels.append(LevelLook(level.name, count, found, *crossing_purity(graph, labels, count)))
    return Look(describe(graph), path_lengths(graph), sweep_cut(graph, study.spectrum), levels)


def _occurring(study: Study, level: LabelLevel) -> tuple[Integers, int]:
    """The labels of all images, 0 .. C - 1 of the C that occur: few images may not have all of the names."""
    names, labels = np.unique(study.all_labels(level), return_inverse=True)
    return labels.astype(np.int64), len(names)


def clusters_of(study: Study, spectrum: Spectrum, level: LabelLevel) -> ClusterFacts:
    """Returns how well spectral clusters agree with the labels of a level.

    Args:
        study: N nodes.
        spectrum: Of one eigenvalue more than there are labels.
        level: C labels that occur, 2 or more and fewer than nodes.
    """
    graph, (labels, count) = study.graph, _occurring(study, level)
    clusters, of_nodes = spectral_clusters(graph, spectrum, count), labels_of_nodes(graph, labels, count)
    random = numpy_stream(0, f"clusters at random, {level.name}")
    purity, nmi = cluster_agreement(of_nodes, clusters)
    by_chance = np.mean([cluster_agreement(of_nodes, random.permutation(clusters)) for _ in range(NUM_SHUFFLES)], 0)
    values = spectrum.values
    return ClusterFacts(
        purity, float(by_chance[0]), nmi, float(by_chance[1]), float(values[count - 1] - values[count]),
        float(np.nanmax(conductances(graph, clusters, count))), float(1 - values[count - 1]) / 2,
    )  # fmt: skip


def measure_look(study: Study, seen: Look) -> Iterator[Measurement]:
    """Yields what goes into the table; clusters where there are `NUM_EIGENVALUES` - 1 labels at most.

    The spectrum is of `NUM_EIGENVALUES`, or of all: the numbers do not depend on how many eigenvectors are compared.
    """
    count = min(NUM_EIGENVALUES, study.graph.num_nodes)
    known = len(study.spectrum.values) == count
    spectrum = study.spectrum if known else top_eigenpairs(study.graph, count)
    for name, value in (*_of_graph(seen), *_of_spectrum(spectrum)):
        yield Measurement(UNLABELLED, "train", PREFIX + name, float(value))
    clustered = {one.level for one in seen.levels if 2 <= one.num_labels < count}
    found = {one.name: clusters_of(study, spectrum, one) for one in study.levels if one.name in clustered}
    for level in seen.levels:
        clusters = found.get(level.level)
        for name, value in (*_of_level(level), *(clusters._asdict().items() if clusters else ())):
            yield Measurement(level.level, "train", PREFIX + name, float(value))


def _of_graph(seen: Look) -> Iterator[tuple[str, float]]:
    yield from seen.facts._asdict().items()
    yield "mean_path", seen.paths.mean
    yield "longest_path", seen.paths.longest
    yield "path_nodes", seen.paths.num_nodes
    yield "path_sources", seen.paths.num_sources
    yield "cut_conductance", seen.cut.conductance
    yield "cut_conductance_lower", seen.cut.lower
    yield "cut_conductance_upper", seen.cut.upper


def _of_spectrum(spectrum: Spectrum) -> Iterator[tuple[str, float]]:
    gaps = spectrum.gaps[1:]
    if len(gaps):
        yield "largest_eigengap", float(gaps.max())
        yield "largest_eigengap_after", int(gaps.argmax()) + 2
    for number, value in enumerate(spectrum.values, start=1):
        yield f"{EIGENVALUE.removeprefix(PREFIX)}{number}", value


def _of_level(level: LevelLook) -> Iterator[tuple[str, float]]:
    weights = level.weights.edges
    yield "num_labels", level.num_labels
    yield "weight_within", weights.within
    yield "weight_between", weights.between
    yield "weight_within_chance", weights.chance
    yield "mean_weight_within", weights.mean_within
    yield "mean_weight_between", weights.mean_between
    yield "label_error", level.weights.label_error
    if level.level != SAMPLE:
        yield "step_keeps_label", level.kept
        yield "step_keeps_label_chance", level.kept_chance
