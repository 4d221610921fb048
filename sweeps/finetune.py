"""Probe, fine-tune, or probe and then fine-tune, in the domain that was trained on and in another one?

Fine-tunes checkpoints of a sweep that pretrained encoders (--from), with fresh heads (FT) and with those of a linear
probe (LP-FT; its epoch 0 is the linear probe, LP), over learning rates and seeds, on the labelled source of a --shift.
Learning rate and epoch are chosen on images held out of the source; the target is only measured on. Measures the head's
accuracy and how far the features of every layer moved, epoch by epoch (arXiv 2202.10054).
"""

import sys

from sweeps.cli import Axis, Sweep, main
from sweeps.finetuning import FINETUNING, PROTOCOL

SWEEP = Sweep(
    name="finetune",
    question=__doc__ or "",
    axes=(
        Axis("heads", "method.head", ("fresh", "probe"), "fresh: fine-tuning; probe: after the linear probe, LP-FT"),
        Axis("batch-norms", "method.batch_norm", ("train",), "train, frozen: by the batch's or by the pretrained "
             "statistics"),
        Axis("learning-rates", "optimiser.learning_rate", (6e-4, 2e-3, 6e-3, 2e-2, 6e-2, 2e-1, 6e-1),
             "peak learning rates per 128 images; half of each is used for the 64 of a batch"),
        Axis("seeds", "seed", (0, 1, 2), "seeds of fresh heads, of the views and of the order of the images"),
    ),
    demo=PROTOCOL,
    study=PROTOCOL,
    example="--from results/depth_width-cifar100-0a1b2c --shift subpopulations",
    extension=FINETUNING,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(SWEEP))
