"""The graph of positive pairs between groups of images, estimated: what weighs an edge is how often they are confused.

Why an error is a weight: let p_i be the density of the views of group i. The least error of telling two groups apart is
half of what their views have in common, 1/2 sum over x of min(p_i(x), p_j(x)), 0 where no view could be of both, and
1/2 for a group and itself. As a matrix over groups it has no eigenvalue below 0 (it is the histogram intersection
kernel), as the graph of positive pairs has none. It is not the weight of that graph (arXiv 2106.04156), between groups
mean p_i(x) p_j(x) / mean over k of p_k(x), but 0 where that is 0 and larger where more is in common: of exact views of
1,000 images (3 x 3 cells) the top 10 eigenvectors of both have a mean squared cosine of .75 over the classes of
CIFAR-100 (random spans .10), .92 over those of shapes (.50). A classifier errs more often than is necessary, so that
estimates are above, and by chance, so that eigenvalues may fall below 0.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from analysis.connectivity.groups import Errors, GroupErrors, Labels
from analysis.connectivity.stored import read_recorded, record_name
from analysis.graph.weighted_graph import WeightedGraph
from ray_ssl.errors import UserError
from ray_ssl.storage import Storage

CLASS, IMAGE = "class", "image"
KINDS: Final = (CLASS, IMAGE)
"""What a group is: the images of a class, or one image."""

QUANTILE: Final = 1.959964
"""Of the normal distribution, so that the interval of the smallest error covers 95 %."""


def file_name(kind: str) -> str:
    """Returns the name of the files of a kind of groups; see `stored`."""
    return f"connectivity-{kind}"


@dataclass(frozen=True)
class EstimatedGraph:
    """A graph whose nodes are groups.

    Attributes:
        graph: Weights are errors, those up to `threshold` no edge, and 1/2 within a group: by definition, since its
            random halves are alike.
        groups: int64 [N], the group that each node is; groups that were not measured are no node.
        errors: float64 [N, N], as they were measured between two groups; 1/2 on the diagonal.
        within: float64 [N], as they were measured within: 1/2 but for the noise of so few test images.
        floor: The smallest error between two groups.
        threshold: float64 [N, N]: the largest error of two groups that is still within the noise of `floor`, were it
            that of so many test pictures: the upper end of Wilson's 95 % interval. A classifier is never sure, so two
            groups without a view in common are confused too; how often is not known, and the pair that is told apart
            best stands for it.
    """

    graph: WeightedGraph
    groups: Labels
    errors: Errors
    within: Errors
    floor: float
    threshold: Errors

    @property
    def pairs(self) -> Errors:
        """Errors of all pairs of different groups, float64 [N (N - 1) / 2]."""
        return self.errors[np.triu_indices(len(self.errors), 1)]

    @property
    def share_of_edges(self) -> float:
        """Share of the pairs of different groups that have an edge."""
        return float((self.graph.matrix[np.triu_indices(len(self.errors), 1)] > 0).mean())


def estimate(errors: GroupErrors, num_test: Labels) -> EstimatedGraph:
    """Returns the graph of the groups that were measured against all others that were.

    Args:
        errors: Of G groups.
        num_test: int64 [G]: test pictures of each group that are independent of each other; views of one image are not.
    """
    groups = np.flatnonzero(np.isfinite(errors.within))
    between, tested = errors.between[np.ix_(groups, groups)].copy(), num_test[groups]
    np.fill_diagonal(between, 0.5)
    different = ~np.eye(len(groups), dtype=bool)
    floor = float(between[different].min())
    threshold = upper_end(floor, tested[:, None] + tested[None, :])
    graph = WeightedGraph(np.where((between > threshold) | ~different, between, 0.0))
    return EstimatedGraph(graph, groups, between, errors.within[groups], floor, threshold)


def upper_end(share: float, count: Any) -> Any:
    """Returns the upper end of Wilson's 95 % interval of a share that was observed in so many cases."""
    square = QUANTILE**2 / count
    return (share + square / 2 + np.sqrt(square * (share * (1 - share) + square / 4))) / (1 + square)


def interval(share: float, count: float) -> tuple[float, float]:
    """Returns both ends of Wilson's 95 % interval of a share that was observed in so many cases."""
    return float(1 - upper_end(1 - share, count)), float(upper_end(share, count))


def mean_errors(errors: Mapping[int, GroupErrors]) -> GroupErrors:
    """Returns the mean over seeds; those that are not measured as far as any other are left out."""
    whole = [errors[seed] for seed in whole_seeds(errors)]
    return GroupErrors(np.mean([one.between for one in whole], 0), np.mean([one.within for one in whole], 0))


def whole_seeds(errors: Mapping[int, GroupErrors]) -> list[int]:
    """Returns the seeds that are measured as far as any other."""
    measured = {
        seed: int(np.isfinite(one.between).sum() + np.isfinite(one.within).sum()) for seed, one in errors.items()
    }
    return [seed for seed in errors if measured[seed] == max(measured.values())]


class Stored(NamedTuple):
    """An estimate in the folder of a sweep.

    Attributes:
        fingerprint: Hash of its errors, of all seeds.
        about: What it is of; see `graph_command`.
        graph: Of the mean over seeds.
        seeds: That it is the mean over.
    """

    fingerprint: str
    about: Mapping[str, Any]
    graph: EstimatedGraph
    seeds: Sequence[int]


def read_estimate(sweep: Storage, kind: str) -> Stored | None:
    """Returns the estimated graph of a sweep; None where there is none or its measurement is not finished.

    Raises:
        UserError: Its files are torn or altered.
    """
    name = file_name(kind)
    if not sweep.exists(record_name(name)):
        return None
    record = sweep.read_sealed(record_name(name))
    errors = {} if record is None else read_recorded(sweep, record, name)
    if record is None or not errors:
        raise UserError(
            f"{sweep.address(record_name(name))} or {name}.safetensors beside it is torn or altered: python -m "
            f"analysis connectivity {shlex.quote(sweep.uri)} --groups {kind} makes them anew"
        )
    mean = mean_errors(errors)
    known = np.isfinite(mean.within)
    between = mean.between[np.ix_(known, known)]
    if known.sum() < 3 or np.isfinite(between).sum() < between.size - len(between):
        return None
    graph = estimate(mean, np.array(record["about"]["num_test"]))
    return Stored(record["sha256"], record["about"], graph, whole_seeds(errors))
