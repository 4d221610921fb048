"""What the theory of arXiv 2106.04156 says of features: they come closer to the graph's top eigenvectors.

Of encoders the graph is an exact one of coarse views (see `analysis.graph.views`), not that of the augmentation of the
training, so the claim is weaker than the theory: that training moves the representation towards these eigenvectors. Of
`sweeps/graph.py` it is the graph that the features are learned on. The estimated graph (`python -m analysis
connectivity SWEEP --groups class`) is one of classes, of SimCLR's views whatever a method trains with, and as noisy as
its classifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from analysis.claims.base.contract import DIFFERENCE, Claim, Frame
from analysis.claims.base.series import by_epoch, gain, per_trial
from analysis.figures.base.graphs import lengths
from analysis.graph.alignment import NUM_EQUAL
from analysis.needs import Measured

ALIGNMENT: Final = "spectral_alignment_top20"

ESTIMATED: Final = "estimated_alignment_top10"

ON_GRAPH: Final = "eigenvector_alignment"


def unfinished(table: Frame) -> str:
    """Returns what is to be said of trainings on a graph that have not reached their last step."""
    found = lengths(table)
    found = found[found["reached"] < found["steps"]]
    where = ", ".join(f"{reached} of {steps}" for reached, steps in zip(found["reached"], found["steps"], strict=True))
    return f"{len(found)} training(s) at step {where}, unfinished: the same command goes on" if len(found) else ""


def tied(table: Frame) -> str:
    """Returns what is to be said of trainings on a graph where eigenvalue k equals the next."""
    return _said(set(table.loc[(table["metric"] == NUM_EQUAL) & (table["value"] > 0), "width"]))


def tied_at(k: int, metric: str, level: str) -> Callable[[Frame], str]:
    """Returns what says it of encoders that were compared with the top k eigenvectors.

    Args:
        k: Of them.
        metric: Number of eigenvalues that equal the k-th.
        level: Where it stands.
    """

    def said(table: Frame) -> str:
        rows = table[(table["metric"] == metric) & (table["level"] == level) & (table["split"] == "test")]
        return _said({k} if (rows["value"] > 0).any() else set())

    return said


def _said(ks: Collection[int]) -> str:
    where = " and ".join(f"{k} and {k + 1}" for k in sorted(ks))
    return f"eigenvalues {where} are equal: compared with the closest of all spans of least loss" if where else ""


def _caveat(table: Frame) -> str:
    return "; ".join(filter(None, (unfinished(table), tied(table))))


_ON_GRAPH: Final = Claim(
    "spectral_features_approach_eigenvectors", "arXiv 2106.04156",
    "Minimising the spectral contrastive loss on a graph brings features closer to its top eigenvectors.",
    "mean squared cosine with as many top eigenvectors of the graph, last step less initialisation",
    lambda table: per_trial(by_epoch(table, ON_GRAPH, "none", "train"), gain), "above", 0.0,
    (Measured(ON_GRAPH, "none", "train", 2, start=True),), within=DIFFERENCE, caveat=_caveat,
)  # fmt: skip

CLAIMS: Final = (
    Claim(
        "spectral_features_approach_eigenvectors", "arXiv 2106.04156",
        "Training brings the strongest directions of the representation closer to the graph's top eigenvectors.",
        "mean squared cosine with the top 20 eigenvectors of the graph of test images, end less initialisation",
        lambda table: per_trial(by_epoch(table, ALIGNMENT, "none"), gain), "above", 0.0,
        (Measured(ALIGNMENT, "none", "test", 2, start=True),), on_graph=_ON_GRAPH,
        caveat=tied_at(20, f"{NUM_EQUAL}_top20", "none"),
    ),
    Claim(
        "encoders_approach_estimated_eigenvectors", "arXiv 2106.04156",
        "Training brings class means of the representation closer to the top eigenvectors of the estimated graph.",
        "mean squared cosine with the top 10 eigenvectors of the graph of classes (test), end less initialisation",
        lambda table: per_trial(by_epoch(table, ESTIMATED, "class"), gain), "above", 0.0,
        (Measured(ESTIMATED, "class", "test", 2, start=True),), within=DIFFERENCE,
        caveat=tied_at(10, "estimated_num_equal_top10", "class"),
    ),
)  # fmt: skip
