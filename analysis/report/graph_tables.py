"""The report's tables of an exact graph: what features learned on it reach, and what its top eigenvectors do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from analysis.figures.base.graphs import lengths
from analysis.figures.base.numbers import EIGENVECTORS, LEARNED, LINEAR, Frame, num_classes
from analysis.graph.alignment import NUM_EQUAL, NUM_NODES
from analysis.graph.ties import EQUAL
from analysis.metrics.base import UNLABELLED
from analysis.report import markup
from analysis.report.results import Estimate, estimate

QUESTION: Final = (
    "What do the top eigenvectors of the graph of positive pairs reach, and do linear heads on them solve the "
    "labels?\n\nAn exact graph of a finite family of views (python -m analysis graph). sweeps/graph.py asks whether "
    "minimising the spectral contrastive loss finds them (arXiv 2106.04156)."
)

_NONE: Final = "\N{EN DASH}"
_LEARNED: Final = {
    "eigenvector_alignment": "mean squared cosine",
    "eigenvector_cosine": "smallest cosine",
    "spectral_loss": "loss",
    "least_loss": "its minimum",
}


def learned_table(measurements: Frame) -> str:
    """Returns how close learned features come to the eigenvectors and to the least loss, after the last step; ""
    where none were learned.

    Args:
        measurements: With networks' names.
    """
    rows = measurements[measurements["method"].isin(LEARNED)]
    if rows.empty:
        return ""
    found = [line for _, one in rows.groupby("dataset") for line in _learned_of(one, _levels(rows))]
    caption = (
        "After the last full-batch step that was reached, mean \N{PLUS-MINUS SIGN} half the 95 % confidence interval "
        "over seeds (Student's t; one seed has none). Cosines of the principal angles between the learned span and "
        "that of as many top eigenvectors: 1 is the same span, k / nodes the mean squared cosine of a random one; "
        "where eigenvalue k equals the next (tied), with the closest of all spans of least loss, to which a random one "
        "is closer. "
        "Linear probes in per cent, on test images."
    )
    head = ["features", "graph of", "nodes", "step", *_LEARNED.values(), *_titles(rows), "seeds"]
    about = [head.index(name) for name in ("graph of", "nodes", "step", "seeds")]
    return markup.table(head, found, caption, range(2, len(head)), about)


def eigenvectors_table(measurements: Frame) -> str:
    """Returns what the top eigenvectors, k of them, reach at each label level, their eigengaps alone of images without
    labels; "" where there are none.

    Args:
        measurements: With networks' names.
    """
    rows = measurements[measurements["method"] == EIGENVECTORS]
    if rows.empty:
        return ""
    lines = []
    for (dataset, network), one in rows.groupby(["dataset", "network"], sort=False):
        value = one.drop_duplicates(["metric", "level", "split"]).set_index(["metric", "level", "split"])["value"]
        classes = num_classes(one)
        for level in _levels(one) or [UNLABELLED]:
            at = [("cluster_purity", level, "train"), ("head_error", level, "train"),
                  ("head_error_bound", level, "train"), (LINEAR, level, "test")]  # fmt: skip
            purity, error, bound, probe = (value.get(key) for key in at)
            lines.append([
                markup.text(network), markup.text(dataset), _NONE if level == UNLABELLED else markup.text(level),
                _gap(value.get(("eigengap", "none", "train"))), _percent(purity),
                _percent(None if error is None else 1 - error),
                _percent(None if bound is None or bound >= 1 else 1 - bound),
                _percent(probe), _percent(1 / classes[level] if level in classes else None),
            ])  # fmt: skip
    caption = (
        "Spectral clusters of the graph and linear heads of its top k eigenvectors. Purity in per cent, the share of "
        "views that have the most frequent label of their cluster, and accuracies in per cent: of views, fitted to "
        "the most probable label of each, with what the eigenvalues guarantee (arXiv 2106.04156; the constants are "
        "ours; a dash: nothing), and of test images, by a probe that learned from training images."
        f"{'' if _levels(rows) else ' The images have no labels to tell apart: purity and accuracy are left out.'}"
    )
    head = ["features", "graph of", "level", "eigengap", "purity of clusters", "head on views", "guaranteed",
            "probe on test images", "chance"]  # fmt: skip
    return markup.table(head, lines, caption, range(3, len(head)), (head.index("graph of"), head.index("level")))


def _levels(rows: Frame) -> list[str]:
    """Those that linear probes were fitted at, in the order of the table."""
    return list(rows.loc[rows["metric"] == LINEAR, "level"].unique())


def _titles(rows: Frame) -> list[str]:
    return [f"linear probe, {level}" for level in _levels(rows)]


def _learned_of(table: Frame, levels: Sequence[str]) -> Iterator[list[str]]:
    for network, rows in table.groupby("network", sort=False):
        trained = lengths(rows)
        last = rows[rows["epoch"] == trained["reached"].max()]
        tied = (last.loc[last["metric"] == NUM_EQUAL, "value"] > 0).any()
        steps, reached = int(trained["steps"].max()), int(trained["reached"].max())
        num_less = int((trained["reached"] < reached).sum())
        nodes = last.loc[last["metric"] == NUM_NODES, "value"]
        of = {name: last[(last["metric"] == name) & (last["split"] == "train")] for name in _LEARNED}
        probes = last[(last["metric"] == LINEAR) & (last["split"] == "test")]
        found = [_estimate(estimate(list(one["value"])), 3, 1) for one in of.values()]
        found += [_estimate(estimate(list(probes[probes["level"] == level]["value"])), 1, 100) for level in levels]
        yield [
            markup.text(f"{network}{' (tied)' if tied else ''}"), markup.text(rows["dataset"].iloc[0]),
            f"{nodes.max():.0f}" if len(nodes) else _NONE,
            str(reached) if reached == steps else f"{reached} of {steps}, unfinished; the same command goes on", *found,
            f"{last['seed'].nunique()}{f', {num_less} more unfinished; the same command goes on' if num_less else ''}",
        ]  # fmt: skip


def _estimate(one: Estimate, digits: int, factor: float) -> str:
    if one.n == 0:
        return _NONE
    interval = f" \N{PLUS-MINUS SIGN} {factor * one.half_width:.{digits}f}" if one.n > 1 else ""
    return f"{factor * one.mean:.{digits}f}{interval}"


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _gap(value: float | None) -> str:
    return "tied" if value is not None and value <= EQUAL else _number(value, 4)


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{100 * value:.1f}"
