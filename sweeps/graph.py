"""Does minimising the spectral contrastive loss find the top eigenvectors of the graph of positive pairs?

Builds the exact graph of a finite family of views of all images, and learns features of its nodes that minimise the
loss: free ones (table), and those of a small network of the views (network). Compares both with the top eigenvectors,
step by step: angles between the spans, the loss and its closed-form minimum, linear heads (arXiv 2106.04156).
"""

import sys

from sweeps.graph_cli import GraphSweep, main

SWEEP = GraphSweep(
    name="graph",
    question=__doc__ or "",
    example="--dataset cifar100 --num-images 2000 --k 10 20 --seeds 0 1 2",
)

if __name__ == "__main__":
    sys.exit(main(SWEEP))
