"""What the theory of arXiv 2106.04156 says of features: they come closer to the graph's top eigenvectors.

The graph is an exact one of coarse views (see `analysis.graph.views`), not that of the augmentation of the training, so
the claim is weaker than the theory: that training moves the representation towards these eigenvectors.
"""

from __future__ import annotations

from typing import Final

from analysis.claims.base.contract import Claim
from analysis.claims.base.series import by_epoch, gain, per_trial
from analysis.needs import Measured

ALIGNMENT: Final = "spectral_alignment_top20"

CLAIMS: Final = (
    Claim(
        "spectral_features_approach_eigenvectors", "arXiv 2106.04156",
        "Training brings the strongest directions of the representation closer to the graph's top eigenvectors.",
        "mean squared cosine with the top 20 eigenvectors of the graph of test images, end less initialisation",
        lambda table: per_trial(by_epoch(table, ALIGNMENT, "none"), gain), "above", 0.0,
        (Measured(ALIGNMENT, "none", "test", 2, start=True),),
    ),
)  # fmt: skip
