"""Every panel of "Reverse Engineering Self-Supervised Learning" (arXiv 2305.15614), and which of its trends hold?

Pretrains RES-L-H networks over a grid of depths and widths, trains the same networks supervised with and without
augmentation, and a teacher whose predictions become targets of graded randomness; measures every layer of every
checkpoint at all label levels, mutual information with the input and UMAP included; draws figures 1 to 5, checks the
published trends and writes the report. Hours where sweeps/depth_width.py takes one.
"""

import sys

from sweeps.cli import Axis, Sweep, main
from sweeps.demo import SMALL
from sweeps.targets import EVERY_PANEL

SWEEP = Sweep(
    name="reverse_engineering",
    question=__doc__ or "",
    axes=(
        Axis("depths", "backbone.depth", (2, 5, 10), "numbers of residual blocks, L"),
        Axis("widths", "backbone.width", (32, 64), "channels of every layer, H"),
        Axis("seeds", "seed", (0,), "seeds of the weights, the views and the order of the images"),
    ),
    demo={
        **SMALL,
        "backbone.depth": (1, 2),
        "backbone.width": (16,),
        "training.num_checkpoints": 4,
    },
    example="--dataset cifar100 --depths 2 5 10 --widths 32 64 --epochs 100 --seeds 0 1 2",
    extension=EVERY_PANEL,
)

if __name__ == "__main__":
    sys.exit(main(SWEEP))
