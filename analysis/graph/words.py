"""What is said of an exact graph and of its top eigenvectors, in lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from analysis.graph.experiment import BOUND, GAP, HEAD_ERROR, PURITY, Study
from analysis.graph.labels import EdgeWeights
from analysis.graph.look import PREFIX, SAMPLE, Look
from analysis.graph.partition import SweepCut
from analysis.graph.ties import EQUAL, is_tied, nearest_gaps
from analysis.metrics.base import UNLABELLED

CHANCE_MARGIN: Final = 0.2
"""What keeps labels no more often than chance and this share of it (or of its distance to 1) counts as chance."""


def say(study: Study, seen: Look) -> Iterator[str]:
    """Yields what the graph looks like, in lines."""
    facts, paths, values = seen.facts, seen.paths, study.spectrum.values
    yield (f"graph     {facts.num_images} images (training and test) of {study.dataset.name}, {facts.num_nodes} nodes, "
           f"{facts.num_components} component(s), the largest {facts.largest_component:.1%} of the weight")  # fmt: skip
    yield (f"          {facts.shared:.1%} of the views are of several images; a step over a view leaves its image with "
           f"probability {facts.crossing:.2f}")  # fmt: skip
    sampled = paths.num_sources < paths.num_nodes
    sources = f"from {paths.num_sources} random nodes" if sampled else "between all nodes"
    yield (f"paths     the largest component has {paths.num_nodes} nodes; shortest paths {sources}: mean "
           f"{paths.mean:.2f} steps, longest {'at least ' * sampled}{paths.longest}")  # fmt: skip
    shown = np.unique(np.geomspace(1, len(values), 8).round().astype(int))
    yield "spectrum  " + ", ".join(f"{values[i - 1]:.4f} (no. {i})" for i in shown)
    yield f"cut       {_cut(seen.cut, facts.num_components)}"
    for level in seen.levels:
        found = level.weights.edges
        crossing = "" if level.level == SAMPLE else f"; {what_steps_keep(level.kept, level.kept_chance)}"
        yield (f"{level.level:9} weight within {found.within:.3f} (chance {found.chance:.3f}), {_contrast(found)}, "
               f"label error {level.weights.label_error:.3f}{crossing}")  # fmt: skip
    left_out = study.left_out
    for name in ("class",) if "class" in left_out else left_out:
        of = "" if name == "class" else f"of {name}: "
        yield (f"labels    {of}{left_out[name]}: left out is what asks for them (weight within classes, purity of "
               "clusters, linear heads)")  # fmt: skip


def say_ties(study: Study, sizes: Sequence[int]) -> Iterator[str]:
    """Yields a line on the numbers of eigenvectors whose span is not determined; none where there is no such number."""
    tied = [k for k in sizes if is_tied(study.spectrum, k)]
    if tied:
        near = sorted({gap for k in tied for gap in nearest_gaps(study.graph, study.spectrum, k)})
        pairs, gaps = ", ".join(f"{k} and {k + 1}" for k in tied), ", ".join(map(str, near))
        yield (f"tied      equal eigenvalues: {pairs}; the span of so many top eigenvectors is not determined, nor are "
               "their clusters and heads; learned features are compared with the closest span of least loss; "
               f"{f'nearest gaps after {gaps}' if gaps else 'no gap is near'}")  # fmt: skip


def _cut(cut: SweepCut, num_components: int) -> str:
    if num_components > 1:
        return f"the graph has {num_components} components: a cut of weight 0, conductance 0"
    return f"conductance {cut.conductance:.4f}; Cheeger: {cut.lower:.4f} <= best <= {min(1.0, cut.upper):.4f}"


def _contrast(found: EdgeWeights) -> str:
    if not found.mean_between > 0:
        return "no weight between labels"
    return f"mean weight of a pair within over between {found.mean_within / found.mean_between:.1f}"


def what_steps_keep(kept: float, chance: float) -> str:
    """What steps to other images say of labels; for the arguments see `crossing_purity`."""
    if np.isnan(kept):
        return "no step leaves its image, so edges say nothing of labels"
    more = kept - chance > CHANCE_MARGIN * min(chance, 1 - chance)
    verdict = (
        "" if more else f": no more than chance and {CHANCE_MARGIN:.0%} of it, edges say next to nothing of labels"
    )
    return f"a step to another image keeps it {kept:.3f} (chance {chance:.3f}){verdict}"


def clusters(measurements: Any, key: str) -> Iterator[str]:
    """Yields how well spectral clusters agree with the labels, a line for each level.

    Args:
        measurements: See `analysis.table`.
        key: The graph's, see `recorded.graph_key`.
    """
    rows = measurements[measurements["trial_key"] == key]
    value = {(one.metric.removeprefix(PREFIX), one.level): one.value for one in rows.itertuples()}
    for level in (level for metric, level in value if metric == "cluster_nmi"):
        purity, purity_chance, nmi, nmi_chance, gap, most, least, count = (
            value[name, level]
            for name in ("cluster_purity", "cluster_purity_chance", "cluster_nmi", "cluster_nmi_chance", "eigengap",
                         "largest_conductance", "largest_conductance_lower", "num_labels")
        )  # fmt: skip
        yield (f"{level:9} {count:.0f} spectral clusters: purity {purity:.3f} (chance {purity_chance:.3f}), NMI "
               f"{nmi:.3f} (chance {nmi_chance:.3f}); {f'eigengap {gap:.4f}' if gap > EQUAL else 'tied'}; largest "
               f"conductance of one {most:.3f}, of the best partition at least {least:.3f}")  # fmt: skip


def heads(measurements: Any, keys: Sequence[str]) -> Iterator[str]:
    """Yields what linear heads of the top eigenvectors reach beside the purity of as many clusters, in lines.

    Where the bound on their error says nothing, being 1 or more, nothing is guaranteed: a dash. No lines where there
    are no labels.

    Args:
        measurements: See `analysis.table`.
        keys: Trials of eigenvectors, by their number.
    """
    of_eigenvectors = measurements[measurements["trial_key"].isin(list(keys))]
    if not (of_eigenvectors["metric"] == PURITY).any():
        return
    yield "heads     k  eigengap  level       purity  accuracy of views (guaranteed)  of test images (chance)"
    for key in keys:
        rows = measurements[measurements["trial_key"] == key]
        value = rows.set_index(["metric", "level", "split"])["value"].to_dict()
        levels = sorted(level for metric, level, _ in value if metric == PURITY)
        gap = value[GAP, UNLABELLED, "train"]
        about = f"   {rows['width'].iloc[0]:8d}  {'tied' if gap <= EQUAL else f'{gap:.4f}':>8}"
        for level in levels:
            accuracy, least = (1 - value[metric, level, "train"] for metric in (HEAD_ERROR, BOUND))
            guaranteed = f"{least:.3f}" if least > 0 else "-"
            tested, chance = value["linear_accuracy", level, "test"], 1 / value["num_classes", level, "test"]
            yield (f"{about}  {level:10}  {value[PURITY, level, 'train']:6.3f}  "
                   f"{accuracy:17.3f} {f'({guaranteed})':>12}  "
                   f"{tested:14.3f} {f'({chance:.3f})':>8}")  # fmt: skip
