"""Bounds of mutual information against the truth, and what training the critics side by side saves.

`python -m tests.benchmarks.mutual_information [--pairs 10000] [--threads 1]`

Pairs of correlated Gaussians: every dimension of x with its own of z, correlation rho, mutual information
-d/2 ln(1 - rho^2); rho 0.3, 0.6, 0.9, and the one of 4 nats. "cubed": every number to its third power, which leaves
the information as it is and the tails heavy. "signs": every number of z of a random sign, so that nothing is correlated
and the Gaussian critic knows nothing; the truth is the mean of ln p(x, z) / (p(x) p(z)). Each bound stands with its
error in nats and per cent of the truth. A case whose truth is above 0.8 of the ceiling, ln of the number of test
pairs, is marked "*": no bound can show it. Then one layer as a network has them: 3072 inputs, 32 outputs. Before the
end stand the largest errors of each bound among the Gaussians of 0.5 to 4 nats; the last line is the seconds of five
critics one after the other over those of five side by side.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from analysis.mutual_information import Estimate, Settings, estimate
from ray_ssl.rng import torch_stream

DIMS = (1, 4, 16, 64)
GAUSSIANS = [(dims, rho) for dims in DIMS for rho in (0.0, 0.3, 0.6, 0.9, math.sqrt(1 - math.exp(-8 / dims)))]
OTHERS = [("cubed", 1, 0.9), ("cubed", 16, 0.6), ("signs", 1, 0.9), ("signs", 4, 0.9), ("signs", 16, 0.6)]
SHOWN = 0.8
LEAST, MOST = 0.5, 4.001
NUM_INPUTS, NUM_OUTPUTS = 3072, 32
BOUNDS = ("DV", "InfoNCE", "NWJ")

Pairs = tuple[Tensor, Tensor]


def gaussians(num_pairs: int, num_dims: int, rho: float, purpose: str) -> Pairs:
    """Returns x and z, float32 [N, D]."""
    x, noise = torch.randn(2, num_pairs, num_dims, generator=torch_stream(0, purpose)).unbind()
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def layer(num_pairs: int, purpose: str) -> Pairs:
    """Returns inputs whose spectrum falls like that of images, and a random layer with ReLU of them."""
    spectrum = torch.arange(1, NUM_INPUTS + 1) ** -0.5
    x = torch.randn(num_pairs, NUM_INPUTS, generator=torch_stream(0, purpose)) * spectrum
    return x, (x @ torch.randn(NUM_INPUTS, NUM_OUTPUTS, generator=torch_stream(0, "layer"))).relu()


def timed(train: Pairs, test: Pairs, settings: Settings) -> tuple[float, Estimate]:
    """Returns the CPU seconds of one estimate, and the estimate."""
    start = time.process_time()
    found = estimate(train, test, settings)
    return time.process_time() - start, found


def pairs_of(kind: str, num_pairs: int, num_dims: int, rho: float, purpose: str) -> Pairs:
    """Returns x and z, float32 [N, D]."""
    x, z = gaussians(num_pairs, num_dims, rho, purpose)
    if kind == "cubed":
        return x**3, z**3
    if kind == "signs":
        return x, z * torch.randn(z.shape, generator=torch_stream(0, f"signs of {purpose}")).sign()
    return x, z


def truth_of(kind: str, num_dims: int, rho: float) -> float:
    """Returns the mutual information in nats; of signs from a million pairs, to about 0.001 a dimension."""
    if kind != "signs":
        return -num_dims / 2 * math.log(1 - rho**2)
    x, z = gaussians(1_000_000, 1, rho, "truth")
    unexplained = 1 - rho**2
    same, other = ((sign * rho * x * z - rho**2 * (x**2 + z**2) / 2) / unexplained for sign in (1, -1))
    ratio = torch.logaddexp(same, other) - math.log(2) - math.log(unexplained) / 2
    return num_dims * ratio.double().mean().item()


def measure(kind: str, dims: int, rho: float, num_pairs: int) -> tuple[float, list[float]]:
    """Prints one line; returns the truth in nats and the mean of each bound."""
    truth = truth_of(kind, dims, rho)
    train, test = (pairs_of(kind, num_pairs, dims, rho, purpose) for purpose in ("train", "test"))
    seconds, found = timed(train, test, Settings())
    means, stds = ([float(f) for f in values] for values in zip(*map(mean_and_std, found[:3]), strict=True))
    columns = [
        f"{mean:7.3f} {std:6.3f} {mean - truth:+7.3f} {f'{(mean - truth) / truth:+7.1%}' if truth else '':>7}"
        for mean, std in zip(means, stds, strict=True)
    ]
    mark = "" if truth <= SHOWN * found.ceiling else " *"
    print(f"{kind} {dims:3d} {rho:6.4f} {truth:7.3f} |{' |'.join(columns)} | {seconds:5.1f}{mark}", flush=True)
    return truth, means


def mean_and_std(values: Tensor) -> tuple[float, float]:
    """Returns both over the critics."""
    return values.mean().item(), values.std().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000, help="for training, and as many held out")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.pairs} pairs; ceiling {math.log(arguments.pairs):.2f} nats; CPU seconds")
    head = "".join(f" |{name:>7} {'std':>6} {'error':>7} {'error':>7}" for name in BOUNDS)
    print(f"pairs   d {'rho':>6} {'truth':>7}{head} | {'s':>5}")
    results = [measure("Gauss", dims, rho, arguments.pairs) for dims, rho in GAUSSIANS]
    for kind, dims, rho in OTHERS:
        measure(kind, dims, rho, arguments.pairs)
    train, test = layer(arguments.pairs, "train"), layer(arguments.pairs, "test")
    together, found = timed(train, test, Settings())
    values = ", ".join(f"{name} {v.mean().item():.2f}" for name, v in zip(BOUNDS, found[:3], strict=True))
    print(f"layer of {NUM_INPUTS} inputs and {NUM_OUTPUTS} outputs: {values} nats, ceiling {found.ceiling:.2f}, "
          f"{together:.1f} s; saturated: {', '.join(found.saturated()) or 'none'}", flush=True)  # fmt: skip
    one_by_one = sum(timed(train, test, replace(Settings(), critic_seeds=(seed,)))[0] for seed in range(5))
    largest = [
        max(abs(means[i] / truth - 1) for truth, means in results if LEAST <= truth <= MOST)
        for i in range(len(BOUNDS))
    ]  # fmt: skip
    errors = ", ".join(f"{name} {error:.1%}" for name, error in zip(BOUNDS, largest, strict=True))
    print(f"largest error of Gaussians of {LEAST} to {MOST:.0f} nats: {errors}")
    print(f"one after the other / side by side {one_by_one:.1f} s / {together:.1f} s = {one_by_one / together:.2f} x")


if __name__ == "__main__":
    main()
