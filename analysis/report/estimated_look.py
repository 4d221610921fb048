"""What the estimated graphs of a sweep look like, in the report (`python -m analysis connectivity SWEEP --groups`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from analysis.connectivity.estimated import KINDS
from analysis.figures.base.numbers import Frame
from analysis.graph.ties import EQUAL
from analysis.metrics.base import UNLABELLED
from analysis.report import markup

Numbers: TypeAlias = Mapping[tuple[str, str], float]
"""By metric, without its beginning, and level."""

_AGREEMENT: Final = "agreement_top"
_NODES: Final = {"class": "classes", "image": "training images"}
_NONE: Final = "\N{EN DASH}"
_HEAD: Final = (
    "level", "error of two of one label", "of two labels", "weight within (chance)", "purity of clusters (chance)",
    "NMI (chance)", "eigengap", "sparsest partition",
)  # fmt: skip
_CAPTION: Final = (
    "Test errors of a small classifier that tells two groups' augmented views apart, and as many spectral clusters as "
    "there are labels; weights and purity in per cent, beside them what chance has: views paired at random, the same "
    "clusters put on random nodes. NMI: of clusters and labels, 0 to 1. Sparsest partition: the largest conductance of "
    "a spectral cluster, and what eigenvalues say that no partition into so many is below."
)


def look_of_estimates(measurements: Frame) -> str:
    """Returns what the graph of each kind of groups looks like, mean over seeds and data sets by themselves; ""
    without any."""
    found = ""
    for kind in KINDS:
        beginning = f"{kind}_graph_"
        rows = measurements[measurements["metric"].str.startswith(beginning)]
        for dataset, one in rows.groupby("dataset", sort=True):
            seeds = one.drop_duplicates(["seed", "metric", "level"])  # trials of a seed have the same rows
            means = seeds.groupby(["metric", "level"], sort=False)["value"].mean()
            value = {(metric.removeprefix(beginning), level): float(mean) for (metric, level), mean in means.items()}
            found += _of_graph(value, f"{_NODES[kind]} of {dataset}", seeds["seed"].nunique())
    return found


def _of_graph(value: Numbers, nodes: str, num_seeds: int) -> str:
    pairs = [(name, markup.text(words)) for name, words in _facts(value, nodes, num_seeds)]
    levels = list(dict.fromkeys(level for _, level in value if level != UNLABELLED))
    rows = [_line(value, level) for level in levels]
    return markup.facts(pairs) + (markup.table(list(_HEAD), rows, _CAPTION, range(1, len(_HEAD))) if rows else "")


def _facts(value: Numbers, nodes: str, num_seeds: int) -> Iterator[tuple[str, str]]:
    def of(name: str) -> float:
        return value.get((name, UNLABELLED), math.nan)

    seeds = f"; means over the graphs of {num_seeds} seeds" if num_seeds > 1 else ""
    yield "nodes", f"{of('num_nodes'):.0f} {nodes}{seeds}"
    yield "errors", (f"{of('error_between'):.3f} between two groups, {of('floor'):.3f} between the two that are told "
                     f"apart best, {of('error_within'):.3f} within one; {of('share_of_edges'):.1%} of the pairs have "
                     "an edge")  # fmt: skip
    yield "components", f"{of('num_components'):.3g}, the largest with {of('largest_component'):.1%} of the weight"
    if math.isfinite(of("mean_path")):
        yield "shortest paths", f"mean {of('mean_path'):.2f} steps, longest {of('longest_path'):.3g}"
    gap = of("largest_eigengap")
    after = f"; largest eigengap {gap:.4f}" if gap > EQUAL else "; no eigengap"
    at = f", after no. {of('largest_eigengap_after'):.0f}" if gap > EQUAL and num_seeds == 1 else ""
    yield "eigenvalues", (f"second {of('second_eigenvalue'):.4f}{after}{at}; the smallest of all errors "
                          f"{of('smallest_eigenvalue'):.4f}")  # fmt: skip
    yield "sparsest cut", (f"conductance {of('cut_conductance'):.4f} or less; the best one has "
                           f"{of('cut_conductance_lower'):.4f} to "
                           f"{min(1.0, of('cut_conductance_upper')):.4f} (Cheeger)")  # fmt: skip
    shared = {name: one for (name, _), one in value.items() if name.startswith(_AGREEMENT)}
    if shared:
        said = ", ".join(f"{one:.2f} of the top {name.removeprefix(_AGREEMENT)}" for name, one in shared.items())
        yield "seeds agree", f"mean squared cosine of eigenvectors {said}"


def _line(value: Numbers, level: str) -> list[str]:
    def of(name: str) -> float:
        return value.get((name, level), math.nan)

    def beside(name: str) -> str:
        return f"{100 * of(name):.1f} ({100 * of(f'{name}_chance'):.1f})"

    gap, same = of("eigengap"), of("error_same")
    return [
        markup.text(level), f"{same:.3f}" if math.isfinite(same) else _NONE, f"{of('error_other'):.3f}",
        beside("weight_within"), beside("cluster_purity"),
        f"{of('cluster_nmi'):.2f} ({of('cluster_nmi_chance'):.2f})", f"{gap:.4f}" if gap > EQUAL else "tied",
        f"{of('largest_conductance_lower'):.2f} to {of('largest_conductance'):.2f}",
    ]  # fmt: skip
