"""What an exact graph of positive pairs looks like, in the report: a list of facts and a table by label level."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

import numpy as np

from analysis.figures.base.numbers import Frame
from analysis.graph.look import EIGENVALUE, PREFIX, SAMPLE
from analysis.graph.ties import EQUAL
from analysis.metrics.base import UNLABELLED
from analysis.report import markup
from analysis.table import GRAPH

Numbers: TypeAlias = Mapping[tuple[str, str], float]
"""By metric, without its beginning, and level."""

NUM_SHOWN: Final = 8
"""Eigenvalues, from the first to the last that is known."""

_NONE: Final = "\N{EN DASH}"
_CAPTION: Final = (
    "Edges within and between labels, and as many spectral clusters as there are labels. A node has the most probable "
    "label of its views; weights and shares in per cent, what chance has beside them: views paired at random; two "
    "independent images; the same clusters put on random nodes. Contrast: mean weight of a pair of nodes of one label "
    "over that of two. Kept: of steps over a view to another image, those that keep the label. Label error: "
    "views whose label is not their image's. NMI: of clusters and labels, 0 to 1. Sparsest partition: the largest "
    "conductance of a spectral cluster, and what eigenvalues say that no partition into so many is below; where the "
    "eigenvalues are tied, others cut as little, and the clusters are one choice of many. At level sample each image "
    "is a label."
)
_HEAD: Final = (
    "level", "labels", "weight within (chance)", "between", "contrast", "kept (chance)", "label error",
    "purity of clusters (chance)", "NMI (chance)", "eigengap", "sparsest partition",
)  # fmt: skip


def look_of_graphs(measurements: Frame) -> str:
    """Returns what each graph of a table looks like; "" where it has none."""
    rows = measurements[measurements["method"] == GRAPH]
    return "".join(_of_graph(one, rows["trial_key"].nunique() > 1) for _, one in rows.groupby("trial_key", sort=False))


def _of_graph(rows: Frame, several: bool) -> str:
    value = {(row.metric.removeprefix(PREFIX), row.level): float(row.value) for row in rows.itertuples()}
    pairs = [(name, markup.text(words)) for name, words in _facts(value)]
    pairs = [*([("graph of", markup.text(rows["dataset"].iloc[0]))] if several else []), *pairs]
    levels = list(dict.fromkeys(level for _, level in value if level != UNLABELLED))
    numbers = range(1, len(_HEAD))
    return markup.facts(pairs) + markup.table(list(_HEAD), [_line(value, one) for one in levels], _CAPTION, numbers)


def _facts(value: Numbers) -> Iterator[tuple[str, str]]:
    def of(name: str) -> float:
        return value.get((name, UNLABELLED), math.nan)

    yield "nodes", f"{of('num_nodes'):,.0f}, views of {of('num_images'):,.0f} images"
    yield "components", (f"{of('num_components'):,.0f}, the largest with {of('largest_component'):.1%} of the weight "
                         f"and {of('path_nodes'):,.0f} nodes")  # fmt: skip
    yield "joined", (f"{of('shared'):.1%} of the views are of several images; a step over a view leaves its image with "
                     f"probability {of('crossing'):.2f}")  # fmt: skip
    if of("path_nodes") > 1:
        sampled = of("path_sources") < of("path_nodes")
        sources = f", from {of('path_sources'):.0f} random nodes" if sampled else ""
        yield "shortest paths", (f"mean {of('mean_path'):.2f} steps, longest {'at least ' * sampled}"
                                 f"{of('longest_path'):.0f}, in the largest component{sources}")  # fmt: skip
    values = [value[name, UNLABELLED] for name in _eigenvalues(value)]
    shown = np.unique(np.geomspace(1, len(values), NUM_SHOWN).round().astype(int))
    yield "eigenvalues", ", ".join(f"{values[i - 1]:.4f} (no. {i})" for i in shown)
    if (gap := of("largest_eigengap")) > EQUAL:
        yield "eigengap", f"the largest from the second on is {gap:.4f}, after no. {of('largest_eigengap_after'):.0f}"
    cut = f"{of('cut_conductance_lower'):.4f} to {min(1.0, of('cut_conductance_upper')):.4f}"
    yield "sparsest cut", (
        "0: there are several components" if of("num_components") > 1
        else f"conductance {of('cut_conductance'):.4f} or less; the best one has {cut} (Cheeger)"
    )  # fmt: skip


def _eigenvalues(value: Numbers) -> list[str]:
    beginning = EIGENVALUE.removeprefix(PREFIX)
    names = [name for name, _ in value if name.startswith(beginning)]
    return sorted(names, key=lambda name: int(name.removeprefix(beginning)))


def _line(value: Numbers, level: str) -> list[str]:
    def of(name: str) -> float:
        return value.get((name, level), math.nan)

    def percent(name: str) -> str:
        return f"{100 * of(name):.1f}" if math.isfinite(of(name)) else _NONE

    def beside(name: str, chance: str) -> str:
        return f"{percent(name)} ({percent(chance)})" if math.isfinite(of(name)) else _NONE

    between, gap = of("mean_weight_between"), of("eigengap")
    contrast = of("mean_weight_within") / between if between > 0 else math.inf
    nmi = f"{of('cluster_nmi'):.2f} ({of('cluster_nmi_chance'):.2f})"
    partition = f"{of('largest_conductance_lower'):.2f} to {of('largest_conductance'):.2f}"
    clustered = math.isfinite(gap)
    return [
        markup.text(level), f"{of('num_labels'):,.0f}", beside("weight_within", "weight_within_chance"),
        percent("weight_between"), f"{contrast:.1f}" if math.isfinite(contrast) else "\N{INFINITY}",
        _NONE if level == SAMPLE else beside("step_keeps_label", "step_keeps_label_chance"), percent("label_error"),
        beside("cluster_purity", "cluster_purity_chance"), nmi if clustered else _NONE,
        (f"{gap:.4f}" if gap > EQUAL else "tied") if clustered else _NONE, partition if clustered else _NONE,
    ]  # fmt: skip
