"""Which functions of the input does self-supervised learning learn: semantic or random ones?

Trains a supervised teacher and takes its predictions at several epochs as targets, from random functions of the input
to the classes (arXiv 2305.15614), beside labels with uniform noise; pretrains networks without labels, and supervised
ones on some of the targets; measures every layer of every checkpoint on the classes and on all targets.
"""

import sys

from sweeps.cli import Axis, Sweep, main
from sweeps.demo import SMALL
from sweeps.targets import GRADED

SWEEP = Sweep(
    name="randomness",
    question=__doc__ or "",
    axes=(
        Axis("methods", "method.name", ("vicreg",), "methods that are measured on the targets"),
        Axis("seeds", "seed", (0,), "seeds of the weights, the views and the order of the images"),
    ),
    demo={
        **SMALL,
        "backbone.depth": 2,
        "backbone.width": 16,
    },
    example="--dataset cifar100 --depth 10 --width 64 --epochs 100 --seeds 0 1 2",
    extension=GRADED,
)

if __name__ == "__main__":
    sys.exit(main(SWEEP))
