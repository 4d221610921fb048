"""How do depth and width shape what is learned, in which layer, and when?

Pretrains RES-L-H networks over a grid of depths and widths, measures every layer of every checkpoint at class and
superclass level (arXiv 2305.15614), and draws the figures.
"""

import sys

from sweeps.cli import Axis, Sweep, main
from sweeps.demo import SMALL

SWEEP = Sweep(
    name="depth_width",
    question=__doc__ or "",
    axes=(
        Axis("depths", "backbone.depth", (2, 5, 10), "numbers of residual blocks, L"),
        Axis("widths", "backbone.width", (32, 64), "channels of every layer, H"),
        Axis("seeds", "seed", (0,), "seeds of the weights, the views and the order of the images"),
    ),
    demo={
        **SMALL,
        "backbone.depth": (1, 2, 4),
        "backbone.width": (8, 16),
    },
    example="--dataset cifar100 --depths 2 5 10 --widths 32 64 --epochs 100 --seeds 0 1 2",
)

if __name__ == "__main__":
    sys.exit(main(SWEEP))
