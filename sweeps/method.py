"""Which method learns what, in which layer, and when, at equal budget?

Pretrains one network with every method, on the same images, for the same number of epochs and seeds, each method
with its own published options, measures every layer of every checkpoint, and draws the figures.
"""

import sys

from sweeps.cli import Axis, Sweep, main
from sweeps.demo import SMALL

SWEEP = Sweep(
    name="method",
    question=__doc__ or "",
    axes=(
        Axis("methods", "method.name", ("vicreg", "simclr", "barlow_twins", "byol", "spectral", "supervised"),
             "methods that are compared"),
        Axis("seeds", "seed", (0, 1), "seeds of the weights, the views and the order of the images"),
    ),
    demo={
        **SMALL,
        "method.name": ("vicreg", "simclr", "spectral", "supervised"),
        "seed": (0,),
        "backbone.depth": 2,
        "backbone.width": 16,
        "method.queue_size": 1024,
        "method.num_prototypes": 64,
        "method.whitening_size": 64,
        "method.embedding_dim@w_mse": 32,  # less than are whitened together
        "method.crop_split": 0.5,
    },
    example="--dataset cifar100 --methods vicreg simclr byol swav supervised --epochs 100 --seeds 0 1 2",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(SWEEP))
