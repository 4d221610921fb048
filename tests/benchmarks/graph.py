"""The graph of positive pairs from images to eigenvectors, against a dense script; growth to 100,000 nodes.

`python -m tests.benchmarks.graph [--nodes 5000] [--threads 1]`

Images are `shapes`. The dense script lists the same views, writes w and the normalised adjacency as matrices and takes
the top eigenvectors with LAPACK (`scipy.linalg.eigh`, the wanted ones alone); its clusters are scikit-learn's, on both
sides. Both must agree in the eigenvalues and in the span. Then graphs up to 100,000 nodes, each in a process of its
own: seconds of building, eigenvectors, sweep cut and clusters, and the peak of the process's memory. The last line is
the seconds of the dense script over ours.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_limits

from analysis.graph import PairGraph, Spectrum, ViewFamily, build, top_eigenpairs
from analysis.graph.partition import spectral_clusters, sweep_cut
from analysis.graph.views import look
from ray_ssl.data.shapes import draw
from ray_ssl.data_config import DataConfig

K: Final = 20
FAMILY: Final = ViewFamily()
FINER: Final = ViewFamily(crop_sizes=(20, 26), num_levels=3, stretch=False)
"""A family with 43 million possible views, so that nodes do not run out, and few components."""
GROWTH: Final = (250, 500, 1000, 2000, 4000, 8000)
MOST_NODES: Final = 100_000


def images_of(count: int) -> np.ndarray:
    """Returns uint8 [count, 32, 32, 3]."""
    return draw(DataConfig(), "train", count).images


def with_nodes(num_nodes: int) -> np.ndarray:
    """Returns images whose default graph has about that many nodes."""
    pictures = images_of(2000)
    counts = range(20, len(pictures) + 1, 20)
    low, high = 0, len(counts) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if build(pictures[: counts[middle]], FAMILY).graph.num_nodes >= num_nodes \
            else (middle + 1, high)  # fmt: skip
    return pictures[: counts[low]]


def ours(pictures: np.ndarray) -> tuple[PairGraph, Spectrum]:
    """Returns the graph and its spectrum."""
    graph = build(pictures, FAMILY).graph
    return graph, top_eigenpairs(graph, K)


def dense(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns eigenvalues and eigenvectors, the largest first."""
    boxes = FAMILY.boxes(pictures.shape[1])
    rows = np.concatenate([look(pictures, box, FAMILY).reshape(len(pictures), -1) for box in boxes])
    _, node = np.unique(rows, axis=0, return_inverse=True)
    views = np.zeros((len(pictures), node.max() + 1))
    np.add.at(views, (np.tile(np.arange(len(pictures)), len(boxes)), node), 1 / len(boxes))
    weights = views.T @ views / len(pictures)
    scale = 1 / np.sqrt(weights.sum(1))
    adjacency = weights * scale[:, None] * scale
    last = len(weights) - 1
    values, vectors = scipy.linalg.eigh(adjacency, subset_by_index=[last - K + 1, last])
    return values[::-1], vectors[:, ::-1]


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Returns CPU seconds and the result."""
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def grown(count: int, threads: int) -> str:
    """Returns a line about the graph of so many images; to be run in a fresh process."""
    with threadpool_limits(threads):
        pictures = images_of(count)
        build_seconds, found = timed(lambda: build(pictures, FINER))
        graph = found.graph
        seconds, spectrum = timed(lambda: top_eigenpairs(graph, K))
        cut_seconds, _ = timed(lambda: sweep_cut(graph, spectrum))
        cluster_seconds, _ = timed(lambda: spectral_clusters(graph, spectrum, K))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (
        f"{count:6d} {graph.num_nodes:7d} {graph.probabilities.nnz:8d} {graph.components.max() + 1:6d} "
        f"{build_seconds:7.2f} {seconds:7.2f} {cut_seconds:7.2f} {cluster_seconds:7.2f} {peak:6.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print(f"top {K} eigenvectors; {arguments.threads} thread(s), CPU seconds; peak in GiB, of images and imports too")
    print("images   nodes  entries  comps   build   eigen     cut cluster   peak", flush=True)
    for count in GROWTH:
        with context.Pool(1) as pool:
            line = pool.apply(grown, (count, arguments.threads))
        print(line, flush=True)
        if int(line.split()[1]) >= MOST_NODES:
            break
    with threadpool_limits(arguments.threads):
        pictures = with_nodes(arguments.nodes)
        our_seconds, (graph, spectrum) = timed(lambda: ours(pictures))
        dense_seconds, (values, vectors) = timed(lambda: dense(pictures))
    error = np.abs(values - spectrum.values).max()
    apart = float(np.linalg.svd(vectors.T @ spectrum.vectors)[1].min())
    assert error < 1e-8, error
    print(f"{len(pictures)} images, {graph.num_nodes} nodes: eigenvalues agree to {error:.0e}, "
          f"smallest cosine of the spans {apart:.6f}")  # fmt: skip
    print(f"dense / sparse {dense_seconds:.2f} s / {our_seconds:.2f} s = {dense_seconds / our_seconds:.1f} x")


if __name__ == "__main__":
    main()
