"""Do heads that learned the labels of one domain work in another one, and what of pretraining makes them?

Pretrains networks on unlabelled images of source and target together and of the source alone, then fits heads to the
source's labels and asks them for the target's (arXiv 2204.02683); beside it networks trained on the source's labels
alone, domain-adversarially (DANN) and by self-training, with the same backbone, images, epochs and seeds.
"""

import sys

from sweeps.adaptation import ADAPTATION
from sweeps.cli import Axis, Sweep, main
from sweeps.demo import SMALL

SWEEP = Sweep(
    name="transfer",
    question=__doc__ or "",
    axes=(
        Axis("methods", "method.name", ("swav",), "methods that pretrain without labels"),
        Axis("seeds", "seed", (0, 1, 2), "seeds of the weights, the views and the order of the images"),
    ),
    demo={
        **SMALL,
        "data.shift": "blur:0.5",
        "method.name": ("vicreg",),  # which learns within so few epochs
        "seed": (0,),
        "backbone.depth": 2,
        "backbone.width": 16,
    },
    study={"data.shift": "subpopulations"},
    example="--dataset cifar100 --shift subpopulations --depth 5 --width 64 --epochs 100",
    extension=ADAPTATION,
)

if __name__ == "__main__":
    sys.exit(main(SWEEP))
